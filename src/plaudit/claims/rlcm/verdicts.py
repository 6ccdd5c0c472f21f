"""RLCM's claims (Oertell et al. 2024), each measured on the pocket world against its bar."""

from dataclasses import replace

import numpy as np

from plaudit.claims.claim import Claim, exceeds_zero, reaches, shown
from plaudit.claims.over_seeds import over_seeds
from plaudit.claims.rlcm.findings import Found, steps_scores, time_ratio
from plaudit.claims.rlcm.plan import ABLATED, TASKS
from plaudit.suites.statistics import paired_difference

TASKS_BAR, TIME_BAR, ROLLOUT_BAR = 3, 10.0, 4.0
FEW = 2
"""steps in which the tuned model should still draw well"""


def claims(found: Found) -> list[Claim]:
    """All of them."""
    by_task = [_per_query(found, task) for task in TASKS]
    return [
        *by_task,
        _on_most_tasks(by_task),
        *(_per_second(found, task) for task in TASKS),
        _rollout(found),
        *([_few_steps(found)] if FEW in found.plan.other_steps else []),
        *(_horizon(found, horizon) for horizon in found.plan.horizons),
        _alignment(found),
        *_too_long(found),
    ]


def _per_query(found: Found, task: str) -> Claim:
    """In standard deviations of the untrained diffusion model's scores, so that tasks can be compared."""
    at = found.plan.diffusion_updates
    spread = found.spread(f"ddpo-{task}")
    ours, theirs = (found.scores(f"{method}-{task}", at) / spread for method in ("rlcm", "ddpo"))
    queries = at * found.plan.prompts_per_update * 4
    gains = [
        float((found.scores(f"{method}-{task}", at) - found.scores(f"{method}-{task}", 0)).mean()) / spread
        for method in ("rlcm", "ddpo")
    ]
    return exceeds_zero(
        paired_difference(ours, theirs),
        id=f"queries-{task}",
        claim=f"{task}: more reward than DDPO after {queries} queries, in spreads of its first images",
        paper="on compression, incompression and aesthetic; on alignment slightly less",
        note=f"from the start RLCM gains {gains[0]:.2f}, DDPO {gains[1]:.2f}",
    )


def _on_most_tasks(by_task: list[Claim]) -> Claim:
    count = sum(claim.met is True for claim in by_task)
    return Claim(
        id="queries-most",
        claim="more reward than DDPO after the same number of queries: on how many of the four tasks",
        paper="3 of 4",
        measured=float(count),
        interval=None,
        bar=float(TASKS_BAR),
        met=count >= TASKS_BAR,
    )


def _per_second(found: Found, task: str) -> Claim:
    ratios = [
        time_ratio(diffusion, consistency)
        for diffusion, consistency in zip(found.each(f"ddpo-{task}"), found.each(f"rlcm-{task}"), strict=True)
    ]
    never = sum(ratio == 0 for ratio in ratios)
    claim = reaches(
        over_seeds(ratios),
        bar=TIME_BAR,
        id=f"time-{task}",
        claim=f"{task}: so many times faster than DDPO to DDPO's last reward and its gain",
        paper="17 times on aesthetic (its plot alone would say about 50)" if task == ABLATED else "faster on all tasks",
    )
    if not never:
        return claim
    return replace(claim, note=f"{never} of {len(ratios)} seeds never got there, and count as 0")


def _rollout(found: Found) -> Claim:
    ratios = [
        theirs["looks"]["0"]["draw_seconds"] / ours["looks"]["0"]["draw_seconds"]
        for task in TASKS
        for theirs, ours in zip(found.each(f"ddpo-{task}"), found.each(f"rlcm-{task}"), strict=True)
    ]
    return reaches(
        over_seeds(ratios),
        bar=ROLLOUT_BAR,
        id="rollout",
        claim="an image takes so many times less to draw than DDPO's",
        paper="a rollout takes about a quarter of DDPO's (8 steps against 50)",
    )


def _few_steps(found: Found) -> Claim:
    horizon = found.plan.horizon
    return exceeds_zero(
        paired_difference(steps_scores(found, FEW, tuned=True), steps_scores(found, horizon, tuned=False)),
        id="few-steps",
        claim=f"tuned in {horizon} steps and drawn in {FEW}: more reward than before tuning in {horizon}",
        paper=f"good images with as few as {FEW} steps",
    )


def _horizon(found: Found, horizon: int) -> Claim:
    usual, other = f"rlcm-{ABLATED}", f"horizon-{horizon}"
    ends = [found.scores(name, found.last(name)) / found.spread(usual) for name in (usual, other)]
    return exceeds_zero(
        paired_difference(ends[0], ends[1]),
        id=f"horizon-{horizon}",
        claim=f"trained and drawn in {found.plan.horizon} steps: more reward than in {horizon}, in spreads",
        paper="a longer horizon ends at a higher reward and draws more slowly",
    )


def _alignment(found: Found) -> Claim:
    name = "rlcm-alignment"
    return exceeds_zero(
        paired_difference(found.right(name, found.last(name)), found.right(name, 0)),
        id="alignment-accuracy",
        claim="tuned for alignment under a learned reward, the exact judge calls more pictures right",
        paper="no judge was asked; the trained reward rises from 0.761 to 0.773",
    )


def _too_long(found: Found) -> list[Claim]:
    """What over-optimisation does, and what the divergence in the loss does against it."""
    rows = []
    for name, words in (("long", "without"), ("long-with-kl", "with")):
        last = found.last(name)
        change = paired_difference(found.right(name, last, "general"), found.right(name, 0, "general"))
        rise = float(np.mean(found.scores(name, last) - found.scores(name, 0)))
        rows.append(
            shown(
                change,
                id=name,
                claim=f"{last} updates {words} the divergence in the loss: how PocketEval's accuracy changes",
                paper="rewards are over-fitted: flat or near-identical backgrounds; a KL is suggested, not used",
                note=f"the trained reward rises by {rise / found.spread(name):.2f} spreads; shown, without a bar",
            )
        )
    return rows
