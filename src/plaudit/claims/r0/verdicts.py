"""R0's claims (Luo et al. 2025), each measured on the pocket world against its bar."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from plaudit.claims.claim import Claim, at_most, exceeds_zero, reaches, shown
from plaudit.claims.over_seeds import over_seeds
from plaudit.claims.r0.findings import RIGHT, Found, distance_gain, judged_ablation
from plaudit.claims.r0.plan import STEPS, in_steps
from plaudit.claims.r0.variants import BASE, GUIDANCE_ONLY, MAIN, R0, REWARDS_ONLY, variant_named
from plaudit.suites.statistics import Estimate, bootstrap_mean, paired_difference

FID_BAR = 1.3
PUBLISHED = {"hps": "HPS 30.19 to 34.37 (table 1)", "imagereward": "ImageReward 0.81 to 1.27 (table 1)"}
"""by the pocket world's names"""
FEWER = 2
"""steps in which R0+ is set beside the base, too"""


def claims(found: Found, base_steps: int) -> list[Claim]:
    """All of them. `base_steps`: those of the pretrained model's own sampler."""
    return [
        *(_reward(found, name, base_steps) for name in found.trained),
        _held_out(found),
        _accuracy(found),
        _fid(found),
        *_variety(found),
        _speed(found, base_steps),
        *([_fewer_steps(found)] if FEWER in found.plan.other_steps else []),
        *([_longer(found)] if found.tuned != MAIN else []),
        *_enough(found),
        *_ablations(found),
    ]


def _reward(found: Found, name: str, base_steps: int) -> Claim:
    return exceeds_zero(
        paired_difference(found.scores(found.tuned, name), found.scores(BASE, name)),
        id=f"reward-{name}",
        claim=f"{name}, trained on: higher in {STEPS} steps than the guided base in {base_steps}",
        paper=PUBLISHED.get(name, "CLIP score 34.28 to 32.97, lower than the base's (table 1)"),
        note=f"the base's own spread is {found.spread(name):.3f}",
    )


def _held_out(found: Found) -> Claim:
    name = found.held_out
    return reaches(
        paired_difference(found.scores(found.tuned, name), found.scores(BASE, name)),
        bar=0.0,
        id=f"held-out-{name}",
        claim=f"{name}, never trained on: at least the base's",
        paper="no reward was held out but the aesthetic score: 5.87 to 6.20 (table 1)",
    )


def _accuracy(found: Found) -> Claim:
    return reaches(
        found.accuracy_gain(found.tuned, over=BASE, images=0),
        bar=0.0,
        id="accuracy",
        claim="by the exact judge, at least as many pictures are right as the base's",
        paper="no judge was asked",
    )


def _fid(found: Found) -> Claim:
    """Over seeds, whose pictures are all drawn anew: a bootstrap of FID would be biased."""
    ratio = over_seeds(found.ratios("fid"))
    ours, theirs = (float(np.mean(found.fidelity(name, "fid", which="all"))) for name in (found.tuned, BASE))
    return at_most(
        ratio,
        bar=FID_BAR,
        id="fid",
        claim=f"FID to real renders of the same prompts: at most {FID_BAR} times the base's",
        paper="29.11 to 37.53 on COCO, 1.29 times (table 1)",
        note=f"{theirs:.3f} to {ours:.3f}",
    )


def _variety(found: Found) -> Iterator[Claim]:
    """What FID does not tell apart."""
    ours, theirs = (found.fidelity(name, "recall", which="all") for name in (found.tuned, BASE))
    yield shown(
        over_seeds([own - other for own, other in zip(ours, theirs, strict=True)]),
        id="recall",
        claim="the share of real pictures that its own look like: how it differs from the base's",
        paper="not measured",
    )
    yield shown(
        distance_gain(found),
        id="diversity",
        claim="the distance between pictures of one prompt: how it differs from the base's",
        paper="not measured",
    )


def _speed(found: Found, base_steps: int) -> Claim:
    return shown(
        over_seeds(found.speed_ratios()),
        id="speed",
        claim=f"an image takes so many times less than the base's, in {STEPS} network calls for {2 * base_steps}",
        paper="4 steps for 25; no times were published",
        note=f"by calls alone it would be {2 * base_steps / STEPS:g}; shown, without a bar",
    )


def _fewer_steps(found: Found) -> Claim:
    ours = found.scores(found.tuned, RIGHT, measure=in_steps(FEWER), images=1)
    gain = paired_difference(ours, found.scores(BASE, RIGHT, images=1), strata=found.strata())
    return shown(
        gain,
        id=f"steps-{FEWER}",
        claim=f"trained in {STEPS} steps and drawn in {FEWER}: how accuracy differs from the base's",
        paper="every published row has 4 steps",
    )


def _longer(found: Found) -> Claim:
    rise = bootstrap_mean(found.rise(found.tuned, found.trained, over=MAIN))
    return shown(
        found.accuracy_gain(found.tuned, over=MAIN),
        id="longer",
        claim=f"{found.plan.long_updates} updates: how accuracy differs from that of the ablations' number of updates",
        paper=variant_named(found.tuned).paper,
        note=f"rewards {rise.value:+.2f} spreads ({rise.low:+.2f} to {rise.high:+.2f}); shown, without a bar",
    )


def _enough(found: Found) -> Iterator[Claim]:
    """Are rewards enough, or is it the frozen model's guidance that turns many steps into few?"""
    if found.seeds(REWARDS_ONLY):
        yield reaches(
            found.accuracy_gain(REWARDS_ONLY, over=BASE),
            bar=0.0,
            id="rewards-enough",
            claim="rewards alone, without guidance: at least as many pictures are right as the base's",
            paper=variant_named(REWARDS_ONLY).paper,
        )
        yield shown(
            _less(found.accuracy_gain(REWARDS_ONLY, over=MAIN)),
            id="guidance-adds",
            claim="what guidance adds to the rewards in accuracy",
            paper="both are used; not taken apart",
        )
    if found.seeds(GUIDANCE_ONLY):
        yield shown(
            found.accuracy_gain(GUIDANCE_ONLY, over=BASE),
            id="guidance-alone",
            claim="guidance alone, no reward: how accuracy differs from the base's",
            paper="both are used; not taken apart",
        )


def _ablations(found: Found) -> Iterator[Claim]:
    """R0+ against each change of it, by the judge; against R0 also by the rewards, as published."""
    if found.seeds(R0):
        yield exceeds_zero(
            _less(bootstrap_mean(found.rise(R0, found.trained, over=MAIN))),
            id="r0-plus-rewards",
            claim="R0+ has higher rewards than R0, in spreads of the base's",
            paper=variant_named(R0).paper,
        )
    for name in found.plan.ablations:
        if not found.seeds(name):
            continue
        it = variant_named(name)
        trained, judged, said = judged_ablation(found, name)
        better = it.published == "better"
        claim = (shown if it.published == "open" else exceeds_zero)(
            judged if better else _less(judged),
            id=f"against-{name}",
            claim=f"R0+ draws {'fewer' if better else 'more'} pictures right than: {it.words}",
            paper=it.paper,
        )
        # Its rewards' rise and the verdict on it belong to every one.
        said = f"its rewards {trained.value:+.2f} spreads; {said}" + (
            "; shown, without a bar" if it.published == "open" else ""
        )
        yield replace(claim, note=said)


def _less(estimate: Estimate) -> Estimate:
    """Minus the number."""
    return Estimate(value=-estimate.value, low=-estimate.high, high=-estimate.low, prompts=estimate.prompts)
