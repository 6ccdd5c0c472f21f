"""ReNO's claims (Eyring et al. 2024), each measured on the pocket world against its bar."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from plaudit.claims.claim import Claim, exceeds_zero, not_measured, reaches, shown
from plaudit.claims.reno.findings import Array, Found, scores_of
from plaudit.claims.reno.plan import (
    best_of,
    equal_forwards_step,
    equal_time_step,
    hacking,
    left_out,
    main_prompts,
    reno,
    side_prompts,
)
from plaudit.suites.statistics import paired_difference, win_share

ACCURACY_BAR, LEFT_OUT_BAR = 0.13, 0.80


def claims(found: Found) -> list[Claim]:
    """All that the plan decides; the second model's is that model's own report's."""
    found_of_model = [_accuracy_rises(found), *_beats_best_of_n(found), *_improves_what_was_left_out(found)]
    if not found.plan.ablations:
        return found_of_model
    return [*found_of_model, _all_rewards_beat_one(found), *_shown_without_bar(found)]


def _accuracy_rises(found: Found) -> Claim:
    prompts = main_prompts(found.plan, found.bench.suite)
    first, last = _first_and_last(found, prompts)
    rise = paired_difference(last, first, strata=found.tasks(prompts))
    return reaches(
        rise,
        bar=ACCURACY_BAR,
        id="accuracy",
        claim=f"accuracy rises by at least {ACCURACY_BAR} in {found.plan.steps} steps",
        paper="SD-Turbo on GenEval: 0.49 to 0.62 (0.63 in the authors' own second run)",
    )


def _beats_best_of_n(found: Found) -> list[Claim]:
    plan, prompts = found.plan, main_prompts(found.plan, found.bench.suite)
    luck, tasks = best_of(plan, found.bench), found.tasks(prompts)
    first, last = _first_and_last(found, prompts)
    at_time = found.right(luck, prompts, equal_time_step(plan))
    at_forwards = found.right(luck, prompts, equal_forwards_step(plan))
    times = f"{found.seconds['reno']:.2f} s an image for ReNO, {found.seconds[luck.name]:.2f} s for best-of-n"
    by_time = exceeds_zero(
        paired_difference(last, at_time, strata=tasks),
        id="equal-time",
        claim=f"more accurate than the best of {plan.trials} noises, which take as long",
        paper="no equal-time comparison with best-of-n was published",
        note=f"the cells took {times}" + (" in all its looks" if plan.trials != luck.looks else ""),
    )
    gain, of_luck = _mean_of_tasks(last - first, tasks), _mean_of_tasks(at_forwards - first, tasks)
    part = f"best-of-n gets {of_luck / gain:.0%} of ReNO's gain" if gain > 0 else "ReNO gained nothing"
    by_forwards = exceeds_zero(
        paired_difference(last, at_forwards, strata=tasks),
        id="equal-forwards",
        claim=f"more accurate than the best of {plan.steps} noises, as many images drawn",
        paper="SD-Turbo on GenEval: ReNO 0.63, best of 50 0.60",
        note=part,
    )
    return [by_time, by_forwards]


def _improves_what_was_left_out(found: Found) -> list[Claim]:
    side = side_prompts(found.plan, found.bench.suite)
    published = "in most cases at least 80 % of images improve under the reward that was left out"
    rows, wins = [], []
    for name, variant in left_out(found.plan, found.bench).items():
        before, after = scores_of(found, variant, side, name)
        wins.append((after > before).astype(np.float64))
        rows.append(
            reaches(
                win_share(after, before),
                bar=LEFT_OUT_BAR,
                id=f"left-out-{name}",
                claim=f"{name}, left out, improves on at least {LEFT_OUT_BAR:.0%} of images",
                paper=published,
            )
        )
    every = np.mean(wins, axis=0)
    mean = paired_difference(every, np.zeros_like(every))
    return [
        *rows,
        reaches(
            mean,
            bar=LEFT_OUT_BAR,
            id="left-out-mean",
            claim=f"a reward that was left out improves on at least {LEFT_OUT_BAR:.0%} of images, on average",
            paper=published,
        ),
    ]


def _all_rewards_beat_one(found: Found) -> Claim:
    side = side_prompts(found.plan, found.bench.suite)
    _, together = _first_and_last(found, side)
    alone = [
        found.right(variant, side, variant.checkpoints[-1])
        for variant in hacking(found.plan, found.bench).values()
        if len(variant.rewards) == 1
    ]
    return exceeds_zero(
        paired_difference(together, np.mean(alone, axis=0), strata=found.tasks(side)),
        id="all-rewards",
        claim="more accurate under all rewards together than under one of them, on average",
        paper="one reward alone binds or pleases, all four do both",
    )


def _shown_without_bar(found: Found) -> list[Claim]:
    """What the penalty and the small step are for."""
    side = side_prompts(found.plan, found.bench.suite)
    variants, usual = hacking(found.plan, found.bench), reno(found.plan, found.bench)
    free, big = variants["no-penalty"], variants["big-step"]
    deviation = paired_difference(
        found.values(free, side, lambda o: o.last_deviation),
        found.values(usual, side, lambda o: o.last_deviation),
    )
    _, together = _first_and_last(found, side)
    overshoot = paired_difference(found.right(big, side, big.checkpoints[-1]), together, strata=found.tasks(side))
    return [
        shown(
            deviation,
            id="no-penalty",
            claim="without the penalty, how much further the noise's norm leaves a Gaussian's (in the penalty's units)",
            paper="the penalty keeps the noise near the Gaussian shell",
        ),
        shown(
            overshoot,
            id="big-step",
            claim="with ten times the step, how the accuracy changes",
            paper="few, clipped steps keep the image from becoming an adversarial one",
        ),
    ]


def second_model(name: str, claims_of_second: Sequence[Mapping[str, Any]] | None) -> Claim:
    """Whether accuracy rises as much for the model `name`, by its own report's claims; None: there is none."""
    words = {
        "id": "second-model",
        "claim": f"accuracy rises by at least {ACCURACY_BAR} for {name} too, a one-step model of another architecture",
        "paper": "holds for four different one-step models",
    }
    if claims_of_second is None:
        return not_measured(bar=ACCURACY_BAR, note=f"not measured: plaudit reproduce reno --model {name}", **words)
    own = next(claim for claim in claims_of_second if claim["id"] == "accuracy")
    interval = tuple(own["interval"])
    return Claim(measured=own["measured"], interval=interval, bar=own["bar"], met=own["met"], note=own["note"], **words)


def _first_and_last(found: Found, prompts: tuple[int, ...]) -> tuple[Array, Array]:
    """ReNO's verdicts, (prompts, seeds) each: on the first images, and on the best of all steps."""
    usual = reno(found.plan, found.bench)
    return found.right(usual, prompts, 0), found.right(usual, prompts, usual.checkpoints[-1])


def _mean_of_tasks(values: Array, tasks: list[str]) -> float:
    labels = np.array(tasks)
    return float(np.mean([values[labels == task].mean() for task in set(tasks)]))
