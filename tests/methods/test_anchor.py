"""Weights are held to where they started: the pull, the limit, and a LoRA's length without its product."""

import math

import pytest
import torch
from torch import nn

from plaudit.methods.anchor import LoraAnchor, LowRank, WeightAnchor, hold


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def moved_weights():
    """Two tensors and where they started."""
    start = [numbers(3, 4), numbers(5, seed=1)]
    parameters = [nn.Parameter(value + numbers(*value.shape, seed=2)) for value in start]
    return parameters, start


def linear(*, scale=0.5, rank=2, seed=0):
    return LowRank(
        down=nn.Parameter(numbers(rank, 6, seed=seed)), up=nn.Parameter(numbers(5, rank, seed=seed + 1)), scale=scale,
        start=numbers(5, 6, seed=seed + 2),
    )  # fmt: skip


def convolution(*, scale=2.0, rank=3, seed=10):
    return LowRank(
        down=nn.Parameter(numbers(rank, 4, 3, 3, seed=seed)), up=nn.Parameter(numbers(7, rank, 1, 1, seed=seed + 1)),
        scale=scale, start=numbers(7, 4, 3, 3, seed=seed + 2),
    )  # fmt: skip


def product(layer):
    """The layer's change, built."""
    return layer.scale * torch.einsum("or,ri->oi", layer.up.flatten(1), layer.down.flatten(1)).detach()


@pytest.mark.parametrize("layer", [linear(), linear(rank=8), convolution(), convolution(rank=1, scale=1e-3)])
def test_a_products_norm_is_known_without_the_product(layer):
    expected = product(layer).double().square().sum()
    assert layer.squared_norm().item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_built_product_is_what_the_layer_adds():
    """So that the test above compares with the right thing."""
    layer, image = convolution(), numbers(2, 4, 5, 5)
    low = nn.functional.conv2d(image, layer.down, padding=1)
    added = layer.scale * nn.functional.conv2d(low, layer.up)
    direct = nn.functional.conv2d(image, product(layer).view(7, 4, 3, 3), padding=1)
    torch.testing.assert_close(added, direct, rtol=1e-4, atol=1e-4)


def test_a_product_that_cancels_has_no_norm_and_no_nan():
    for seed in range(50):
        up, down = numbers(5, 1, seed=seed), numbers(1, 6, seed=seed + 100)
        layer = LowRank(
            down=nn.Parameter(torch.cat([down, down])), up=nn.Parameter(torch.cat([up, -up * (1 + 1e-7)], dim=1)),
            scale=1.0, start=numbers(5, 6),
        )  # fmt: skip
        assert 0 <= LoraAnchor([layer]).drift() < 1e-2


def test_the_drift_by_hand():
    parameters = [nn.Parameter(torch.tensor([3.0, 4.0])), nn.Parameter(torch.tensor([12.0]))]
    anchor = WeightAnchor(parameters, [torch.tensor([3.0, 0.0]), torch.tensor([9.0])])
    # Moved by (0, 4) and (3), from a norm of sqrt(9 + 81).
    assert anchor.drift() == pytest.approx(5 / math.sqrt(90))


def test_a_loras_drift_is_that_of_all_its_products():
    layers = [linear(), convolution()]
    changed = sum(float(product(layer).square().sum()) for layer in layers)
    own = sum(float(layer.start.square().sum()) for layer in layers)
    assert LoraAnchor(layers).drift() == pytest.approx(math.sqrt(changed / own), rel=1e-5)


def test_a_lora_drifts_as_far_as_the_weights_it_stands_for():
    layers = [linear(), convolution()]
    start = [layer.start for layer in layers]
    parameters = [nn.Parameter(layer.start + product(layer).view_as(layer.start)) for layer in layers]
    assert LoraAnchor(layers).drift() == pytest.approx(WeightAnchor(parameters, start).drift(), rel=1e-5)


