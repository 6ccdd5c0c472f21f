"""How sure a measured number is: 95 % intervals over prompts, in float64.

Prompts are what is sampled; the images of one prompt (its seeds) resemble each other, so they are averaged, not
counted as so many observations. Means and paired differences: percentile bootstrap (Efron & Tibshirani 1993),
widened by sqrt(n / (n - 1)), since resampling n values underestimates their spread by that factor, and by what
Student's t is wider than the normal distribution, since that spread is a guess from few (Hesterberg 2015); with
strata, Satterthwaite's (1946) degrees of freedom. Shares: Wilson's score interval (1927) with the number of
observations that the prompts' spread amounts to, which, unlike a bootstrap, does not claim certainty when every outcome
was the same. Where a mean of shares has strata like that, what Wilson says of them is added, as squares of
widths (Zou & Donner 2008).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from plaudit.core.errors import BadConfig

LEVEL = 0.95
DRAWS = 10_000
SHARES, GAINS = (0.0, 1.0), (-1.0, 1.0)
"""what a share can be, and the difference of two"""

_QUANTILE = 1.959963984540054
"""of the standard normal distribution, at 0.975"""

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float
    prompts: int
    """how many it rests on"""
    known: bool = True
    """whether any two prompts could be compared: one alone, or one in each stratum, shows no spread, and both ends
    are the value"""


def bootstrap_mean(
    values: ArrayLike,
    *,
    strata: Sequence[str] | None = None,
    within: tuple[float, float] | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> Estimate:
    """The mean over prompts of `values`, (P,) or (P, S) with S images per prompt, and its interval.

    With `strata`, P labels, it is the mean of the strata's means (GenEval's overall score, with tasks as
    strata), and prompts are resampled within their stratum. A stratum of one prompt adds no width. `within`: the
    least and the greatest value there can be, if there are any, beyond which no interval reaches; a stratum all of
    whose prompts are there adds the width of a share. Raises BadConfig if there is no prompt.
    """
    per_prompt = _per_prompt(values)
    labels = np.zeros(len(per_prompt), dtype=int) if strata is None else np.unique(strata, return_inverse=True)[1]
    if len(labels) != len(per_prompt):
        raise BadConfig(f"{len(labels)} strata for {len(per_prompt)} prompts; give one label per prompt")
    rng = np.random.default_rng(seed)
    groups = [per_prompt[labels == label] for label in range(labels.max() + 1)]
    value = float(np.mean([group.mean() for group in groups]))
    off = np.mean([_resampled_errors(group, rng, draws) for group in groups], axis=0)
    low, high = value + _widening(groups) * np.quantile(off, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if within is not None:
        below, above = _unseen(groups, within)
        low = max(value - math.hypot(value - low, below), within[0])
        high = min(value + math.hypot(high - value, above), within[1])
    return Estimate(
        value=value, low=float(low), high=float(high), prompts=len(per_prompt),
        known=any(len(group) > 1 for group in groups),
    )  # fmt: skip


def paired_difference(
    after: ArrayLike, before: ArrayLike, *, strata: Sequence[str] | None = None,
    within: tuple[float, float] | None = None, seed: int = 0,
) -> Estimate:  # fmt: skip
    """The mean of `after` less `before`, (P,) or (P, S) each, the same images in the same places.

    `within`: the least and the greatest difference there can be. Raises BadConfig for other shapes.
    """
    first, second = np.asarray(after, dtype=np.float64), np.asarray(before, dtype=np.float64)
    if first.shape != second.shape:
        raise BadConfig(f"a paired difference needs equal shapes, got {first.shape} and {second.shape}")
    return bootstrap_mean(first - second, strata=strata, within=within, seed=seed)


def share(hits: Sequence[ArrayLike] | Array) -> Estimate:
    """The share of hits (0 or 1) with Wilson's interval for clustered observations: (P,), (P, S), or P lists
    of any lengths, one per prompt.

    The number of observations is that of independent ones with the same variance of the mean: at least P (all
    images of a prompt agree), at most the number of images. If all are hits, or none, it is P.
    """
    outcomes = [np.atleast_1d(np.asarray(images, dtype=np.float64)) for images in hits]
    if not outcomes:
        raise BadConfig("there is no prompt to average over")
    per_prompt = np.array([images.mean() for images in outcomes])
    value, prompts, images = float(per_prompt.mean()), len(outcomes), sum(map(len, outcomes))
    variance = float(per_prompt.var()) / prompts
    count = float(prompts)
    if 0 < value < 1:
        count = min(value * (1 - value) / variance, images) if variance > 0 else float(images)
    low, high = _wilson(value, count)
    return Estimate(value=value, low=low, high=high, prompts=prompts)


def win_share(after: ArrayLike, before: ArrayLike) -> Estimate:
    """The share of images that score higher `after` than `before`; a tie is no win. (P,) or (P, S) each."""
    first, second = np.asarray(after, dtype=np.float64), np.asarray(before, dtype=np.float64)
    if first.shape != second.shape:
        raise BadConfig(f"wins are counted between equal shapes, got {first.shape} and {second.shape}")
    return share((first > second).astype(np.float64))


def _per_prompt(values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise BadConfig("there is no prompt to average over")
    means: Array = array.reshape(len(array), -1).mean(axis=1)
    return means


def _resampled_errors(group: Array, rng: np.random.Generator, draws: int) -> Array:
    """(draws,) differences of resamples' means to the mean, spread as those of independent prompts are."""
    count = len(group)
    means = group[rng.integers(count, size=(draws, count))].mean(axis=1)
    widen = math.sqrt(count / (count - 1)) if count > 1 else 1.0
    errors: Array = widen * (means - group.mean())
    return errors


def _widening(groups: Sequence[Array]) -> float:
    """By how much Student's interval is wider than the normal one, with the degrees of freedom of the strata's mean."""
    known = [(group.var(ddof=1) / len(group), len(group) - 1) for group in groups if len(group) > 1]
    total = sum(variance for variance, _ in known)
    if total <= 0:
        return 1.0
    freedom = total**2 / sum(variance**2 / others for variance, others in known)
    return float(stdtrit(freedom, (1 + LEVEL) / 2)) / _QUANTILE


def _unseen(groups: Sequence[Array], within: tuple[float, float]) -> tuple[float, float]:
    """How far below and above the mean of strata the true one may lie for what those at an end do not show.

    All of them together are as sure as so many prompts of one stratum, each counted as the smallest of them: that is
    where most could be unseen.
    """
    least, greatest = within
    span = greatest - least
    return span * _unseen_at(groups, greatest), span * _unseen_at(groups, least)


def _unseen_at(groups: Sequence[Array], end: float) -> float:
    at_end = [len(group) for group in groups if len(group) > 1 and bool((group == end).all())]
    if not at_end:
        return 0.0
    return _wilson(0.0, len(at_end) * min(at_end))[1] * len(at_end) / len(groups)


def _wilson(value: float, count: float) -> tuple[float, float]:
    square = _QUANTILE**2
    middle = (value + square / (2 * count)) / (1 + square / count)
    half = _QUANTILE / (1 + square / count) * math.sqrt(value * (1 - value) / count + square / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)
