"""From finished trainings to the numbers behind the claims.

Pure functions of the results; nothing here computes an image. Shape letters: C classes, S seeds, I images of a class.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plaudit.claims.ar_grpo.plan import UNGUIDED, Best, Plan, Training, at_guidance
from plaudit.claims.ar_grpo.variants import BASE, MAIN
from plaudit.claims.over_seeds import over_seeds
from plaudit.suites.statistics import Estimate, bootstrap_mean, paired_difference

Array = NDArray[np.float64]
Result = Mapping[str, Any]
RIGHT = "right"
"""among a picture's scores: the judge's word"""


@dataclass(frozen=True, kw_only=True)
class Model:
    """Pictures that are compared: whose, and at which guidance."""

    name: str
    guidance: float = UNGUIDED


TUNED = Model(name=MAIN)
BEFORE = Model(name=BASE)
"""without guidance, too"""


@dataclass(frozen=True, kw_only=True)
class Found:
    """All results of a plan, to be asked by model and seed."""

    plan: Plan
    results: Mapping[tuple[str, int], Result]
    trained: Sequence[str]
    """names of the rewards that the preset is trained on"""
    held_out: str
    """of the reward that nothing is trained on"""
    nets: Sequence[str]
    """names of the feature nets that measure; the first decides"""
    best: Best
    real: Mapping[str, Any]
    """what is said of real pictures, as of a measure's"""

    @property
    def decides(self) -> str:
        """The feature net of the claims."""
        return self.nets[0]

    @property
    def before_best(self) -> Model:
        """The model before training at its best guidance, by the net that decides."""
        return Model(name=BASE, guidance=self.best.of_all)

    @property
    def before_guided(self) -> Model:
        """The model before training at its best guidance above 1, which may be worse than none."""
        return Model(name=BASE, guidance=self.best.guided)

    def lowest(self, net: str) -> Model:
        """The model before training where this net gives it the lowest FID."""
        models = [Model(name=BASE, guidance=guidance) for guidance in sorted(self.plan.guidances)]
        return min(models, key=lambda model: float(np.mean(self.fidelity(model, "fid", net=net))))

    def seeds(self, name: str) -> list[int]:
        """Those that the training was made with."""
        return [seed for seed in self.plan.seeds if (name, seed) in self.results]

    def each(self, name: str, seeds: Iterable[int] | None = None) -> list[Result]:
        """The training's results, by seed; of all its seeds, or these."""
        return [self.results[name, seed] for seed in (self.seeds(name) if seeds is None else seeds)]

    def measured(self, model: Model, seeds: Iterable[int] | None = None) -> list[Result]:
        """What was found of the model's pictures, by seed."""
        return [it["measured"][at_guidance(model.guidance)] for it in self.each(model.name, seeds)]

    def scores(self, model: Model, what: str, *, seeds: Iterable[int] | None = None) -> Array:
        """(C, S * I) of a reward's raw scores or of RIGHT."""
        found = []
        for one in self.measured(model, seeds):
            values = one[RIGHT] if what == RIGHT else one["rewards"][what]
            found.append(np.array(values, dtype=np.float64).reshape(-1, one["measure"]["images"]))
        return np.concatenate(found, axis=1)

    def fidelity(self, model: Model, what: str, *, net: str, seeds: Iterable[int] | None = None) -> list[float]:
        """A number of the fidelity suite, by seed."""
        return [float(one["fidelity"][net][what]) for one in self.measured(model, seeds)]

    def distances(self, model: Model, *, net: str, seeds: Iterable[int] | None = None) -> Array:
        """(C, S) the distance between pictures of one class."""
        return np.array([one["distance"][net] for one in self.measured(model, seeds)], dtype=np.float64).T

    def entropies(self, name: str) -> list[Array]:
        """By seed, the entropy (n,) over the last third of a training's updates, as a share of what there can be."""
        courses = [np.array(it["curve"]["entropy"], dtype=np.float64) for it in self.each(name)]
        return [course[-max(1, len(course) // 3) :] for course in courses]

    def off_target(self, name: str) -> list[float]:
        """By seed, how far the entropy was from the preset's target in an update of the last third, on average."""
        return [float(np.abs(course - self.entropy_target).mean()) for course in self.entropies(name)]

    @property
    def entropy_target(self) -> float:
        """The preset's, as a share of what there can be; 0 if it has none."""
        return float(self.each(MAIN)[0]["config"]["entropy_target"])

    def speed_ratios(self, what: str) -> list[float]:
        """How many times longer guidance takes, of "tokens" or of the "whole" picture, every time it was taken."""
        timings = [result["timing"] for result in self.each(BASE)]
        return [
            slow / fast for it in timings for slow, fast in zip(it["guided"][what], it["unguided"][what], strict=True)
        ]


def found_in(
    plan: Plan,
    results: Iterable[tuple[Training, Result]],
    *,
    rewards: Sequence[str],
    nets: Sequence[str],
    best: Best,
    real: Mapping[str, Any],
) -> Found:
    """The results by training's name and seed. `rewards`: those of the preset, then the one nothing is trained on."""
    return Found(
        plan=plan, results={(it.name, it.seed): result for it, result in results}, trained=rewards[:-1],
        held_out=rewards[-1], nets=nets, best=best, real=real,
    )  # fmt: skip


def fid_ratio(found: Found, model: Model, over: Model, *, net: str) -> Estimate:
    """A model's FID as a share of another's, over the seeds that the first has.

    Over seeds, whose pictures are all drawn anew: a bootstrap of FID would be biased.
    """
    seeds = found.seeds(model.name)
    ours, theirs = (found.fidelity(it, "fid", net=net, seeds=seeds) for it in (model, over))
    return over_seeds([own / other for own, other in zip(ours, theirs, strict=True)])


def recall_gain(found: Found, model: Model, over: Model, *, net: str, seeds: Sequence[int]) -> Estimate:
    """How much more of the real pictures a model's look like than another's do, over seeds."""
    ours, theirs = (found.fidelity(it, "recall", net=net, seeds=seeds) for it in (model, over))
    return over_seeds([own - other for own, other in zip(ours, theirs, strict=True)])


def distance_gain(found: Found, model: Model, over: Model, *, net: str, seeds: Sequence[int]) -> Estimate:
    """How much further apart a model's pictures of a class are than another's, over classes."""
    return paired_difference(*(found.distances(it, net=net, seeds=seeds) for it in (model, over)))


def score_gain(found: Found, model: Model, over: Model, what: str) -> Estimate:
    """How much higher a model's scores are than another's from the same random numbers, over classes."""
    seeds = found.seeds(model.name)
    return paired_difference(*(found.scores(it, what, seeds=seeds) for it in (model, over)))


def mean_of(found: Found, model: Model, what: str) -> Estimate:
    """The mean of a reward, or of RIGHT, over classes."""
    return bootstrap_mean(found.scores(model, what))


def fidelity_of(found: Found, model: Model, what: str, *, net: str) -> Estimate:
    """A number of the fidelity suite, over seeds."""
    return over_seeds(found.fidelity(model, what, net=net))