@pytest.mark.parametrize("factor", [0.0, 0.25, 0.9, 1.0])
def test_shrinking_weights_is_exact(factor):
    parameters, start = moved_weights()
    moved = [parameter.detach() - old for parameter, old in zip(parameters, start, strict=True)]
    anchor = WeightAnchor(parameters, start)
    before = anchor.drift()
    anchor.shrink(factor)
    for parameter, old, move in zip(parameters, start, moved, strict=True):
        torch.testing.assert_close(parameter.detach(), old + factor * move, rtol=1e-6, atol=1e-6)
    assert anchor.drift() == pytest.approx(factor * before, rel=1e-5, abs=0)


@pytest.mark.parametrize("factor", [0.0, 0.25, 0.9, 1.0])
def test_shrinking_a_lora_is_exact(factor):
    layers = [linear(), convolution()]
    expected = [factor * product(layer) for layer in layers]
    anchor = LoraAnchor(layers)
    before = anchor.drift()
    anchor.shrink(factor)
    for layer, change in zip(layers, expected, strict=True):
        torch.testing.assert_close(product(layer), change)
    assert anchor.drift() == pytest.approx(factor * before, rel=1e-5, abs=0)


def test_a_lora_shrunk_to_nothing_can_still_learn():
    layer = linear()
    LoraAnchor([layer]).shrink(0.0)
    (layer.up @ layer.down).sum().backward()
    assert layer.up.grad.abs().sum() > 0


def test_the_start_is_never_changed():
    parameters, start = moved_weights()
    kept = [value.clone() for value in start]
    anchor = WeightAnchor(parameters, start)
    hold(anchor, rate=0.5, limit=1e-3)
    assert all(torch.equal(one, other) for one, other in zip(start, kept, strict=True))


def test_the_pull_goes_to_the_start_and_not_to_zero():
    parameters, start = moved_weights()
    anchor = WeightAnchor(parameters, start)
    for _ in range(100):
        drift = hold(anchor, rate=0.2, limit=0.0)
    for parameter, old in zip(parameters, start, strict=True):
        torch.testing.assert_close(parameter.detach(), old)
        assert parameter.abs().max() > 0.5
    assert drift == pytest.approx(0.0, abs=1e-6)


def test_the_pull_takes_its_share_of_what_has_moved():
    parameters, start = moved_weights()
    anchor = WeightAnchor(parameters, start)
    before = anchor.drift()
    assert hold(anchor, rate=0.1, limit=0.0) == pytest.approx(0.9 * before, rel=1e-5)
    assert hold(anchor, rate=0.0, limit=0.0) == pytest.approx(0.9 * before, rel=1e-5)


@pytest.mark.parametrize("rate", [1.0, 3.0, math.inf])
@pytest.mark.parametrize("kind", ["weights", "lora"])
def test_a_strong_pull_puts_everything_back(kind, rate):
    parameters, start = moved_weights()
    anchor = WeightAnchor(parameters, start) if kind == "weights" else LoraAnchor([linear(), convolution()])
    assert hold(anchor, rate=rate, limit=0.0) == 0.0
    assert anchor.drift() == 0.0
    if kind == "weights":
        assert all(torch.equal(one, other) for one, other in zip(parameters, start, strict=True))


@pytest.mark.parametrize("kind", ["weights", "lora"])
def test_what_is_beyond_the_limit_comes_back_to_it(kind):
    anchor = WeightAnchor(*moved_weights()) if kind == "weights" else LoraAnchor([linear(), convolution()])
    limit = 0.3 * anchor.drift()
    assert hold(anchor, rate=0.0, limit=limit) == limit
    assert anchor.drift() == pytest.approx(limit, rel=1e-5)


def test_what_is_within_the_limit_stays():
    parameters, start = moved_weights()
    anchor = WeightAnchor(parameters, start)
    before = [parameter.detach().clone() for parameter in parameters]
    drift = hold(anchor, rate=0.0, limit=2 * anchor.drift())
    assert drift == anchor.drift()
    assert all(torch.equal(one, other) for one, other in zip(parameters, before, strict=True))


def test_the_pull_comes_before_the_limit():
    """Else the drift that is told would not be the one the weights have."""
    anchor = WeightAnchor(*moved_weights())
    limit = 0.6 * anchor.drift()
    assert hold(anchor, rate=0.5, limit=limit) == pytest.approx(limit / 0.6 * 0.5, rel=1e-5)
