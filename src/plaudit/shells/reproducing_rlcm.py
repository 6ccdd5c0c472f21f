"""`plaudit reproduce rlcm`: trains what is missing, and reports."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import PlauditError
from plaudit.shells.flags import WrongUsage
from plaudit.shells.reproduce import Done, ReproduceOptions, say, watched

if TYPE_CHECKING:
    from plaudit.claims.rlcm.plan import Plan
    from plaudit.claims.rlcm.trainings import Store


def run(options: ReproduceOptions) -> tuple[Sequence[dict[str, Any]], list[Path]]:
    """The claims, and what was written."""
    if options.model is not None:
        raise WrongUsage("RLCM's claims compare two models of their own; leave --model out")
    from plaudit.claims.rlcm.report import publish, read_report

    folder = options.folder / "trainings"
    report = read_report(options.file) if options.page_only else _measure(options, folder)
    return report["claims"], publish(report, options.file, folder)


def _measure(options: ReproduceOptions, folder: Path) -> dict[str, Any]:
    """The report, after every training that the folder lacks."""
    from plaudit.claims.rlcm import plan, report
    from plaudit.claims.rlcm.trainings import Store
    from plaudit.core.devices import best_device

    wanted = plan.quick() if options.quick else plan.full()
    store = Store(folder, report.load_bench(wanted, best_device()))
    say(_plan_in_words(wanted))
    watched(folder, _steps(store))
    waited_for = [it.name for it in plan.trainings(wanted) if store.read(it) is None]
    if waited_for:
        raise PlauditError(
            f"another process is at {', '.join(waited_for)}; when it is done, the same command concludes"
        )
    return report.report_of(store)


def _steps(store: "Store") -> Iterator[Done]:
    from plaudit.claims.rlcm.report import measure

    for progress, share in measure(store):
        it = progress.training
        what = f"update {progress.update}/{it.updates}, reward {progress.reward:.3f}"
        yield Done(share=share, name=f"{it.name}, seed {it.seed}", what=what)


def _plan_in_words(plan: "Plan") -> str:
    from plaudit.claims.rlcm.plan import trainings

    every = list(trainings(plan))
    return "\n".join(
        (
            f"plan: {len(every)} trainings, {len(plan.seeds)} seed(s):",
            f"  four tasks: RLCM in {plan.horizon} steps, {plan.updates} updates; "
            f"DDPO in {plan.diffusion_steps} steps, {plan.diffusion_updates} updates",
            f"  horizons {', '.join(map(str, plan.horizons))}; "
            f"{plan.long_updates} updates, with and without a divergence in the loss",
            "  stop when you like, the same command goes on; run it twice at once, and the two share the work",
        )
    )
