"""The Fréchet distance, its transport and what one sample does to it, against their definitions."""

import numpy as np
import pytest
import scipy.linalg
import torch
from rewards.class_clouds import Clouds, clouds, correlation, within_groups
from torch import Tensor

from plaudit.rewards.feature_statistics import Moments
from plaudit.rewards.frechet import (
    Gaussian,
    Made,
    joined,
    kantorovich_potential,
    leave_one_out,
    leave_one_out_by_axis,
    left_out,
    left_out_by_axis,
    potential_by_axis,
    principal_directions,
    second_order,
    squared_frechet,
    squared_frechet_by_axis,
    transport,
)
from plaudit.suites.distribution_distances import frechet_distance

DECAY = 0.5


def gaussian(rows: Tensor) -> Gaussian:
    moments = Moments.of(rows)
    return Gaussian(mean=moments.mean, covariance=moments.scatter / moments.count)


def made_of(data: Clouds, decay: float = DECAY) -> Made:
    pool = gaussian(data.batch)
    whole = joined(gaussian(data.before), pool, 1 - decay)
    return Made(whole=whole, pool=pool, weight=(1 - decay) / (len(data.batch) - 1))


def published_fid(real: Gaussian, mean: np.ndarray, covariance: np.ndarray) -> float:
    """As usually written: the square root of a non-symmetric product."""
    root = scipy.linalg.sqrtm(real.covariance.numpy() @ covariance).real
    shift = real.mean.numpy() - mean
    return shift @ shift + np.trace(real.covariance.numpy()) + np.trace(covariance) - 2 * np.trace(root)


