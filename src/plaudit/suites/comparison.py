"""Which of several systems is better, and how sure that is: the same prompts and noises, one table of scores each.

Everything is paired: a system's score of a picture, less the other's of the same prompt and noise. Intervals are by
bootstrap over prompts, as everywhere here. Who compares many systems with one finds differences where there are none;
so each difference is also tested by flipping its prompts' signs (Fisher 1935), and the tests of one measure are
corrected together (Holm 1979). Pure functions of numbers: nothing here draws or loads anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plaudit.core.errors import BadConfig
from plaudit.suites.statistics import GAINS, LEVEL, SHARES, Estimate, bootstrap_mean, paired_difference, share
from plaudit.suites.suite import Overall

Array = NDArray[np.float64]
Verdict = Literal["better", "worse", "cannot tell"]

ACCURACY, SCORE, DISTANCE = "accuracy", "score", "diversity"
"""measures that are no rewards: the share that is right, the suite's own score with credit for parts, and the distance
between a prompt's pictures"""
BY_CATEGORY = (ACCURACY, SCORE)
"""measures whose mean is formed as the suite's overall number is; all others are means of prompts"""
FLIPS = 10_000
"""of signs, in a test"""


@dataclass(frozen=True, kw_only=True)
class Table:
    """What one system's pictures scored. All systems of a comparison have the same prompts and numbers of images."""

    name: str
    prompts: tuple[int, ...]
    """P places in the suite"""
    categories: tuple[str, ...]
    """P, one per prompt"""
    scores: Mapping[str, Array]
    """(P, S) by measure, S images per prompt: `ACCURACY` (0 or 1), `SCORE`, each reward raw; higher is better.
    `DISTANCE` is (P, 1), as it is of all of a prompt's images"""
    overall: Overall = "categories"
    """what the suite's overall number is the mean of"""
    followed: tuple[str, ...] = ()
    """the rewards that it was trained on, or that its method follows"""
    seconds: float | None = None
    """of drawing, per image"""
    forwards: float | None = None
    """of networks, per image; a backward counts as two"""

    def rewards(self) -> list[str]:
        """The names of those measures that are rewards."""
        return [name for name in self.scores if name not in (ACCURACY, SCORE, DISTANCE)]

    def mean(self, measure: str) -> Estimate:
        """The measure and its interval."""
        shares = SHARES if self.is_share(measure) else None
        return bootstrap_mean(self.scores[measure], strata=self.strata(measure), within=shares)

    def of_category(self, category: str) -> "Table":
        """The same of one category's prompts alone."""
        places = [place for place, name in enumerate(self.categories) if name == category]
        return Table(
            name=self.name, prompts=tuple(self.prompts[p] for p in places), categories=(category,) * len(places),
            scores={name: scores[places] for name, scores in self.scores.items()}, overall=self.overall,
            followed=self.followed, seconds=self.seconds, forwards=self.forwards,
        )  # fmt: skip

    def is_share(self, measure: str) -> bool:
        """Whether it can be 0 to 1 only: the share that is right, and a score with credit for parts."""
        values = self.scores[measure]
        return measure in BY_CATEGORY and bool(((values >= 0) & (values <= 1)).all())

    def strata(self, measure: str) -> tuple[str, ...] | None:
        """The categories, if the measure is the mean of their means; None if it is that of prompts."""
        return self.categories if measure in BY_CATEGORY and self.overall == "categories" else None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One system against another under one measure."""

    entrant: str
    reference: str
    measure: str
    change: Estimate
    """the entrant's mean less the reference's, in the measure's own units"""
    wins: Estimate | None
    """share of the pairs that differ in which the entrant is ahead; None if all are equal"""
    ties: float
    """share of pairs that are equal"""
    chance: float
    """how probable so large a difference is between equal systems (sign-flip test)"""
    corrected: float
    """the same after Holm's correction for all systems that were compared with the reference"""
    verdict: Verdict
    """better or worse only if the interval excludes 0, and the corrected test too is below 0.05"""


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """What becomes of a reward that a method does not follow while it follows the others."""

    reward: str
    followed: Estimate
    """the reward's rise over the reference where it is followed with the others"""
    left_out: Estimate
    """its rise where it is left out"""
    wins: Estimate | None
    """share of pairs that score higher than the reference's though the reward is left out"""
    kept: float | None
    """the second rise as a share of the first; None if the first is not above 0"""


@dataclass(frozen=True, kw_only=True)
class Carried:
    """How far one reward moved, so that rewards on different scales can be held against each other."""

    reward: str
    followed: bool
    change: Estimate
    spreads: float | None
    """the change in standard deviations of the reference's pictures; None if all of those score the same"""


def difference(table: Table, reference: Table, measure: str) -> Difference:
    """`table` against `reference` alone, so that there is nothing to correct for.

    Raises BadConfig if the two have other prompts, or other numbers of images.
    """
    check_paired(table, reference, measure)
    after, before = table.scores[measure], reference.scores[measure]
    strata = table.strata(measure)
    shares = GAINS if table.is_share(measure) and reference.is_share(measure) else None
    change = paired_difference(after, before, strata=strata, within=shares)
    chance = sign_flip_test(after - before, strata=strata)
    wins, ties = win_rate(after, before)
    return Difference(
        entrant=table.name, reference=reference.name, measure=measure, change=change, wins=wins, ties=ties,
        chance=chance, corrected=chance, verdict=_verdict(change, chance),
    )  # fmt: skip


