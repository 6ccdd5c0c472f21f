"""The distances against closed forms, naive loops and constructed sets."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.rewards.feature_statistics import Moments
from plaudit.suites.distribution_distances import (
    cmmd,
    frechet_distance,
    kernel_distance,
    pairwise_distance,
    precision_recall,
    squared_distances,
    vendi,
)


def normal(count: int, dimensions: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((count, dimensions)))


def gaussian(mean: Tensor, covariance: Tensor) -> Moments:
    """Moments that are these to the last digit."""
    return Moments(count=101, mean=mean.double(), scatter=covariance.double() * 100)


def rotation(dimensions: int, seed: int) -> Tensor:
    return torch.linalg.qr(normal(dimensions, dimensions, seed)).Q


# FID


def test_the_distance_of_gaussians_with_one_set_of_axes_is_the_known_sum() -> None:
    axes = rotation(4, 1)
    first, second = torch.tensor([1.0, 4.0, 9.0, 0.25]).double(), torch.tensor([4.0, 4.0, 1.0, 1.0]).double()
    means = torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([1.0, 1.0, 0.0, 3.0])
    found = frechet_distance(
        gaussian(means[0], axes @ first.diag() @ axes.T), gaussian(means[1], axes @ second.diag() @ axes.T)
    )
    # |m|^2 = 1 + 4; (1 - 2)^2 + 0 + (3 - 1)^2 + (0.5 - 1)^2 = 5.25.
    assert found == pytest.approx(10.25, abs=1e-10)


def test_the_distance_of_any_gaussians_is_that_of_the_matrix_square_root() -> None:
    from scipy.linalg import sqrtm

    first, second = (normal(50, 6, seed) @ normal(6, 6, seed + 10) + seed for seed in (1, 2))
    x, y = first.numpy(), second.numpy()
    covariances = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    shift = np.square(x.mean(0) - y.mean(0)).sum()
    expected = shift + np.trace(covariances[0] + covariances[1] - 2 * sqrtm(covariances[0] @ covariances[1]).real)
    assert frechet_distance(Moments.of(first), Moments.of(second)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("count", [2, 5, 300])
def test_a_set_is_at_no_distance_from_itself_whatever_its_rank(count) -> None:
    moments = Moments.of(normal(count, 40))
    assert frechet_distance(moments, moments) == pytest.approx(0, abs=1e-10)


def test_covariances_without_full_rank_give_the_finite_truth() -> None:
    # On a line each, at a right angle: the trace term is 0, the rest is the sum of both variances.
    first, second = torch.zeros(2, 3, 3, dtype=torch.float64)
    first[0, 0], second[1, 1] = 4.0, 9.0
    zero = torch.zeros(3)
    assert frechet_distance(gaussian(zero, first), gaussian(zero, second)) == pytest.approx(13.0, abs=1e-12)
    assert frechet_distance(gaussian(zero, first), gaussian(zero, 0 * first)) == pytest.approx(4.0, abs=1e-12)
    assert frechet_distance(gaussian(zero, 0 * first), gaussian(zero + 1, 0 * first)) == 3.0
    # Both on one slanted line, with standard deviations 2 and 6.
    tilted = rotation(3, 5)
    line = tilted @ first @ tilted.T
    assert frechet_distance(gaussian(zero, line), gaussian(zero, line * 9)) == pytest.approx(16.0, abs=1e-7)


def test_one_image_has_no_fid() -> None:
    with pytest.raises(BadConfig, match="at least 2 images, got 1"):
        frechet_distance(Moments.of(normal(1, 3)), Moments.of(normal(5, 3)))


def test_features_of_two_nets_are_refused() -> None:
    with pytest.raises(BadConfig, match="one feature net"):
        frechet_distance(Moments.of(normal(5, 3)), Moments.of(normal(5, 4)))
    for distance in (kernel_distance, cmmd, precision_recall):
        with pytest.raises(BadConfig, match="one feature net"):
            distance(normal(5, 3), normal(5, 4))


# KID and CMMD


def naive_mmd(x: Tensor, y: Tensor, kernel) -> float:
    def mean(first: Tensor, second: Tensor, same: bool) -> float:
        pairs = [
            kernel(a, b)
            for i, a in enumerate(first.tolist())
            for j, b in enumerate(second.tolist())
            if not (same and i == j)
        ]
        return sum(pairs) / len(pairs)

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


def test_kid_is_the_double_loop_over_pairs() -> None:
    x, y = normal(7, 4, 1) + 0.5, normal(9, 4, 2)
    expected = naive_mmd(x, y, lambda a, b: (sum(i * j for i, j in zip(a, b, strict=True)) / 4 + 1) ** 3)
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-12)


def test_kid_by_hand() -> None:
    # In one dimension: (1*1+1)^3 = 8 within the ones, (0+1)^3 = 1 within and across the zeros.
    assert kernel_distance(torch.ones(3, 1), torch.zeros(4, 1)) == pytest.approx(8 + 1 - 2)


def test_kid_of_one_distribution_is_0_on_average() -> None:
    draws = [kernel_distance(normal(12, 5, 2 * i), normal(12, 5, 2 * i + 1)) for i in range(600)]
    error = np.std(draws) / math.sqrt(len(draws))
    assert abs(np.mean(draws)) < 4 * error
    assert min(draws) < 0
    # Counting pairs of a picture with itself would move the mean by more than this, far beyond the error.
    bias = 2 / 12 * ((1 + 1) ** 3 - (0 + 1) ** 3 - 1)
    assert bias > 20 * error


def test_cmmd_is_the_double_loop_over_unit_vectors() -> None:
    x, y = normal(6, 4, 1) + 1, 3 * normal(8, 4, 2)

    def kernel(a: list[float], b: list[float]) -> float:
        return math.exp(-sum((i - j) ** 2 for i, j in zip(a, b, strict=True)) / (2 * 10.0**2))

    unit = [rows / rows.norm(dim=1, keepdim=True) for rows in (x, y)]
    assert cmmd(x, y) == pytest.approx(1000 * naive_mmd(*unit, kernel), rel=1e-9)


def test_cmmd_by_hand() -> None:
    # All of one set at one end of a diameter, all of the other at the other: 2 - 2 exp(-4 / 200).
    assert cmmd(torch.ones(3, 1), -2 * torch.ones(5, 1)) == pytest.approx(2000 * (1 - math.exp(-0.02)))


def test_more_rows_than_fit_at_once_are_the_same_pairs(monkeypatch) -> None:
    x, y, k = normal(25, 3, 1), normal(19, 3, 2) + 0.3, 3
    groups = torch.arange(25) % 4

    def all_of_them() -> list[float]:
        return [
            kernel_distance(x, y),
            cmmd(x, y),
            *precision_recall(x, y, neighbours=k),
            pairwise_distance(x, groups, metric="l2"),
        ]

    whole = all_of_them()
    monkeypatch.setattr("plaudit.suites.distribution_distances.ROWS", 7)
    assert all_of_them() == pytest.approx(whole, rel=1e-12)


# Precision and recall


def cluster(at: float, count: int = 5) -> Tensor:
    """Points on a line, 1 apart, the first at `at`."""
    return torch.stack([at + torch.arange(count), torch.zeros(count)], dim=1).double()


def test_a_model_that_lost_one_of_two_kinds_is_precise_and_forgets_half() -> None:
    real = torch.cat([cluster(0), cluster(1000)])
    made = cluster(0.25, 10) * torch.tensor([0.4, 1.0])
    assert precision_recall(real, made) == (1.0, 0.5)


def test_a_model_that_adds_a_kind_of_its_own_recalls_all_and_is_half_right() -> None:
    real = cluster(0, 10)
    made = torch.cat([cluster(0, 10), cluster(1000, 10)])
    assert precision_recall(real, made) == (0.5, 1.0)


def test_sets_with_nothing_in_common_have_neither() -> None:
    assert precision_recall(cluster(0), cluster(1000)) == (0.0, 0.0)


def test_copies_of_one_real_picture_are_precise_and_recall_that_picture_alone() -> None:
    real = normal(10, 6) * 100 + 1000
    assert precision_recall(real, real[3].expand(8, 6)) == (1.0, 0.1)


def test_reach_ends_at_the_kth_neighbour() -> None:
    # The ends of the row of five reach furthest: 3 to the third neighbour, from 4 to 7; the second is 2 away.
    real, made = cluster(0), torch.tensor([[7.0, 0.0], [7.01, 0.0], [6.0, 0.0], [6.01, 0.0]])
    assert precision_recall(real, made)[0] == 0.75
    assert precision_recall(real, made, neighbours=2)[0] == 0.25


def test_too_few_pictures_for_the_neighbours_are_refused() -> None:
    with pytest.raises(BadConfig, match="at least 4 images"):
        precision_recall(normal(10, 2), normal(3, 2))
    with pytest.raises(BadConfig, match="at least 1 neighbour"):
        precision_recall(normal(10, 2), normal(3, 2), neighbours=0)


# Variety


def test_pictures_without_anything_in_common_count_one_by_one() -> None:
    assert vendi(torch.eye(7)) == pytest.approx(7, rel=1e-12)
    assert vendi(torch.eye(20)[:7] * torch.arange(1, 8)[:, None]) == pytest.approx(7, rel=1e-12)


def test_equal_pictures_count_as_one() -> None:
    assert vendi(torch.full((9, 4), 0.3)) == pytest.approx(1, abs=1e-9)
    assert vendi(torch.full((3, 5), 0.3)) == pytest.approx(1, abs=1e-9)


def test_kinds_count_by_their_shares() -> None:
    # Three of one and one of another: exp of the entropy of (3/4, 1/4).
    rows = torch.eye(3)[[0, 0, 0, 1]]
    assert vendi(rows) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)), rel=1e-9)


def test_distances_are_taken_within_groups_and_every_group_counts_alike() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [1.0, 0.0], [2.0, 0.0], [-1.0, 0.0]])
    groups = torch.tensor([4, 4, 9, 9, 9, 2])  # a right angle; three of one direction; one alone
    assert pairwise_distance(rows, groups) == pytest.approx((1 + 0) / 2, abs=1e-12)
    assert pairwise_distance(rows, groups, metric="l2") == pytest.approx((math.sqrt(2) + (2 + 1 + 1) / 3) / 2)
    assert pairwise_distance(rows[[0, 5]]) == pytest.approx(2.0)


def test_groups_of_one_have_no_distance() -> None:
    with pytest.raises(BadConfig, match="there is none"):
        pairwise_distance(normal(3, 2), torch.arange(3))
    with pytest.raises(BadConfig, match="one label per image"):
        pairwise_distance(normal(3, 2), torch.arange(2))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_features_that_are_not_finite_are_refused(bad) -> None:
    broken = normal(6, 3)
    broken[2, 1] = bad
    for distance in (kernel_distance, cmmd, precision_recall):
        with pytest.raises(BadConfig, match="1 of 6 images are not finite"):
            distance(normal(6, 3), broken)
    for measure in (vendi, pairwise_distance):
        with pytest.raises(BadConfig, match="1 of 6 images are not finite"):
            measure(broken)
    with pytest.raises(BadConfig, match="finite"):
        Moments.of(broken)


# What must not matter

SEEDS = st.integers(0, 10_000)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, scale=st.floats(0.01, 100))
def test_scale_matters_as_it_should(seed, scale) -> None:
    x, y = normal(9, 4, seed), normal(11, 4, seed + 1) + 0.5
    fid = frechet_distance(Moments.of(x), Moments.of(y))
    assert frechet_distance(Moments.of(x * scale), Moments.of(y * scale)) == pytest.approx(fid * scale**2, rel=1e-6)
    assert cmmd(x * scale, y) == pytest.approx(cmmd(x, y), rel=1e-6, abs=1e-9)
    assert precision_recall(x * scale, y * scale) == precision_recall(x, y)
    assert vendi(x * scale) == pytest.approx(vendi(x), rel=1e-9)
    assert pairwise_distance(x * scale) == pytest.approx(pairwise_distance(x), rel=1e-9)
    assert pairwise_distance(x * scale, metric="l2") == pytest.approx(scale * pairwise_distance(x, metric="l2"))


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_the_order_of_pictures_does_not_matter(seed) -> None:
    x, y = normal(9, 4, seed), normal(11, 4, seed + 1) + 0.5
    order = torch.from_numpy(np.random.default_rng(seed).permutation(9))
    groups = torch.arange(9) % 3
    assert kernel_distance(x[order], y) == pytest.approx(kernel_distance(x, y), rel=1e-9, abs=1e-12)
    assert cmmd(x[order], y) == pytest.approx(cmmd(x, y), rel=1e-9, abs=1e-9)
    assert precision_recall(x[order], y) == precision_recall(x, y)
    assert vendi(x[order]) == pytest.approx(vendi(x), rel=1e-9)
    assert pairwise_distance(x[order], groups[order]) == pytest.approx(pairwise_distance(x, groups), rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, count=st.integers(2, 12))
def test_fid_is_symmetric_never_negative_and_blind_to_rotation(seed, count) -> None:
    x, y, turn = normal(count, 5, seed), 2 * normal(8, 5, seed + 1) + 1, rotation(5, seed)
    fid = frechet_distance(Moments.of(x), Moments.of(y))
    assert fid >= 0
    assert frechet_distance(Moments.of(y), Moments.of(x)) == pytest.approx(fid, rel=1e-6)
    assert frechet_distance(Moments.of(x @ turn), Moments.of(y @ turn)) == pytest.approx(fid, rel=1e-6)


def test_copies_are_at_distance_0_and_neighbours_are_not() -> None:
    rows = normal(4, 50) + 1000
    near = squared_distances(rows, torch.cat([rows, rows[:1] + 0.01]))
    assert near.diagonal().tolist() == [0.0] * 4
    assert near[0, 4].item() == pytest.approx(50 * 0.01**2, rel=1e-3)