def raw_moments_without(data: Clouds, index: int | None, decay: float = DECAY) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance from running raw moments, a row of the batch left out; straight from the definition."""
    before, batch = data.before.numpy(), data.batch.numpy()
    rows = batch if index is None else np.delete(batch, index, axis=0)
    mean = decay * before.mean(0) + (1 - decay) * rows.mean(0)
    second = decay * before.T @ before / len(before) + (1 - decay) * rows.T @ rows / len(rows)
    return mean, second - np.outer(mean, mean)


@pytest.fixture(scope="module")
def small() -> Clouds:
    return clouds(6)


@pytest.fixture(scope="module")
def data() -> Clouds:
    return clouds(48)


def test_exact_leave_one_out_is_the_difference_of_two_fids(small) -> None:
    real = gaussian(small.real)
    found = leave_one_out(small.batch, made_of(small), real)
    whole = published_fid(real, *raw_moments_without(small, None))
    wanted = [published_fid(real, *raw_moments_without(small, index)) - whole for index in range(len(small.batch))]
    assert np.abs(found.numpy() - wanted).max() < 1e-10
    # So that the agreement means something.
    assert np.std(wanted) > 1e-5


def test_exact_leave_one_out_by_axis_is_the_difference_of_two_diagonal_fids(small) -> None:
    real = gaussian(small.real)

    def fid(mean, covariance):
        spread = np.sqrt(np.diag(covariance)) - np.sqrt(real.variance.numpy())
        return ((mean - real.mean.numpy()) ** 2).sum() + (spread**2).sum()

    found = leave_one_out_by_axis(small.batch, made_of(small), real)
    whole = fid(*raw_moments_without(small, None))
    wanted = [fid(*raw_moments_without(small, index)) - whole for index in range(len(small.batch))]
    assert np.abs(found.numpy() - wanted).max() < 1e-10


def test_what_is_left_is_two_ranks_and_a_common_term_away(small) -> None:
    means, covariances = left_out(small.batch, made_of(small))
    for index in (0, 17, 143):
        mean, covariance = raw_moments_without(small, index)
        assert np.abs(means[index].numpy() - mean).max() < 1e-12
        assert np.abs(covariances[index].numpy() - covariance).max() < 1e-12
    by_axis = left_out_by_axis(small.batch, made_of(small))
    assert torch.allclose(by_axis[0], means)
    assert torch.allclose(by_axis[1], covariances.diagonal(dim1=1, dim2=2))


def test_the_reward_splits_into_distance_from_the_real_mean_and_shared_spread(small) -> None:
    made, real = made_of(small), gaussian(small.real)

    def shared(covariances):
        return torch.linalg.eigvalsh(real.root @ covariances @ real.root).sqrt().sum(-1)

    away = (small.batch - real.mean).square().sum(1)
    gain = shared(left_out(small.batch, made)[1]) - shared(made.whole.covariance)
    wanted = made.weight * (away.mean() - away) - 2 * gain
    assert torch.allclose(leave_one_out(small.batch, made, real), wanted, rtol=0, atol=1e-10)


def test_the_distance_is_fid(data) -> None:
    real, made = Moments.of(data.real), Moments.of(data.before)
    pair = [Gaussian(mean=moments.mean, covariance=moments.covariance) for moments in (real, made)]
    found = squared_frechet(pair[0], pair[1].mean, pair[1].covariance)
    assert float(found) == pytest.approx(frechet_distance(real, made), rel=1e-9)
    assert float(squared_frechet(pair[0], pair[0].mean, pair[0].covariance)) == pytest.approx(0, abs=1e-9)


def test_distances_by_axis_are_by_hand() -> None:
    real = Gaussian(mean=torch.tensor([0.0, 1.0]), covariance=torch.tensor([[4.0, 1.0], [1.0, 9.0]]))
    means, variances = torch.tensor([[0.0, 1.0], [3.0, 1.0]]), torch.tensor([[4.0, 9.0], [1.0, 25.0]])
    assert squared_frechet_by_axis(real, means, variances).tolist() == [0.0, 9.0 + 1.0 + 4.0]


def test_the_transport_carries_the_made_covariance_onto_the_real_one(data) -> None:
    made, real = made_of(data).whole, gaussian(data.real)
    way = transport(made, real)
    carried = way.matrix @ made.covariance @ way.matrix
    assert torch.allclose(carried, real.covariance, rtol=0, atol=1e-10 * float(real.variance.max()))
    assert torch.equal(way.matrix, way.matrix.T) or torch.allclose(way.matrix, way.matrix.T)
    assert float(torch.linalg.eigvalsh(way.matrix).min()) > 0


def test_the_gradient_of_the_potential_carries_made_samples_onto_the_real_set(data) -> None:
    made, real = gaussian(data.before), gaussian(data.real)
    rows = data.before.clone().requires_grad_()
    kantorovich_potential(rows, made.mean, real.mean, transport(made, real)).sum().backward()
    carried = gaussian(data.before - rows.grad / 2)
    assert torch.allclose(carried.mean, real.mean, atol=1e-10)
    assert torch.allclose(carried.covariance, real.covariance, atol=1e-9)


@pytest.mark.parametrize(("decay", "first", "second"), [(0.5, 0.95, 0.999), (0.9, 0.995, 0.9999)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_potential_says_what_leaving_out_says(decay, first, second, seed) -> None:
    data = clouds(48, seed=seed)
    made, real = made_of(data, decay), gaussian(data.real)
    way = transport(made.whole, real)
    exact = within_groups(leave_one_out(data.batch, made, real) / made.weight, data.classes)
    potential = -kantorovich_potential(data.batch, made.whole.mean, real.mean, way)
    closer = potential + second_order(data.batch, made.whole.mean, way, made.weight)
    near = within_groups(potential, data.classes)
    nearer = within_groups(closer, data.classes)
    assert correlation(near, exact) > first
    assert correlation(nearer, exact) > second
    assert float(nearer @ exact / exact.square().sum()) == pytest.approx(1, abs=0.02)
    assert float((nearer - exact).square().mean()) < 0.1 * float((near - exact).square().mean())


def test_the_diagonal_potential_says_what_leaving_out_by_axis_says(data) -> None:
    made, real = made_of(data, 0.9), gaussian(data.real)
    exact = within_groups(leave_one_out_by_axis(data.batch, made, real) / made.weight, data.classes)
    near = within_groups(-potential_by_axis(data.batch, made.whole, real), data.classes)
    assert correlation(near, exact) > 0.99
    assert float(near @ exact / exact.square().sum()) == pytest.approx(1, abs=0.1)


def test_variances_alone_are_another_signal(data) -> None:
    made, real = made_of(data), gaussian(data.real)
    full = within_groups(leave_one_out(data.batch, made, real), data.classes)
    by_axis = within_groups(leave_one_out_by_axis(data.batch, made, real), data.classes)
    assert correlation(full, by_axis) < 0.8


def test_without_correlations_axes_say_all() -> None:
    rng = torch.Generator().manual_seed(0)
    made = Gaussian(mean=torch.zeros(5).double(), covariance=torch.diag(torch.rand(5, generator=rng).double()))
    real = Gaussian(mean=torch.ones(5).double(), covariance=torch.diag(torch.rand(5, generator=rng).double()))
    rows = torch.randn(20, 5, generator=rng).double()
    full = kantorovich_potential(rows, made.mean, real.mean, transport(made, real))
    assert torch.allclose(full, potential_by_axis(rows, made, real))


def test_shrinking_keeps_variances_and_takes_off_the_diagonal(data) -> None:
    found, ridge = gaussian(data.real), 1e-3
    shrunk = found.shrunk(0.25, ridge)
    assert torch.allclose(shrunk.variance, found.variance + ridge * found.variance.mean())
    assert float(shrunk.covariance[0, 1]) == pytest.approx(0.75 * float(found.covariance[0, 1]))


def test_a_shrunk_exact_score_is_the_difference_of_shrunk_fids(small) -> None:
    made, real = made_of(small), gaussian(small.real).shrunk(0.2, 1e-3)

    def fid(index):
        mean, covariance = (torch.from_numpy(it) for it in raw_moments_without(small, index))
        fitted = Gaussian(mean=mean, covariance=covariance).shrunk(0.2, 1e-3)
        return squared_frechet(real, fitted.mean, fitted.covariance)

    found = leave_one_out(small.batch, made, real, shrinkage=0.2, ridge=1e-3)
    wanted = torch.stack([fid(index) - fid(None) for index in range(len(small.batch))])
    assert torch.allclose(found, wanted, rtol=0, atol=1e-10)


def test_a_set_without_width_gives_finite_numbers() -> None:
    flat = torch.outer(torch.randn(10, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), torch.ones(4))
    made, real = gaussian(flat.double()), gaussian(clouds(4).real)
    way = transport(made, real)
    assert torch.isfinite(kantorovich_potential(flat.double(), made.mean, real.mean, way)).all()
    assert torch.isfinite(transport(real, made).matrix).all()


def test_principal_directions_hold_the_most_spread(data) -> None:
    found = gaussian(data.real)
    basis = principal_directions(found.covariance, 5)
    assert torch.allclose(basis.T @ basis, torch.eye(5).double(), atol=1e-12)
    along = found.onto(basis).covariance
    values = torch.linalg.eigvalsh(found.covariance)
    assert torch.allclose(along, torch.diag(values[-5:].flip(0)), atol=1e-10)
