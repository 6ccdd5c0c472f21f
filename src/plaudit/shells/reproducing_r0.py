"""`plaudit reproduce r0`: trains and draws what is missing, and reports."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import PlauditError
from plaudit.shells.flags import WrongUsage
from plaudit.shells.reproduce import Done, ReproduceOptions, say, watched

if TYPE_CHECKING:
    from plaudit.claims.r0.plan import Plan
    from plaudit.claims.r0.trainings import Store


def run(options: ReproduceOptions) -> tuple[Sequence[dict[str, Any]], list[Path]]:
    """The claims, and what was written."""
    if options.model is not None:
        raise WrongUsage("R0's claims are about pocket-base; leave --model out")
    from plaudit.claims.r0.report import publish, read_report

    folder = options.folder / "trainings"
    report = read_report(options.file) if options.page_only else _measure(options, folder)
    return report["claims"], publish(report, options.file, folder)


def _measure(options: ReproduceOptions, folder: Path) -> dict[str, Any]:
    """The report, after every training and every measure that the folder lacks."""
    from plaudit.claims.r0 import plan, report
    from plaudit.claims.r0.trainings import Store
    from plaudit.core.devices import best_device

    wanted = plan.quick() if options.quick else plan.full()
    store = Store(folder, report.load_bench(wanted, best_device()))
    say(_plan_in_words(wanted))
    watched(folder, _steps(store))
    waited_for = [f"{it.name} (seed {it.seed})" for it in store.unfinished()]
    if waited_for:
        raise PlauditError(
            f"another process is at {', '.join(waited_for)}; when it is done, the same command concludes"
        )
    return report.report_of(store)


def _steps(store: "Store") -> Iterator[Done]:
    from plaudit.claims.r0.report import measure

    for progress, share in measure(store):
        it = progress.training
        yield Done(share=share, name=f"{it.name}, seed {it.seed}", what=progress.what)


def _plan_in_words(plan: "Plan") -> str:
    from plaudit.claims.r0.plan import trainings
    from plaudit.claims.r0.variants import ABLATIONS

    count = sum(it.method != "none" for it in trainings(plan))
    others = [name for name in ABLATIONS if name in plan.ablations]
    return "\n".join(
        (
            f"plan: {count} trainings, {len(plan.seeds)} seed(s):",
            f"  R0+, and {len(others)} that differ from it: {', '.join(others)}",
            "  each drawn for PocketEval and judged, beside the guided base in many steps",
            "  stop when you like, the same command goes on; run it twice at once, and the two share the work",
        )
    )
