"""The claims of AR-GRPO with LOO-FID (Baran, Kandemir & Cinbis 2026), each measured against its bar.

The paper's tables could not be had: what is published here is its abstract, its code, and neighbours' numbers.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from plaudit.claims.ar_grpo.findings import (
    BEFORE,
    RIGHT,
    TUNED,
    Found,
    Model,
    distance_gain,
    fid_ratio,
    recall_gain,
    score_gain,
)
from plaudit.claims.ar_grpo.plan import UNGUIDED
from plaudit.claims.ar_grpo.variants import (
    DIAGONAL,
    DISTRIBUTION_ONLY,
    GUIDED,
    INSTANCE_ONLY,
    MAIN,
    NO_CONTROLLER,
    NO_KL,
    variant_named,
)
from plaudit.claims.claim import Claim, at_most, exceeds_zero, reaches, shown
from plaudit.claims.over_seeds import over_seeds
from plaudit.suites.statistics import Estimate

FID_BAR = 1.0
ENTROPY_BAR = 0.03
"""how far from its target the entropy may be, as a share of what there can be"""
ABSTRACT = "without guidance competitive with guidance (abstract; the tables could not be had)"
VARIETY = "quality and diversity rise (abstract; the tables could not be had)"


def claims(found: Found) -> list[Claim]:
    """All of them."""
    return [
        *(_fid(found, net) for net in found.nets),
        *(claim for net in found.nets for claim in _variety(found, net)),
        *_accuracy(found),
        *(_reward(found, name) for name in found.trained),
        _held_out(found),
        *([_fid_guided(found)] if found.before_best != BEFORE else []),
        _speed(found),
        *(_instance_only(found) if found.seeds(INSTANCE_ONLY) else ()),
        *(
            _against(found, name, said)
            for name, said in (
                (DISTRIBUTION_ONLY, "LOO-FID alone"),
                (DIAGONAL, "LOO-FID of single features' variances"),
                (GUIDED, "learning from guided pictures, off-policy"),
                (NO_KL, "without the divergence from the start"),
            )
            if found.seeds(name)
        ),
        *_controller(found),
    ]


def _fid(found: Found, net: str) -> Claim:
    best = found.lowest(net)
    ours, theirs = (float(np.mean(found.fidelity(it, "fid", net=net))) for it in (TUNED, best))
    ratio = fid_ratio(found, TUNED, best, net=net)
    return at_most(
        ratio,
        bar=FID_BAR,
        id=_named(found, "fid", net),
        claim=f"FID by {net}, without guidance after: at most the lowest before, {_told(best)}",
        paper=ABSTRACT,
        note=f"{theirs:.3f} to {ours:.3f}",
    )


def _variety(found: Found, net: str) -> Iterator[Claim]:
    """Against the model before training at its best guidance, with a bar; and without guidance, shown."""
    best, seeds = found.before_best, found.seeds(MAIN)
    recalls = {it: recall_gain(found, TUNED, it, net=net, seeds=seeds) for it in (best, BEFORE)}
    distances = {it: distance_gain(found, TUNED, it, net=net, seeds=seeds) for it in (best, BEFORE)}
    levels = {"recall": _levels(found, "recall", net), "distance": _levels(found, "distance", net)}
    for id_, said, gains in (("recall", "recall", recalls), ("distance", "distance within a class", distances)):
        yield reaches(
            gains[best],
            bar=0.0,
            id=_named(found, id_, net),
            claim=f"{said} by {net}, without guidance after: no lower than before {_told(best)}",
            paper=VARIETY,
            note=levels[id_],
        )
        if net != found.decides or best == BEFORE:
            continue
        yield shown(
            gains[BEFORE],
            id=f"{id_}-unguided",
            claim=f"{said} by {net}: how it differs from that before without guidance",
            paper=VARIETY,
        )


def _levels(found: Found, what: str, net: str) -> str:
    """Before at the best guidance, after without, and of real pictures: more variety than theirs is no aim."""
    told: dict[str, Any] = {"net": net, "seeds": found.seeds(MAIN)}
    if what == "recall":
        levels = [np.mean(found.fidelity(it, what, **told)) for it in (found.before_best, TUNED)]
        real = found.real["fidelity"][net][what]
    else:
        levels = [np.mean(found.distances(it, **told)) for it in (found.before_best, TUNED)]
        real = np.mean(found.real["distance"][net])
    return f"{levels[0]:.3f} to {levels[1]:.3f}; real pictures {real:.3f}"


def _accuracy(found: Found) -> Iterator[Claim]:
    """Against the model before training at its best guidance; shown beside, where that is none, its best above 1."""
    best, guided = found.before_best, found.before_guided
    yield reaches(
        score_gain(found, TUNED, best, RIGHT),
        bar=0.0,
        id="accuracy",
        claim=f"by the exact judge, without guidance after: as many show their class as before {_told(best)}",
        paper="no judge was asked",
        note=_over_unguided(found, RIGHT),
    )
    if best == BEFORE:
        yield shown(
            score_gain(found, TUNED, guided, RIGHT),
            id="accuracy-guided",
            claim=f"by the exact judge: how many more show their class, without guidance, than before {_told(guided)}",
            paper="no judge was asked",
        )


def _reward(found: Found, name: str) -> Claim:
    guided = found.before_guided
    gain = score_gain(found, TUNED, guided, name)
    return exceeds_zero(
        score_gain(found, TUNED, BEFORE, name),
        id=f"reward-{name}",
        claim=f"{name}, trained on: higher than before, both without guidance",
        paper=VARIETY,
        note=f"over that before {_told(guided)} {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})",
    )


def _held_out(found: Found) -> Claim:
    best = found.before_best
    return reaches(
        score_gain(found, TUNED, best, found.held_out),
        bar=0.0,
        id=f"held-out-{found.held_out}",
        claim=f"{found.held_out}, never trained on: without guidance after at least that before {_told(best)}",
        paper="no reward was held out",
        note=_over_unguided(found, found.held_out),
    )


def _fid_guided(found: Found) -> Claim:
    best = found.before_best
    return shown(
        fid_ratio(found, Model(name=MAIN, guidance=best.guidance), best, net=found.decides),
        id="fid-guided",
        claim=f"FID at guidance {best.guidance:g} after, as a share of that before",
        paper="best FID 3.82, at which guidance is not known; LlamaGen-L at 2 has 3.80",
    )


def _speed(found: Found) -> Claim:
    tokens = over_seeds(found.speed_ratios("tokens"))
    return shown(
        over_seeds(found.speed_ratios("whole")),
        id="speed",
        claim="an image takes so many times longer with guidance than without",
        paper="half the cost without guidance",
        note=f"the tokens alone {tokens.value:.2f} times; by passes of the transformer it is 2; shown, without a bar",
    )


def _instance_only(found: Found) -> Iterator[Claim]:
    """The reason for LOO-FID: what the rewards of pictures do alone."""
    one, net, seeds = Model(name=INSTANCE_ONLY), found.decides, found.seeds(INSTANCE_ONLY)
    paper = "that they do is why LOO-FID was proposed; by how much could not be had"
    against_base = distance_gain(found, one, BEFORE, net=net, seeds=seeds)
    yield exceeds_zero(
        distance_gain(found, TUNED, one, net=net, seeds=seeds),
        id="instance-distance",
        claim="the rewards of pictures alone make pictures of a class more alike than with LOO-FID: distance lost",
        paper=paper,
        note=f"over that before training {against_base.value:+.3f}, both without guidance",
    )
    yield exceeds_zero(
        recall_gain(found, TUNED, one, net=net, seeds=seeds),
        id="instance-recall",
        claim="and look like fewer of the real ones: recall lost",
        paper=paper,
    )
    yield _against(found, INSTANCE_ONLY, "the rewards of pictures alone")


def _against(found: Found, name: str, said: str) -> Claim:
    """How FID differs from the preset's; what became of accuracy, recall and variety in the note."""
    one, net, seeds = Model(name=name), found.decides, found.seeds(name)
    right = score_gain(found, one, TUNED, RIGHT)
    distance = distance_gain(found, one, TUNED, net=net, seeds=seeds)
    recall = recall_gain(found, one, TUNED, net=net, seeds=seeds)
    apart = float(np.mean([np.mean(it["curve"]["off_policy"]) for it in found.each(name)]))
    off_policy = f"; {apart:.3f} nats per token off-policy" if variant_named(name).guided else ""
    return shown(
        fid_ratio(found, one, TUNED, net=net),
        id=f"against-{name}",
        claim=f"{said}: its FID as a share of the preset's, without guidance",
        paper=variant_named(name).paper,
        note=f"right {right.value:+.3f}, recall {recall.value:+.3f}, distance {distance.value:+.3f}{off_policy}; "
        "shown, without a bar",
    )


