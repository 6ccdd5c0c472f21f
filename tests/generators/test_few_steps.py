"""A model in few steps: its grid, its contract, and the same pictures by diffusers' own pipeline."""

from dataclasses import replace

import pytest
import torch
from tiny_families import FAMILIES, load_tiny

from plaudit.core.errors import BadConfig
from plaudit.generators.denoising import denoising_of, shifted
from plaudit.generators.few_steps import FewSteps
from plaudit.generators.generator import NoiseGenerator
from plaudit.generators.offloading import move_generator
from plaudit.generators.stable_diffusion import StableDiffusion
from plaudit.generators.table import load_generator

PROMPTS = ["a red square", "two blue circle"]


@pytest.fixture
def sd(sd_folder):
    return StableDiffusion.from_pretrained(sd_folder)


def test_a_shift_crowds_the_places_towards_the_noise():
    even = torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0])
    assert shifted(even, 3.0).tolist() == pytest.approx([1, 0.9, 0.75, 0.5, 0])
    assert torch.equal(shifted(even, 1.0), even)
    # One shift after another is their product, and the other way round undoes it.
    assert torch.allclose(shifted(shifted(even, 2.0), 3.0), shifted(even, 6.0))
    assert torch.allclose(shifted(shifted(even, 4.0), 0.25), even)


@pytest.mark.parametrize("shift", [0.0, -1.0, float("inf"), float("nan")])
def test_a_shift_that_cannot_be_is_refused(sd, shift):
    with pytest.raises(BadConfig, match="a grid's shift must be a positive number"):
        FewSteps(sd, steps=4, shift=shift)


def test_the_shifted_grid_of_a_diffusion_model(sd):
    assert FewSteps(sd, steps=4, shift=3.0).grid.time.tolist() == [999, 899, 749, 499]
    assert FewSteps(sd, steps=4).grid.time.tolist() == [999, 749, 499, 249]
    assert FewSteps(sd, steps=4, start=0.9).grid.time.tolist() == [899, 674, 449, 224]


@pytest.mark.parametrize("start", [0.0, 1.5, float("nan")])
def test_a_start_outside_the_schedule_is_refused(sd, start):
    with pytest.raises(BadConfig, match="a grid starts at a place of the schedule above 0 and up to 1"):
        FewSteps(sd, steps=4, start=start)


def test_steps_that_would_meet_are_refused(sd):
    with pytest.raises(BadConfig, match="400 steps at a shift of 9 would take a time twice"):
        FewSteps(sd, steps=400, shift=9.0)


def test_it_keeps_the_contract_of_a_generator(sd):
    few = FewSteps(sd, steps=3, shift=2.0)
    assert isinstance(few, NoiseGenerator)
    noise = torch.randn(2, *few.noise_shape).requires_grad_()
    images = few.sample(noise, few.encode(PROMPTS))
    assert images.shape[:2] == (2, 3)
    (slope,) = torch.autograd.grad(images.mean(), noise)
    assert slope.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in few.denoiser.parameters())
    with torch.no_grad():
        alone = torch.cat([few.sample(noise[[row]], few.encode([PROMPTS[row]])) for row in range(2)])
    assert torch.allclose(images, alone, atol=1e-5)


def test_what_it_draws_can_be_trained_on(sd):
    few = FewSteps(sd, steps=2)
    assert denoising_of(few).denoiser is sd.unet


def test_a_model_of_its_own_few_steps_is_refused():
    with pytest.raises(BadConfig, match="is not a denoiser at every noise level"):
        FewSteps(load_generator("pocket-lcm"), steps=4)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_diffusers_draws_the_same_at_the_grids_times(sd_folder, sd, shift):
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

    few = FewSteps(sd, steps=3, shift=shift)
    noise = torch.randn(2, *few.noise_shape, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        ours = few.sample(noise, few.encode(PROMPTS))
    pipe = StableDiffusionPipeline.from_pretrained(str(sd_folder), safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config, timestep_spacing="trailing")
    size = few.noise_shape[-1] * (ours.shape[-1] // few.noise_shape[-1])
    theirs = pipe(
        PROMPTS, latents=noise, timesteps=few.grid.time.tolist(), guidance_scale=1.0, output_type="pt", height=size,
        width=size,
    ).images  # fmt: skip
    assert torch.allclose(ours, theirs, atol=2e-3)


@pytest.mark.parametrize("family", ["sd", "sd3"])
def test_all_that_it_holds_goes_where_it_shall_work(sd, family, tmp_path):
    """On the "meta" device: tables that stay behind cannot be looked up by indices there."""
    few = FewSteps(sd if family == "sd" else load_tiny(FAMILIES["sd3"](tmp_path / "sd3"), "sd3"), steps=2)
    condition = few.encode(PROMPTS)
    move_generator(few, "meta")
    held = [it for it in vars(few.denoising).values() if isinstance(it, torch.Tensor)]
    assert (len(held) > 0) == (family == "sd")
    assert all(it.is_meta for it in (*held, few.grid.time, few.grid.signal, few.grid.noise))
    assert few.denoising.device.type == few.device.type == "meta"
    parts = {name: value.to("meta") for name, value in vars(condition).items()}
    assert few.sample(torch.empty(2, *few.noise_shape, device="meta"), replace(condition, **parts)).is_meta
