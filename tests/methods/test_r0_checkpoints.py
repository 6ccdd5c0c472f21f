"""R0 on checkpoints in the published formats: what is trained, what stays, and that it learns there too."""

from dataclasses import replace

import pytest
import torch
from methods.toy_denoiser import Brightness

from plaudit.core.random_streams import noise_for
from plaudit.generators.denoising import denoising_of
from plaudit.generators.stable_diffusion import StableDiffusion
from plaudit.generators.trained_part import lora_layers
from plaudit.methods.anchor import LoraAnchor, WeightAnchor, begin
from plaudit.methods.denoising_walk import draw_few_steps
from plaudit.methods.r0 import R0, R0Config

PROMPTS = ["a red square", "two blue circle"]
CONFIG = R0Config(updates=2, images_per_update=3, steps=(2,), lr=1e-3, batch_size=2)


def training(folder, *, rank, config=CONFIG):
    generator = StableDiffusion.from_pretrained(folder, steps=2)
    denoising = denoising_of(generator)
    start = begin(generator, denoising, rank=rank, alpha=2.0 * rank, seed=0)
    return R0(denoising, Brightness(), PROMPTS, config, start=start), start


def seen(denoising):
    """What a denoiser sees at two levels, as told of two prompts."""
    latents = noise_for([("x", row) for row in range(2)], denoising.noise_shape)
    with torch.no_grad():
        return denoising.clean(latents, denoising.grid(2)[torch.tensor([0, 1])], denoising.encode(PROMPTS))


@pytest.mark.parametrize("rank", [0, 2])
def test_the_trained_weights_move_and_the_frozen_ones_stay(sd_folder, rank):
    untouched = seen(denoising_of(StableDiffusion.from_pretrained(sd_folder, steps=2)))
    one, start = training(sd_folder, rank=rank)
    assert isinstance(start.anchor, LoraAnchor if rank else WeightAnchor)
    assert start.anchor.drift() == 0
    torch.testing.assert_close(seen(one.denoising), untouched)
    updates = list(one.updates())
    assert updates[-1].drift > 0
    torch.testing.assert_close(seen(start.frozen), untouched)
    assert not torch.allclose(seen(one.denoising), untouched, atol=1e-4)


def test_the_drift_of_a_lora_is_that_of_the_weights_that_it_amounts_to(sd_folder):
    one, start = training(sd_folder, rank=2)
    list(one.updates())
    layers = lora_layers(one.denoising.denoiser)
    before = {id(layer): layer.start.detach().clone() for layer in layers}
    drift = start.anchor.drift()
    one.denoising.denoiser.fuse_lora()
    changed = sum((layer.start - before[id(layer)]).square().sum() for layer in layers)
    own = sum(weight.square().sum() for weight in before.values())
    assert drift == pytest.approx((changed / own).sqrt().item(), rel=1e-3)
    assert len(layers) > 10


def test_a_loras_pull_of_all_that_has_moved_leaves_the_pretrained_pictures(sd_folder):
    one, start = training(sd_folder, rank=2, config=replace(CONFIG, pull=1e3))
    list(one.updates())
    assert start.anchor.drift() == 0
    torch.testing.assert_close(seen(one.denoising), seen(start.frozen))


def gradient_of(folder, **settings):
    one, _ = training(folder, rank=2, config=replace(CONFIG, grad_clip=1e9, truncation="all", **settings))
    one.learner.optimiser.step = lambda: None
    next(one.updates())
    return torch.cat([parameter.grad.flatten() for parameter in one.learner.parameters])


def test_recomputing_activations_changes_no_gradient(sd_folder):
    """Also where the LoRA is switched off for the guidance between the two runs of the network."""
    kept, again = (gradient_of(sd_folder, recompute=flag) for flag in (False, True))
    torch.testing.assert_close(again, kept, rtol=1e-4, atol=1e-6)
    assert kept.abs().max() > 0


@pytest.mark.parametrize("truncation", ["one", "all"])
def test_a_stable_diffusion_learns_to_draw_brighter(sd_folder, truncation):
    config = replace(CONFIG, updates=12, images_per_update=4, lr=0.01, guidance_weight=0.0, truncation=truncation)
    one, _ = training(sd_folder, rank=0, config=config)
    keys, condition = [("test", row) for row in range(8)], one.denoising.encode(PROMPTS * 4)
    before = draw_few_steps(one.denoising, keys, condition, grid=one.denoising.grid(2)).mean().item()
    list(one.updates())
    assert draw_few_steps(one.denoising, keys, condition, grid=one.denoising.grid(2)).mean().item() > before + 0.02
