"""`plaudit reproduce ar-grpo`: trains and draws what is missing, and reports."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.shells.flags import WrongUsage
from plaudit.shells.reproduce import ReproduceOptions
from plaudit.shells.reproducing_trainings import TrainedSystem, reproduced

if TYPE_CHECKING:
    from plaudit.claims.ar_grpo.models import Bench


def run(options: ReproduceOptions) -> tuple[Sequence[dict[str, Any]], list[Path]]:
    """The claims, and what was written."""
    if options.model is not None:
        raise WrongUsage("the claims of AR-GRPO are about pocket-llamagen; leave --model out")
    from plaudit.claims.ar_grpo import plan, report
    from plaudit.claims.ar_grpo.trainings import Store

    system = TrainedSystem(plan=plan, report=report, store=Store, in_words=_plan_in_words)
    return reproduced(options, system)


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
