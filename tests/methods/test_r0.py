"""R0: its update is the sum of equal pulls, and no batch and no scale of a reward changes it."""

from dataclasses import replace

import pytest
import torch
from methods.toy_denoiser import (
    PROMPTS,
    REWARDS,
    SMALL,
    Brightness,
    Times,
    ToyDenoising,
    gradient_of,
    rewards,
    toy_training,
    trained,
    weights_of,
)
from toys import Colour, Null, Rounded

from plaudit.core.random_streams import stream
from plaudit.methods.directions import unit
from plaudit.rewards.capped import Capped
from plaudit.rewards.mix import WeightedSum


def test_the_update_follows_the_weighted_sum_of_each_rewards_unit_direction():
    """Through the network by autograd, from the mean over images of <latents, sum of w_i g_i / |g_i|>."""
    config = replace(SMALL, truncation="all", guidance_weight=0.0, images_per_update=3)
    found = gradient_of(config)
    one = toy_training(config, rewards())
    chosen = torch.randint(4, (3,), generator=stream(0, "prompts", 0))
    keys = [(0, "image", 0, row) for row in range(3)]
    latents, _ = one.draw(keys, one.condition[chosen], 4)
    direction = torch.zeros_like(latents)
    for weight, part in REWARDS.values():
        leaf = latents.detach().requires_grad_()
        score = part(one.denoising.decode(leaf), [PROMPTS[number] for number in chosen])
        direction += weight / 4 * unit(torch.autograd.grad(score.sum(), leaf)[0])
    expected = torch.autograd.grad(-(latents * direction).sum() / 3, one.denoising.weight)[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


WAYS = {
    "plain": {},
    "all steps": {"truncation": "all"},
    "noised": {"truncation": "noised:2", "guidance_weight": 0.5},
    "tail, pcgrad": {"truncation": "tail", "conflicts": "pcgrad"},
    "pixels, detail": {"normalise": "pixels", "detail_weight": 0.7},
    "raw": {"normalise": "none", "rule": "interpolate", "eta": 0.3},
    "pcgrad, recomputed": {"conflicts": "pcgrad", "recompute": True, "detail_weight": 0.2, "truncation": "all"},
}


@pytest.mark.parametrize("way", WAYS)
def test_the_batch_size_changes_nothing(way):
    found = []
    for size in (1, 3, 100):
        one, updates = trained(replace(SMALL, batch_size=size, ema=0.9, **WAYS[way]))
        found.append((gradient_of(replace(SMALL, batch_size=size, **WAYS[way])), weights_of(one), updates))
    for gradient, weights, updates in found[1:]:
        torch.testing.assert_close(gradient, found[0][0], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(weights, found[0][1], rtol=1e-3, atol=1e-4)
        for one, other in zip(updates, found[0][2], strict=True):
            metrics = {name: value for name, value in one.metrics().items() if name != "seconds"}
            expected = {name: value for name, value in other.metrics().items() if name != "seconds"}
            assert metrics == pytest.approx(expected, rel=1e-3, abs=1e-5)
            assert one.prompts == other.prompts
            torch.testing.assert_close(one.images, other.images, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("normalise", ["latents", "pixels"])
def test_a_reward_a_thousand_times_as_large_teaches_the_same(normalise):
    config = replace(SMALL, normalise=normalise)
    plain, large = (gradient_of(config, rewards(factor=factor)) for factor in (1.0, 1000.0))
    torch.testing.assert_close(large, plain, rtol=1e-4, atol=1e-7)
    assert plain.abs().max() > 1e-3
    long, short = (trained(config, rewards(factor=factor))[0] for factor in (1.0, 1000.0))
    torch.testing.assert_close(weights_of(long), weights_of(short), rtol=1e-3, atol=1e-4)


def test_without_a_length_it_teaches_a_thousand_times_as_much():
    config = replace(SMALL, normalise="none", guidance_weight=0.0)
    plain, large = (gradient_of(config, rewards(factor=factor)) for factor in (1.0, 1000.0))
    torch.testing.assert_close(large, 1000 * plain, rtol=1e-4, atol=1e-4)


def test_weights_sum_to_one_and_a_sign_is_no_weight():
    config = replace(SMALL, guidance_weight=3.0, detail_weight=2.0)
    one = toy_training(config, WeightedSum({**REWARDS, "seen": (0.0, Rounded())}))
    assert one.weights == pytest.approx(
        {"colour": 2 / 9, "texture": 1 / 9, "blue": 1 / 9, "guidance": 1 / 3, "detail": 2 / 9}
    )
    one = toy_training(replace(config, normalise="pixels"), rewards())
    assert one.weights == pytest.approx({"rewards": 4 / 9, "guidance": 3 / 9, "detail": 2 / 9})
    assert toy_training(replace(SMALL, guidance_weight=0.0), Colour()).weights == {"reward": 1.0}


def test_only_the_ratio_of_all_weights_matters():
    double = WeightedSum({name: (2 * weight, part) for name, (weight, part) in REWARDS.items()})
    once = gradient_of(replace(SMALL, guidance_weight=1.0))
    twice = gradient_of(replace(SMALL, guidance_weight=2.0), double)
    torch.testing.assert_close(twice, once, rtol=1e-4, atol=1e-7)


def test_a_negative_weight_is_followed_downhill():
    config = replace(SMALL, guidance_weight=0.0)
    up, down = (gradient_of(config, WeightedSum({"colour": (weight, Colour())})) for weight in (1.0, -2.0))
    torch.testing.assert_close(down, -up)
    assert up.abs().max() > 0


def test_conflicts_are_removed_where_it_is_asked_for():
    against = WeightedSum({"colour": (1.0, Colour(0)), "other": (1.0, Colour(1))})
    config = replace(SMALL, guidance_weight=0.0)
    plain, freed = (gradient_of(replace(config, conflicts=conflicts), against) for conflicts in ("sum", "pcgrad"))
    assert not torch.allclose(plain, freed, atol=1e-3)
    agreeing = WeightedSum({"colour": (1.0, Colour(0)), "again": (1.0, Times(Colour(0), 5.0))})
    plain, freed = (gradient_of(replace(config, conflicts=conflicts), agreeing) for conflicts in ("sum", "pcgrad"))
    torch.testing.assert_close(plain, freed)


def test_what_is_beyond_its_cap_is_followed_no_further():
    config = replace(SMALL, guidance_weight=0.0)
    assert gradient_of(config, Capped(Brightness(), 0.0)).abs().max() == 0
    assert gradient_of(config, Capped(Brightness(), 1.0)).abs().max() > 0


def test_of_several_step_counts_every_update_draws_one():
    denoising = ToyDenoising()
    config = replace(SMALL, updates=40, steps=(1, 2, 4), truncation="all", images_per_update=2)
    counts = []
    for _ in toy_training(config, Colour(), denoising=denoising).updates():
        counts.append(sum(on for on, _ in denoising.calls))
        denoising.calls.clear()
    assert {count: counts.count(count) > 5 for count in sorted(set(counts))} == {1: True, 2: True, 4: True}
    again = replace(config, seed=1)
    denoising = ToyDenoising()
    others = []
    for _ in toy_training(again, Colour(), denoising=denoising).updates():
        others.append(sum(on for on, _ in denoising.calls))
        denoising.calls.clear()
    assert others != counts


def test_the_steps_are_those_of_the_shifted_grid():
    denoising = ToyDenoising()
    config = replace(SMALL, shift=3.0, truncation="all", images_per_update=1)
    next(toy_training(config, Colour(), denoising=denoising).updates())
    assert [level for on, (level,) in denoising.calls if on] == [12, 11, 9, 6]


def test_an_update_tells_what_was_judged():
    one = toy_training(replace(SMALL, images_per_update=6, truncation="noised:2", guidance_weight=1.0), rewards())
    update = next(one.updates())
    assert update.images.shape == (12, 3, 2, 4)
    assert len(update.prompts) == 12
    assert set(update.prompts) <= set(PROMPTS)
    assert update.images_drawn == 6
    raw = {name: part(update.images, update.prompts).mean().item() for name, (_, part) in REWARDS.items()}
    assert update.parts == pytest.approx(raw, rel=1e-4)
    assert update.reward == pytest.approx(2 * raw["colour"] + raw["texture"] - raw["blue"], rel=1e-4)
    assert set(update.pulls) == {"colour", "texture", "blue", "guidance"}
    assert min(update.pulls.values()) > 0
    assert -1 < update.agreement < 1
    assert update.gradient_norm > 0
    assert update.metrics()["reward_texture"] == update.parts["texture"]
    assert update.metrics()["pull_guidance"] == update.pulls["guidance"]


def test_a_pull_is_how_long_the_gradient_was():
    config = replace(SMALL, guidance_weight=0.0)
    plain, large = (trained(config, Times(Colour(), factor))[1][0].pulls["reward"] for factor in (1.0, 50.0))
    assert large == pytest.approx(50 * plain, rel=1e-4)


class Saturated(ToyDenoising):
    """Of four numbers in a picture one is fully off."""

    def decode(self, latents):
        image = super().decode(latents).repeat_interleave(2, dim=2)
        return torch.cat([image[:, :, :3], 0 * image[:, :, 3:]], dim=2)


def test_saturated_numbers_are_counted():
    assert next(toy_training(SMALL, Colour(), denoising=Saturated()).updates()).saturated == pytest.approx(0.25)
    assert next(toy_training(SMALL, Colour()).updates()).saturated == 0


def test_a_reward_that_likes_everything_teaches_nothing():
    one, updates = trained(replace(SMALL, guidance_weight=0.0), Null())
    assert torch.equal(weights_of(one), torch.zeros(13, 12))
    assert updates[0].pulls == {"reward": 0.0}


def test_guidance_alone_is_something_to_follow():
    """And a reward of weight 0 is watched meanwhile, with a gradient or without."""
    watched = WeightedSum({"bytes": (0.0, Rounded())})
    one, updates = trained(replace(SMALL, guidance_weight=1.0), watched)
    assert one.weights == {"guidance": 1.0}
    assert weights_of(one).abs().max() > 0
    assert set(updates[0].parts) == {"bytes"}


def test_the_frozen_model_is_asked_at_every_level_between_the_two_that_are_set():
    """And for detail at the low ones alone; each image at its own."""
    config = replace(
        SMALL, images_per_update=300, batch_size=300, guidance_low=0.1, guidance_high=0.9, detail_weight=1.0,
        detail_high=0.3,
    )  # fmt: skip
    one, places = toy_training(config, Colour()), []
    level_at = one.frozen.level_at
    one.frozen.level_at = lambda place: places.append(place) or level_at(place)
    next(one.updates())
    for found, high in zip(places, (0.9, 0.3), strict=True):
        shares = (found - 0.1) / (high - 0.1)
        assert len(found.unique()) == 300
        assert 0 <= shares.min() < 0.05
        assert 0.95 < shares.max() <= 1
        assert shares.mean().item() == pytest.approx(0.5, abs=0.07)
