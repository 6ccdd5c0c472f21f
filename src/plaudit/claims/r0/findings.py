"""From finished trainings to the numbers behind R0's claims.

Pure functions of the results; nothing here computes an image. Shape letters: P prompts, S seeds, I images of a prompt.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plaudit.claims.over_seeds import over_seeds
from plaudit.claims.r0.plan import PICTURES, SEVERAL, Plan, Training
from plaudit.claims.r0.variants import BASE, MAIN
from plaudit.suites.statistics import Estimate, bootstrap_mean, paired_difference

Array = NDArray[np.float64]
Result = Mapping[str, Any]
RIGHT = "right"
"""among a picture's scores: the judge's word"""
IMPROVED, HACKED, WORSE, UNCHANGED = "improved", "hacked", "worse", "unchanged"


@dataclass(frozen=True, kw_only=True)
class Found:
    """All results of a plan, to be asked by training and seed."""

    plan: Plan
    results: Mapping[tuple[str, int], Result]
    trained: Sequence[str]
    """names of the rewards of R0+"""
    held_out: str
    """of the reward that nothing is trained on"""
    tasks: Sequence[str]
    """of the whole suite's prompts, by their places"""
    real: Mapping[str, Any]
    """how like real pictures real pictures are, as a measure's fidelity"""

    @property
    def tuned(self) -> str:
        """The name of the R0+ that is set beside the base."""
        return self.plan.tuned

    def seeds(self, name: str) -> list[int]:
        """Those that the training was made with."""
        return [seed for seed in self.plan.seeds if (name, seed) in self.results]

    def each(self, name: str) -> list[Result]:
        """The training's results, by seed."""
        return [self.results[name, seed] for seed in self.seeds(name)]

    def scores(
        self, name: str, what: str, *, measure: str = PICTURES, seeds: Iterable[int] | None = None, images: int = 0
    ) -> Array:
        """(P, S * I) of a reward's raw scores or of RIGHT; of some of the seeds, of each prompt's first `images`."""
        found = []
        for seed in self.seeds(name) if seeds is None else seeds:
            one = self.results[name, seed]["measured"][measure]
            values = one[RIGHT] if what == RIGHT else one["rewards"][what]
            of_prompt = np.array(values, dtype=np.float64).reshape(len(one["places"]), -1)
            found.append(of_prompt[:, : images or None])
        return np.concatenate(found, axis=1)

    def strata(self) -> list[str]:
        """The tasks of the prompts of every measure but SEVERAL, (P,)."""
        return [self.tasks[place] for place in self.each(BASE)[0]["measured"][PICTURES]["places"]]

    def spread(self, reward: str) -> float:
        """The standard deviation of the base's scores, in which rewards are compared; 1 if all are the same."""
        return float(self.scores(BASE, reward).std()) or 1.0

    def rise(self, name: str, rewards: Sequence[str], *, over: str) -> Array:
        """(P, S) how much higher a training's rewards are than another's with the same noises, in spreads, on average.

        Of the first picture of every prompt, with the seeds that `name` has.
        """
        seeds = self.seeds(name)
        parts = [
            (self.scores(name, it, seeds=seeds, images=1) - self.scores(over, it, seeds=seeds, images=1))
            / self.spread(it)
            for it in rewards
        ]
        mean: Array = np.mean(parts, axis=0)
        return mean

    def accuracy_gain(self, name: str, *, over: str, images: int = 1) -> Estimate:
        """How many more pictures are right than another training's with the same noises; the mean of the tasks."""
        seeds = self.seeds(name)
        ours, theirs = (self.scores(it, RIGHT, seeds=seeds, images=images) for it in (name, over))
        return paired_difference(ours, theirs, strata=self.strata())

    def fidelity(self, name: str, what: str, *, which: str, measure: str = PICTURES) -> list[float]:
        """A number of the fidelity suite by seed, of each prompt's "first" picture or of "all"."""
        return [float(result["measured"][measure]["fidelity"][which][what]) for result in self.each(name)]

    def distances(self, name: str, measure: str = SEVERAL) -> Array:
        """(P, S) the distance between pictures of one prompt."""
        return np.array([it["measured"][measure]["distance"] for it in self.each(name)], dtype=np.float64).T

    def follows(self, name: str) -> list[str]:
        """The rewards that a training followed; all of R0+'s if it followed none."""
        return list(self.each(name)[0]["follows"]) or list(self.trained)

    def ratios(self, what: str) -> list[float]:
        """R0+'s number of the fidelity suite as a share of the base's, by seed."""
        ours, theirs = (self.fidelity(name, what, which="all") for name in (self.tuned, BASE))
        return [own / other for own, other in zip(ours, theirs, strict=True)]

    def speed_ratios(self) -> list[float]:
        """How many times longer the base takes for an image, every time that it was taken."""
        timings = [result["timing"] for result in self.each(BASE)]
        return [slow / fast for it in timings for slow, fast in zip(it["guided"], it["few"], strict=True)]


def found_in(
    plan: Plan,
    results: Iterable[tuple[Training, Result]],
    *,
    rewards: Sequence[str],
    tasks: Sequence[str],
    real: Mapping[str, Any],
) -> Found:
    """The results by training's name and seed. `rewards`: those of R0+, then the one that nothing is trained on."""
    return Found(
        plan=plan, results={(it.name, it.seed): result for it, result in results}, trained=rewards[:-1],
        held_out=rewards[-1], tasks=tasks, real=real,
    )  # fmt: skip


def verdict(trained: Estimate, judged: Estimate) -> str:
    """What a change to R0+ does, from how the rewards that it follows and the judge's accuracy differ from R0+'s.

    By the judge it is improved or worse if the whole interval says so, else unchanged; and where it is worse while the
    whole interval says that its rewards are higher, hacked.
    """
    if judged.low > 0:
        return IMPROVED
    if judged.high < 0:
        return HACKED if trained.low > 0 else WORSE
    return UNCHANGED


def judged_ablation(found: Found, name: str) -> tuple[Estimate, Estimate, str]:
    """Of an ablation against R0+: the rise of its rewards in spreads, that of accuracy, and the verdict."""
    trained = bootstrap_mean(found.rise(name, found.follows(name), over=MAIN))
    judged = found.accuracy_gain(name, over=MAIN)
    return trained, judged, verdict(trained, judged)


def mean_of(found: Found, name: str, what: str, *, measure: str = PICTURES, images: int = 0) -> Estimate:
    """The mean of a reward, or of RIGHT as the mean of the tasks."""
    values = found.scores(name, what, measure=measure, images=images)
    return bootstrap_mean(values, strata=found.strata() if what == RIGHT else None)


def distance_gain(found: Found) -> Estimate:
    """How much further apart R0+'s pictures of a prompt are than the base's."""
    return paired_difference(found.distances(found.tuned), found.distances(BASE))


def fidelity_over_seeds(found: Found, name: str, what: str, *, which: str, measure: str = PICTURES) -> Estimate:
    """A number of the fidelity suite, over seeds."""
    return over_seeds(found.fidelity(name, what, which=which, measure=measure))
