"""A reward that is wrong far from the data: alone it leads the pictures there, and what holds R0 keeps them home.

Two numbers make a picture. The data are four heaps, one for each prompt, at distance 2 from the middle; the generator
is the exact flow between noise and the prompt's heap, with a small network in training that may change it. The reward
has a little for being at home, and much more on its way to a spike 8 from the middle, where no data are.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pytest
import torch
from methods.toy_mixture import CENTRES, PROMPTS, MixtureDenoising
from torch import Tensor

from plaudit.methods.anchor import Start, WeightAnchor
from plaudit.methods.denoising_walk import draw_few_steps
from plaudit.methods.r0 import R0, R0Config

SPIKE = torch.tensor([0.0, 8.0])
ALONE = R0Config(
    updates=100, images_per_update=16, lr=0.02, grad_clip=1e9, pull=0.0, eta=0.0, guidance_weight=0.0, batch_size=16
)
HELD = replace(ALONE, pull=20.0, eta=1.0, guidance_weight=1.0)


class Spiked:
    """A little for the prompt's own heap, and a wide spike elsewhere."""

    differentiable = True

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        place = (images[:, :2, 0, 0] - 0.5) * 40
        home = CENTRES[[PROMPTS.index(prompt) for prompt in prompts]]
        near_home = (-(place - home).square().sum(dim=1) / 2).exp()
        return 0.3 * near_home + 5 * (-(place - SPIKE).square().sum(dim=1) / (2 * 4**2)).exp()


def pictures(denoising):
    """Where the pictures of "right" and of "left" are after four steps, (2, 100, 2), and their mean reward."""
    condition = denoising.encode(["right"] * 100 + ["left"] * 100)
    images = draw_few_steps(denoising, [("test", row) for row in range(200)], condition, grid=denoising.grid(4))
    reward = Spiked()(images, ["right"] * 100 + ["left"] * 100).mean().item()
    return ((images[:, :2, 0, 0] - 0.5) * 40).view(2, 100, 2), reward


@cache
def after(config, seed, truncation="one"):
    denoising = MixtureDenoising(seed=seed)
    parameters = list(denoising.denoiser.parameters())
    anchor = WeightAnchor(parameters, [parameter.detach().clone() for parameter in parameters])
    start = Start(frozen=MixtureDenoising(seed=seed), anchor=anchor)
    config = replace(config, seed=seed, truncation=truncation)
    for _ in R0(denoising, Spiked(), ["right", "left"], config, start=start).updates():
        pass
    return pictures(denoising)


def away_from(place, target):
    """The mean distance."""
    return (place - target).norm(dim=-1).mean().item()


def test_before_anything_is_learned_the_pictures_are_at_home():
    place, reward = pictures(MixtureDenoising())
    assert away_from(place, CENTRES[:2, None]) < 0.5
    assert away_from(place, SPIKE) > 8
    assert reward < 1


@pytest.mark.parametrize(("seed", "truncation"), [(0, "one"), (1, "one"), (2, "one"), (0, "all")])
def test_the_reward_alone_leads_to_the_spike_and_held_back_it_does_not(seed, truncation):
    _, before = pictures(MixtureDenoising(seed=seed))
    place, reward = after(ALONE, seed, truncation)
    assert away_from(place, SPIKE) < 1
    assert away_from(place, CENTRES[:2, None]) > 7
    assert reward > 4.5
    place, reward = after(HELD, seed, truncation)
    assert away_from(place, SPIKE) > 7
    assert away_from(place, CENTRES[:2, None]) < 1.2
    # Held, and yet not frozen: it follows the reward as far as the data are.
    assert reward > before + 0.05


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_frozen_models_view_keeps_the_prompts_apart(seed):
    """Without a pull both run off; but only the reward alone ends in one picture for every prompt."""
    alone, _ = after(ALONE, seed)
    guided, _ = after(replace(ALONE, guidance_weight=1.0), seed)
    gaps = [(place[0].mean(dim=0) - place[1].mean(dim=0)).norm().item() for place in (alone, guided)]
    assert gaps[0] < 1.5
    assert gaps[1] > 2.5