def _controller(found: Found) -> Iterator[Claim]:
    """Whether the entropy is where it should be with the controller, and elsewhere without."""
    target = found.entropy_target
    if not target:
        return
    with_it = over_seeds(found.off_target(MAIN))
    yield Claim(
        **_distance(with_it),
        id="entropy-kept",
        claim=f"with the controller the entropy is within {ENTROPY_BAR:g} of {target:g} over the last third of updates",
        paper="steered towards 0.78 of the most there can be; its course was not published",
        met=with_it.value <= ENTROPY_BAR,
        note=f"its mean there {_mean_entropy(found, MAIN):.3f}",
    )
    if found.seeds(NO_CONTROLLER):
        without = over_seeds(found.off_target(NO_CONTROLLER))
        yield Claim(
            **_distance(without),
            id="entropy-lost",
            claim=f"without the controller it is further than {ENTROPY_BAR:g} from there",
            paper="not published",
            met=without.value > ENTROPY_BAR,
            note=f"its mean there {_mean_entropy(found, NO_CONTROLLER):.3f}",
        )
        yield _against(found, NO_CONTROLLER, "without the controller")


def _distance(found: Estimate) -> dict[str, Any]:
    return {"measured": found.value, "interval": (found.low, found.high), "bar": ENTROPY_BAR}


def _mean_entropy(found: Found, name: str) -> float:
    return float(np.mean([course.mean() for course in found.entropies(name)]))


def _told(model: Model) -> str:
    """How the model's pictures are drawn."""
    return "without guidance" if model.guidance == UNGUIDED else f"at guidance {model.guidance:g}"


def _over_unguided(found: Found, what: str) -> str:
    """Nothing where that is what the claim is about."""
    if found.before_best == BEFORE:
        return ""
    return f"over that before without guidance {score_gain(found, TUNED, BEFORE, what).value:+.3f}"


def _named(found: Found, id_: str, net: str) -> str:
    """The claim's name; of a net that does not decide with the net's."""
    return id_ if net == found.decides else f"{id_}-{net}"