def differences(tables: Sequence[Table], measure: str) -> list[Difference]:
    """Every table but the first against the first, tests corrected together; those without the measure are passed by.

    Raises BadConfig for tables that are not paired.
    """
    having = [table for table in tables[1:] if measure in table.scores]
    if not tables or measure not in tables[0].scores:
        return []
    alone = [difference(table, tables[0], measure) for table in having]
    corrected = holm([one.chance for one in alone])
    return [
        replace(one, corrected=value, verdict=_verdict(one.change, value))
        for one, value in zip(alone, corrected, strict=True)
    ]


def check_paired(table: Table, reference: Table, measure: str) -> None:
    """Raises BadConfig unless both tables have the measure of the same prompts and as many images."""
    for one in (table, reference):
        if measure not in one.scores:
            raise BadConfig(f"{one.name!r} was not scored by {measure!r}; it has {', '.join(one.scores)}")
    shapes = table.scores[measure].shape, reference.scores[measure].shape
    if table.prompts != reference.prompts or shapes[0] != shapes[1]:
        raise BadConfig(
            f"{table.name!r} and {reference.name!r} were not drawn for the same prompts and numbers of images "
            f"({shapes[0]} and {shapes[1]}), so they cannot be compared in pairs"
        )


def win_rate(after: ArrayLike, before: ArrayLike) -> tuple[Estimate | None, float]:
    """The share of wins among the pairs (P,) or (P, S) that differ, None if none does, and the share of ties.

    A rate of 0.5 says that neither is ahead. Prompts whose pairs are all equal say nothing about it, but count as ties.
    """
    gap = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    rows = gap.reshape(len(gap), -1)
    decided = [(row[row != 0] > 0).astype(np.float64) for row in rows if (row != 0).any()]
    return (share(decided) if decided else None), float((rows == 0).mean())


def sign_flip_test(
    gaps: ArrayLike, *, strata: Sequence[str] | None = None, seed: int = 0, flips: int = FLIPS
) -> float:  # fmt: skip
    """How probable a mean as far from 0 as that of paired differences (P,) or (P, S) is if both sides are equal.

    Of `flips` random choices of each prompt's sign, the share with so large a mean; two-sided, never 0. With `strata`
    the mean is that of the strata's means.
    """
    values = np.asarray(gaps, dtype=np.float64)
    values = values.reshape(len(values), -1).mean(axis=1)
    labels = np.zeros(len(values), dtype=int) if strata is None else np.unique(strata, return_inverse=True)[1]
    weighted = values / np.bincount(labels)[labels] / (labels.max() + 1)
    observed = abs(weighted.sum())
    signs = np.random.default_rng(seed).integers(0, 2, size=(flips, len(values)), dtype=np.int8)
    flipped = np.abs((2.0 * signs - 1.0) @ weighted)
    # Sums of the same numbers in another order differ in their last digits.
    return float((1 + (flipped >= observed * (1 - 1e-12)).sum()) / (1 + flips))


def holm(chances: Sequence[float]) -> list[float]:
    """Each test's probability after Holm's step-down correction for all of them, in the given order, 1 at most."""
    order = sorted(range(len(chances)), key=lambda place: chances[place])
    corrected, highest = [0.0] * len(chances), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(chances) - rank) * chances[place]))
        corrected[place] = highest
    return corrected


def left_out(reference: Table, whole: Table, without: Mapping[str, Table]) -> list[LeftOut]:
    """Each reward's rise over the reference in `whole`, which follows it, and in `without[reward]`, which does not.

    Raises BadConfig for tables that are not paired.
    """
    found = []
    for reward, table in without.items():
        followed, spared = (difference(one, reference, reward) for one in (whole, table))
        rise = followed.change.value
        found.append(
            LeftOut(
                reward=reward, followed=followed.change, left_out=spared.change, wins=spared.wins,
                kept=spared.change.value / rise if rise > 0 else None,
            )
        )  # fmt: skip
    return found


def carried_over(table: Table, reference: Table) -> list[Carried]:
    """How far every reward moved from the reference, those that were followed first: is the gain seen by the others?"""
    rows = []
    for reward in sorted(table.rewards(), key=lambda name: name not in table.followed):
        if reward not in reference.scores:
            continue
        change = difference(table, reference, reward).change
        spread = float(reference.scores[reward].std())
        rows.append(
            Carried(
                reward=reward, followed=reward in table.followed, change=change,
                spreads=change.value / spread if spread > 0 else None,
            )
        )  # fmt: skip
    return rows


@dataclass(frozen=True, kw_only=True)
class Point:
    """A system where it is held against others in several ways at once."""

    name: str
    gains: tuple[float, ...]
    """what is to be large, each in its own units; a cost is negative"""


def pareto_front(points: Sequence[Point]) -> tuple[str, ...]:
    """The systems that no other beats: none is as good in every way and better in one. Equal ones stay together.

    Raises BadConfig if the points have different numbers of gains.
    """
    if len({len(point.gains) for point in points}) > 1:
        raise BadConfig("systems can be held against each other only if each has as many numbers as the others")
    return tuple(one.name for one in points if not any(_beats(other, one) for other in points))


def _beats(one: Point, other: Point) -> bool:
    pairs = list(zip(one.gains, other.gains, strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def _verdict(change: Estimate, corrected: float) -> Verdict:
    if not change.known or corrected >= 1 - LEVEL:
        return "cannot tell"
    return "better" if change.low > 0 else "worse" if change.high < 0 else "cannot tell"
