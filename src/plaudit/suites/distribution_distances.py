"""How far apart two sets of pictures are, and how varied one is: functions of features, in float64.

Features are (N, D), one row a picture. What differs from usage elsewhere stands with each function.
"""

import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.core.float64 import precise
from plaudit.rewards.feature_statistics import Moments

CMMD_SIGMA = 10.0
"""width of CMMD's kernel, for unit vectors (Jayasumana et al. 2024, section 4)"""
CMMD_SCALE = 1000.0
NEIGHBOURS = 3
"""k of precision and recall (Kynkäänniemi et al. 2019, section 3)"""
ROWS = 1024
"""of a matrix of pairs that are held at once"""

Metric = Literal["cosine", "l2"]
"""1 less the cosine, in 0..2, or the Euclidean distance"""


def frechet_distance(first: Moments, second: Moments) -> float:
    """The squared Fréchet distance of the two Gaussians with these moments: FID, after Heusel et al. 2017, eq. 6.

        |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2)

    The last trace is the sum of the singular values of L1^T L2, for any L L^T = C; here eigenvectors times roots of
    eigenvalues, those below rounding left out. That is real and finite for covariances of any rank, where the usual
    square root of a non-symmetric product is neither. Raises BadConfig for sets of less than 2, or other dimensions.
    """
    if first.dimensions != second.dimensions:
        raise BadConfig(
            f"features have {first.dimensions} and {second.dimensions} dimensions; see both sets with one feature net"
        )
    shift = (first.mean - second.mean).square().sum()
    roots = [_root(moments.covariance) for moments in (first, second)]
    shared = torch.linalg.svdvals(roots[0].T @ roots[1]).sum()
    spread = roots[0].square().sum() + roots[1].square().sum()
    # Of equal sets rounding may leave a hair less than nothing.
    return max(0.0, float(shift + spread - 2 * shared))


def kernel_distance(first: Tensor, second: Tensor) -> float:
    """KID (Bińkowski et al. 2018): the unbiased squared MMD under the kernel (x·y / D + 1)^3.

    Of all rows at once, where the paper's code averages over random subsets to save time. Around 0, and often
    below it, for two sets of one distribution. Raises BadConfig for sets of less than 2.
    """
    x, y = _compared(first, second)
    return _squared_mmd(x, y, lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3)


def cmmd(first: Tensor, second: Tensor) -> float:
    """CMMD (Jayasumana et al. 2024): 1000 times the squared MMD of unit vectors under a Gaussian kernel of width 10.

    The estimate is the paper's, unbiased; its released code also counts each picture's pair with itself, which adds
    at most 20 (1/N + 1/M): nothing to speak of at tens of thousands. Raises BadConfig for sets of less than 2.
    """
    x, y = (F.normalize(features, dim=1) for features in _compared(first, second))
    # One less than the kernel, which is close to 1: the ones cancel, and digits are kept.
    value = _squared_mmd(x, y, lambda a, b: torch.expm1(-squared_distances(a, b) / (2 * CMMD_SIGMA**2)))
    return CMMD_SCALE * value


