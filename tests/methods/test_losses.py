import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plaudit.methods.losses import (
    clip_per_image,
    finite_rows,
    least_penalty,
    nesterov_step,
    norm_penalty,
    norms,
    penalty_gradient,
    where_row,
)


def with_norm(norm: float, dimension: int) -> torch.Tensor:
    noise = torch.randn(1, dimension, generator=torch.Generator().manual_seed(dimension))
    return noise * norm / noise.norm()


def test_the_penalty_by_hand():
    # d = 2: 0.5 n^2 - ln n
    torch.testing.assert_close(norm_penalty(torch.tensor([[3.0, 4.0]])), torch.tensor([12.5 - math.log(5)]))


@pytest.mark.parametrize(("dimension", "least"), [(16384, -712.99), (65536, -3306.35)])
def test_a_hundredth_of_the_least_penalty_is_the_published_size(dimension, least):
    assert 0.01 * least_penalty(dimension) == pytest.approx(least, abs=0.01)


@given(st.integers(3, 500), st.floats(0.5, 2.0))
def test_the_penalty_is_least_on_the_gaussian_shell(dimension, factor):
    noise = with_norm(factor * math.sqrt(dimension - 1), dimension).double()
    assert float(norm_penalty(noise)) >= least_penalty(dimension) - 1e-3 * dimension


@pytest.mark.parametrize(("dimension", "size"), [(16384, 0.0255), (65536, 0.0509)])
def test_the_penalty_s_pull_one_percent_off_the_shell(dimension, size):
    noise = with_norm(1.01 * math.sqrt(dimension - 1), dimension)
    pull = 0.01 * penalty_gradient(noise)
    assert float(pull.norm()) == pytest.approx(size, abs=1e-4)
    assert float((pull * noise).sum()) > 0  # descending it shortens a noise that is too long


def test_the_penalty_gradient_is_the_penalty_s():
    noise = torch.randn(4, 3, 5, 5, requires_grad=True)
    expected = torch.autograd.grad(norm_penalty(noise).sum(), noise)[0]
    torch.testing.assert_close(penalty_gradient(noise.detach()), expected)


def test_half_precision_noise_does_not_overflow_the_penalty():
    noise = torch.randn(1, 65536).half() * 1.2
    assert bool(torch.isfinite(norm_penalty(noise)).all())


def test_clipping_by_hand():
    gradient = torch.tensor([[3.0, 4.0], [0.03, 0.04], [0.0, 0.0]])
    expected = torch.tensor([[0.06, 0.08], [0.03, 0.04], [0.0, 0.0]])
    torch.testing.assert_close(clip_per_image(gradient, 0.1), expected)


def test_one_image_s_steep_gradient_does_not_shorten_another_s():
    gentle = torch.full((1, 4), 0.01)
    together = clip_per_image(torch.cat([gentle, torch.full((1, 4), 1e6)]), 0.1)
    assert torch.equal(together[:1], gentle)


def test_three_nesterov_steps_by_hand():
    noise, velocity, lr = torch.tensor([[1.0]]), torch.zeros(1, 1), torch.tensor([0.5])
    # v: 1, 0.9 * 1 + 2 = 2.9, 0.9 * 2.9 - 1 = 1.61; steps: g + 0.9 v = 1.9, 4.61, 0.449
    expected = [1.0 - 0.5 * 1.9, 0.05 - 0.5 * 4.61, -2.255 - 0.5 * 0.449]
    for gradient, place in zip((1.0, 2.0, -1.0), expected, strict=True):
        noise, velocity = nesterov_step(noise, velocity, torch.tensor([[gradient]]), lr, momentum=0.9)
        assert float(noise) == pytest.approx(place, abs=1e-6)


def test_nesterov_steps_are_torch_s():
    start = torch.randn(1, 6) / 4
    theirs = start.clone().requires_grad_()
    optimiser = torch.optim.SGD([theirs], lr=0.1, momentum=0.9, nesterov=True)
    ours, velocity = start, torch.zeros_like(start)
    for _ in range(5):
        optimiser.zero_grad()
        theirs.cosh().sum().backward()
        optimiser.step()
        ours, velocity = nesterov_step(ours, velocity, ours.sinh(), torch.tensor([0.1]), momentum=0.9)
    torch.testing.assert_close(ours, theirs.detach())
    assert not torch.allclose(ours, start)


def test_each_image_has_its_own_rate():
    noise, _ = nesterov_step(
        torch.zeros(2, 1), torch.zeros(2, 1), torch.ones(2, 1), torch.tensor([1.0, 0.5]), momentum=0.0
    )
    assert noise.flatten().tolist() == [-1.0, -0.5]


def test_rows_with_one_bad_number_are_found_and_replaced():
    tensor = torch.ones(3, 2, 2)
    tensor[1, 0, 1], tensor[2, 1, 1] = float("nan"), float("-inf")
    fine = finite_rows(tensor)
    assert fine.tolist() == [True, False, False]
    assert where_row(fine, tensor, torch.zeros_like(tensor)).flatten(1).sum(1).tolist() == [4.0, 0.0, 0.0]


def test_norms_by_hand():
    assert norms(torch.tensor([[[3.0], [4.0]], [[0.0], [2.0]]])).tolist() == [5.0, 2.0]
