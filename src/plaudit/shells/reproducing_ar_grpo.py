"""`plaudit reproduce ar-grpo`: trains and draws what is missing, and reports."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import PlauditError
from plaudit.shells.flags import WrongUsage
from plaudit.shells.reproduce import Done, ReproduceOptions, say, watched

if TYPE_CHECKING:
    from plaudit.claims.ar_grpo.models import Bench
    from plaudit.claims.ar_grpo.trainings import Store


def run(options: ReproduceOptions) -> tuple[Sequence[dict[str, Any]], list[Path]]:
    """The claims, and what was written."""
    if options.model is not None:
        raise WrongUsage("the claims of AR-GRPO are about pocket-llamagen; leave --model out")
    from plaudit.claims.ar_grpo.report import publish, read_report

    folder = options.folder / "trainings"
    report = read_report(options.file) if options.page_only else _measure(options, folder)
    return report["claims"], publish(report, options.file, folder)


def _measure(options: ReproduceOptions, folder: Path) -> dict[str, Any]:
    """The report, after every training and every measure that the folder lacks."""
    from plaudit.claims.ar_grpo import plan, report
    from plaudit.claims.ar_grpo.trainings import Store
    from plaudit.core.devices import best_device

    wanted = plan.quick() if options.quick else plan.full()
    store = Store(folder, report.load_bench(wanted, best_device()))
    say(_plan_in_words(store.bench))
    watched(folder, _steps(store))
    waited_for = [f"{it.name} (seed {it.seed})" for it in store.unfinished()]
    if waited_for:
        raise PlauditError(
            f"another process is at {', '.join(waited_for)}; when it is done, the same command concludes"
        )
    return report.report_of(store)


def _steps(store: "Store") -> Iterator[Done]:
    from plaudit.claims.ar_grpo.report import measure

    for progress, share in measure(store):
        it = progress.training
        yield Done(share=share, name=f"{it.name}, seed {it.seed}", what=progress.what)


def _plan_in_words(bench: "Bench") -> str:
    from plaudit.claims.ar_grpo.plan import trainings
    from plaudit.claims.ar_grpo.report import cost_of

    plan = bench.plan
    count = sum(it.trained for it in trainings(plan))
    minutes = sum(cost_of(it, bench, None) for it in trainings(plan)) / 60
    guidances = ", ".join(f"{guidance:g}" for guidance in plan.guidances)
    return "\n".join(
        (
            f"plan: {count} training(s), {len(plan.seeds)} seed(s):",
            f"  the model before training, drawn at guidance {guidances}",
            f"  rewards with LOO-FID, and {len(plan.ablations)} that differ from it: {', '.join(plan.ablations)}",
            f"  about {minutes:.0f} minutes of one core's time; stop when you like, the same command goes on;",
            "  run it twice at once, and the two share the work",
        )
    )