def precision_recall(reference: Tensor, made: Tensor, *, neighbours: int = NEIGHBOURS) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019, eq. 1 and 2), each in 0..1.

    Precision is the share of `made` that lies within the reach of any picture of the reference, which is the distance
    to its k-th nearest neighbour there; recall is the same the other way round. Both depend on the numbers of
    pictures: compare with equal ones. Raises BadConfig for sets of k or less.
    """
    x, y = _compared(reference, made, at_least=neighbours + 1)
    if neighbours < 1:
        raise BadConfig(f"precision and recall need at least 1 neighbour, got {neighbours}")
    return _share_within(y, x, neighbours), _share_within(x, y, neighbours)


def pairwise_distance(features: Tensor, groups: Tensor | None = None, *, metric: Metric = "cosine") -> float:
    """The mean distance of two pictures of one group: first over the pairs of a group, then over groups.

    `groups` (N,) int64; None takes all for one. A group of one picture has no pair and does not count. Raises BadConfig
    if none has two.
    """
    rows = _finite(features)
    labels = torch.zeros(len(rows), dtype=torch.int64) if groups is None else groups
    if len(labels) != len(rows):
        raise BadConfig(f"{len(labels)} groups for {len(rows)} images; give one label per image")
    members = [rows[labels == label] for label in labels.unique()]
    means = [_mean_pair(group, metric) for group in members if len(group) > 1]
    if not means:
        raise BadConfig("distances within groups need a group of at least 2 images; there is none")
    return sum(means) / len(means)


def vendi(features: Tensor) -> float:
    """The Vendi score (Friedman & Dieng 2023, eq. 2) under the cosine: how many different pictures there seem to be.

    The exponential of the entropy of the eigenvalues of K / N: 1 if all point one way, N if no two have anything in
    common. It grows with N: compare equal numbers. Raises BadConfig for no pictures.
    """
    rows = _finite(features, at_least=1)
    unit = F.normalize(rows, dim=1) / math.sqrt(len(rows))
    # Either product has the eigenvalues that are not 0.
    smaller = unit @ unit.T if len(unit) < unit.shape[1] else unit.T @ unit
    shares = torch.linalg.eigvalsh(smaller).clamp(min=0)
    return float(torch.special.entr(shares).sum().exp())


def squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """Squared Euclidean distances (N, M) of rows (N, D) and (M, D), float64; what rounding cannot tell from 0 is 0."""
    sizes = first.square().sum(dim=1)[:, None] + second.square().sum(dim=1)
    squared = sizes - 2 * first @ second.T
    # Else copies of one picture would be a little apart, some more and some less.
    return torch.where(squared < 1e-13 * sizes, 0.0, squared)


def _root(covariance: Tensor) -> Tensor:
    """L (D, R) with L L^T the covariance, R its rank as far as float64 can tell."""
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    kept = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    return vectors[:, kept] * values[kept].sqrt()


def _squared_mmd(x: Tensor, y: Tensor, kernel: Callable[[Tensor, Tensor], Tensor]) -> float:
    """The unbiased estimate: Gretton et al. 2012, eq. 3."""
    within = [_sum_of_pairs(rows, kernel) / (len(rows) * (len(rows) - 1)) for rows in (x, y)]
    across = sum(float(kernel(part, y).sum()) for part in x.split(ROWS)) / (len(x) * len(y))
    return sum(within) - 2 * across


def _sum_of_pairs(rows: Tensor, function: Callable[[Tensor, Tensor], Tensor]) -> float:
    """Over all ordered pairs of two different rows."""
    total = 0.0
    for start, values in _against_all(rows, function):
        values.diagonal(start).zero_()
        total += float(values.sum())
    return total


def _share_within(points: Tensor, centres: Tensor, neighbours: int) -> float:
    """The share of points that lie within reach of any centre, (N, D) and (M, D)."""
    reach = torch.cat(
        # The nearest of all is the centre itself.
        [values.kthvalue(neighbours + 1, dim=1).values for _, values in _against_all(centres, squared_distances)]
    )
    inside = [(squared_distances(part, centres) <= reach).any(dim=1) for part in points.split(ROWS)]
    return float(torch.cat(inside).double().mean())


def _mean_pair(rows: Tensor, metric: Metric) -> float:
    pairs = len(rows) * (len(rows) - 1)
    if metric == "cosine":
        unit = F.normalize(rows, dim=1)
        # The squared length of the sum is the sum of all products, those of rows with themselves included.
        return 1 - float(unit.sum(dim=0).square().sum() - unit.square().sum()) / pairs
    return _sum_of_pairs(rows, lambda a, b: squared_distances(a, b).sqrt()) / pairs


def _against_all(rows: Tensor, function: Callable[[Tensor, Tensor], Tensor]) -> Iterator[tuple[int, Tensor]]:
    """Where a part of the rows starts, and the function's values (part, N) of it and all."""
    for start in range(0, len(rows), ROWS):
        yield start, function(rows[start : start + ROWS], rows)


def _compared(first: Tensor, second: Tensor, *, at_least: int = 2) -> tuple[Tensor, Tensor]:
    if first.shape[1:] != second.shape[1:]:
        raise BadConfig(
            f"features are {tuple(first.shape)} and {tuple(second.shape)}; see both sets with one feature net"
        )
    return _finite(first, at_least=at_least), _finite(second, at_least=at_least)


def _finite(features: Tensor, *, at_least: int = 2) -> Tensor:
    """The features in float64. Raises BadConfig if they are too few, or not finite."""
    if features.dim() != 2 or len(features) < at_least:
        raise BadConfig(f"features of at least {at_least} images are needed, (N, D); got {tuple(features.shape)}")
    wide = precise(features.detach())
    if not wide.isfinite().all():
        bad = int((~wide.isfinite().all(dim=1)).sum())
        raise BadConfig(f"the features of {bad} of {len(wide)} images are not finite; look for NaN in the pictures")
    return wide
