"""Whether plans can be read, hold what their prompts ask for, and are what the pictures then show.

A plan stands between a prompt and a picture, and either step may fail: the plan may miss the prompt, or the picture the
plan. Both are measured by the judge's own rules, from the words and from the scene that the judge saw. All numbers are
means of the tasks' means, as accuracy is counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from plaudit.core.errors import BadConfig
from plaudit.pocket.plans import agreement, plan_meets, read_plan, words_in
from plaudit.pocket.prompts import Request
from plaudit.pocket.scenes import Scene
from plaudit.suites.pocket_eval import EvalPrompt
from plaudit.suites.statistics import SHARES, Estimate, bootstrap_mean


@dataclass(frozen=True, kw_only=True)
class PlanVerdict:
    """What can be said of one plan and the picture that was drawn after it."""

    readable: bool
    """whether it says a scene, in words as the pocket world's plans have them"""
    meets: bool
    """whether it holds all that the prompt asks for; one that cannot be read does not"""
    agrees: float | None
    """the share of its claims that the picture shows; None if it cannot be read"""
    agrees_whole: bool | None
    """whether the picture shows all that it claims, and no object more; None if it cannot be read"""
    words: int
    """words and marks in it"""


@dataclass(frozen=True, kw_only=True)
class PlanScores:
    """What can be said of plans and the pictures that were drawn after them."""

    readable: Estimate
    """share of the plans that say a scene, in words as the pocket world's plans have them"""
    meets: Estimate
    """share of the plans that hold all that the prompt asks for; one that cannot be read does not"""
    agrees: Estimate | None
    """of the readable plans: the mean share of a plan's claims that the picture shows; None if none is readable"""
    agrees_whole: Estimate | None
    """of the readable plans: the share whose pictures show all that they claim, and no object more"""
    words: Estimate
    """words and marks in a plan"""


def plan_scores(plans: Sequence[str], seen: Sequence[Scene], prompts: Sequence[EvalPrompt]) -> PlanScores:
    """Scores of B plans, the scenes that the judge saw in their pictures (`judge.read`), and the prompts of each.

    Several pictures may have the same prompt: they count as one, by their mean. Raises BadConfig if there is no plan,
    or not one of each for every picture.
    """
    if not len(plans) == len(seen) == len(prompts):
        raise BadConfig(
            f"every picture has a plan, a scene that was seen and a prompt; got {len(plans)}, {len(seen)} and "
            f"{len(prompts)}"
        )
    found = [
        plan_verdict(plan, scene, prompt.request) for plan, scene, prompt in zip(plans, seen, prompts, strict=True)
    ]
    pairs = list(zip(prompts, found, strict=True))
    shares = [(prompt, it.agrees) for prompt, it in pairs if it.agrees is not None]
    wholes = [(prompt, it.agrees_whole) for prompt, it in pairs if it.agrees_whole is not None]
    return PlanScores(
        readable=_mean([(prompt, it.readable) for prompt, it in pairs]),
        meets=_mean([(prompt, it.meets) for prompt, it in pairs]),
        agrees=_mean(shares) if shares else None,
        agrees_whole=_mean(wholes) if wholes else None,
        words=_mean([(prompt, it.words) for prompt, it in pairs], within=None),
    )


def plan_verdict(plan: str, seen: Scene, request: Request) -> PlanVerdict:
    """Of a plan, the scene that the judge saw in its picture (`judge.read`), and what was asked for."""
    read = read_plan(plan)
    held = None if read is None else agreement(read, seen)
    return PlanVerdict(
        readable=read is not None,
        meets=read is not None and plan_meets(read, request),
        agrees=None if held is None else held.share,
        agrees_whole=None if held is None else held.whole,
        words=len(words_in(plan)),
    )


def _mean(found: Sequence[tuple[EvalPrompt, float]], *, within: tuple[float, float] | None = SHARES) -> Estimate:
    """The mean of the tasks' means over prompts, of each its pictures' mean; `within` what it can be."""
    of_prompt: dict[int, list[float]] = {}
    tasks: dict[int, str] = {}
    for prompt, value in found:
        of_prompt.setdefault(prompt.index, []).append(float(value))
        tasks[prompt.index] = prompt.request.task
    means = [sum(values) / len(values) for values in of_prompt.values()]
    return bootstrap_mean(means, strata=list(tasks.values()), within=within)
