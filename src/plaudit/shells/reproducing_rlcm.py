"""`plaudit reproduce rlcm`: trains what is missing, and reports."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.shells.flags import WrongUsage
from plaudit.shells.reproduce import ReproduceOptions
from plaudit.shells.reproducing_trainings import TrainedSystem, reproduced

if TYPE_CHECKING:
    from plaudit.claims.rlcm.trainings import Bench


def run(options: ReproduceOptions) -> tuple[Sequence[dict[str, Any]], list[Path]]:
    """The claims, and what was written."""
    if options.model is not None:
        raise WrongUsage("RLCM's claims compare two models of their own; leave --model out")
    from plaudit.claims.rlcm import plan, report
    from plaudit.claims.rlcm.trainings import Store

    system = TrainedSystem(plan=plan, report=report, store=Store, in_words=_plan_in_words, called=lambda it: it.name)
    return reproduced(options, system)


def _plan_in_words(bench: "Bench") -> str:
    from plaudit.claims.rlcm.plan import trainings

    plan = bench.plan
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
