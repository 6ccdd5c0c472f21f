"""`plaudit reproduce reasongen`: trains and draws what is missing, and reports."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.shells.flags import WrongUsage
from plaudit.shells.reproduce import ReproduceOptions
from plaudit.shells.reproducing_trainings import TrainedSystem, reproduced

if TYPE_CHECKING:
    from plaudit.claims.reasongen.models import Bench


def run(options: ReproduceOptions) -> tuple[Sequence[dict[str, Any]], list[Path]]:
    """The claims, and what was written."""
    if options.model is not None:
        raise WrongUsage("the claims of ReasonGen-R1 are about pocket-janus; leave --model out")
    from plaudit.claims.reasongen import plan, report
    from plaudit.claims.reasongen.trainings import Store

    system = TrainedSystem(plan=plan, report=report, store=Store, in_words=_plan_in_words)
    return reproduced(options, system)


def _plan_in_words(bench: "Bench") -> str:
    from plaudit.claims.reasongen.models import config_of
    from plaudit.claims.reasongen.plan import trainings
    from plaudit.claims.reasongen.report import cost_of, lesson_count

    plan, every = bench.plan, list(trainings(bench.plan))
    lines = [f"plan: {sum(it.trained for it in every)} training(s), {len(plan.seeds)} seed(s):"]
    for name in dict.fromkeys(it.name for it in every):
        first = next(it for it in every if it.name == name)
        seconds = sum(cost_of(it, bench) for it in every if it.name == name)
        config = config_of(first, bench)
        start = f"from what {first.start.name} left with the same seed" if first.start else "from the model"
        how = "drawn and asked only" if config is None else f"{config.updates} updates {start}"
        lines.append(f"  {name}: {how}; about {seconds / 60:.0f} min")
    minutes = sum(cost_of(it, bench) for it in every) / 60
    return "\n".join(
        (
            *lines,
            f"  lessons are of {lesson_count(bench)} scenes; who starts from them waits for them, or makes them first;",
            f"  about {minutes:.0f} minutes of one core's time in all; stop when you like, the same command goes on;",
            "  run it twice at once, and the two share the work",
        )
    )
