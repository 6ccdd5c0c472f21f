"""`plaudit reproduce r0`: trains and draws what is missing, and reports."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.shells.flags import WrongUsage
from plaudit.shells.reproduce import ReproduceOptions
from plaudit.shells.reproducing_trainings import TrainedSystem, reproduced

if TYPE_CHECKING:
    from plaudit.claims.r0.models import Bench


def run(options: ReproduceOptions) -> tuple[Sequence[dict[str, Any]], list[Path]]:
    """The claims, and what was written."""
    if options.model is not None:
        raise WrongUsage("R0's claims are about pocket-base; leave --model out")
    from plaudit.claims.r0 import plan, report
    from plaudit.claims.r0.trainings import Store

    system = TrainedSystem(plan=plan, report=report, store=Store, in_words=_plan_in_words)
    return reproduced(options, system)


def _plan_in_words(bench: "Bench") -> str:
    from plaudit.claims.r0.plan import trainings
    from plaudit.claims.r0.variants import ABLATIONS

    plan = bench.plan
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
