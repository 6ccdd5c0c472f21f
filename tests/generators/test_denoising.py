"""Denoisers at any level: their conversions, the grids of diffusers' samplers, and the steps between levels."""

import copy
from types import SimpleNamespace

import diffusers
import pytest
import torch
from test_lcm import save_lcm
from test_sd3 import save_sd3
from torch import nn
from toys import Painter

from plaudit.core.errors import BadConfig
from plaudit.core.random_streams import noise_for
from plaudit.generators.denoising import (
    Denoising,
    DenoisingInBfloat16,
    DiffusionDenoising,
    FlowDenoising,
    Fresh,
    Frozen,
    Level,
    check_rule,
    denoising_of,
    step_down,
    trailing_scheduler,
)
from plaudit.generators.few_steps import FewSteps
from plaudit.generators.sd3 import StableDiffusion3
from plaudit.generators.stable_diffusion import StableDiffusion
from plaudit.generators.table import load_generator
from plaudit.generators.trained_part import add_lora

PROMPTS = ["a red square", "two blue circle"]
KEYS = [(3, 0, 0), (3, 1, 0)]
SHAPE = (4, 8, 8)
PUBLISHED = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False}
"""Stable Diffusion 1.5's schedule"""
ZERO_SIGNAL = {**PUBLISHED, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
SCHEDULES = {
    "epsilon": {**PUBLISHED, "steps_offset": 1, "set_alpha_to_one": False},
    "v": {**PUBLISHED, "prediction_type": "v_prediction", "timestep_spacing": "linspace"},
    "v, zero signal at the start": ZERO_SIGNAL,
    "clean": {**PUBLISHED, "prediction_type": "sample", "thresholding": True},
}


@pytest.fixture(scope="module")
def sd3_folder(tmp_path_factory):
    return save_sd3(tmp_path_factory.mktemp("sd3"))


@pytest.fixture(scope="module")
def sd3(sd3_folder):
    return StableDiffusion3.from_pretrained(sd3_folder, steps=4)


@pytest.fixture(scope="module")
def sd(sd_folder):
    return StableDiffusion.from_pretrained(sd_folder, steps=4)


def scheduled(generator, **scheduler):
    """The same generator on another schedule."""
    made = copy.copy(generator)
    made.scheduler = diffusers.DDIMScheduler(**{**ZERO_SIGNAL, **scheduler})
    return made


def numbers(*shape, name="x"):
    return noise_for([(name, row) for row in range(shape[0])], shape[1:])


class Told(nn.Module):
    """A network that has been told the answer, and says it in its own terms."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.times = answer, []

    def forward(self, latents=None, time=None, *, hidden_states=None, timestep=None, **condition):
        self.times.append(timestep if time is None else time)
        return SimpleNamespace(sample=self.answer)


STATES = SimpleNamespace(states=torch.zeros(5, 1, 1), pooled=torch.zeros(5, 1))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_diffusion_is_taken_apart_into_the_clean_and_the_noise_that_it_was_made_of(schedule):
    scheduler = diffusers.DDIMScheduler(**SCHEDULES[schedule])
    network = Told(None)
    generator = SimpleNamespace(
        unet=network, noise_shape=SHAPE, device=torch.device("cpu"), scheduler=scheduler,
        encode=None, decode=None,
    )  # fmt: skip
    denoising = DiffusionDenoising(generator)
    level = denoising.level_at(torch.tensor([0.1, 0.3, 0.5, 0.8, 1.0]))
    clean, eps = numbers(5, *SHAPE), numbers(5, *SHAPE, name="eps")
    latents = level.noised(clean, eps)
    torch.testing.assert_close(latents, trailing_scheduler(scheduler.config).add_noise(clean, eps, level.time))
    signal, noise = level.signal.view(-1, 1, 1, 1), level.noise.view(-1, 1, 1, 1)
    kind = scheduler.config.prediction_type
    network.answer = {"epsilon": eps, "v_prediction": signal * eps - noise * clean, "sample": clean}[kind]
    found = denoising.clean(latents, level, STATES)
    # Dividing by the signal, or by the noise, multiplies the rounding of what is divided.
    gain = 1 / signal.clamp_min(1e-4) if kind == "epsilon" else 1.0
    assert ((found - clean) / gain).abs().max() < 1e-6
    assert (noise * (level.noise_in(latents, clean) - eps)).abs().max() < 1e-6
    assert torch.equal(network.times[0], level.time)


def test_a_flow_is_taken_apart_into_the_clean_and_the_noise_that_it_was_made_of(sd3):
    clean, eps = numbers(5, *SHAPE), numbers(5, *SHAPE, name="eps")
    network = Told(eps - clean)
    denoising = FlowDenoising(sd3, denoiser=network)
    level = denoising.level_at(torch.tensor([0.1, 0.3, 0.5, 0.8, 1.0]))
    latents = level.noised(clean, eps)
    torch.testing.assert_close(level.signal + level.noise, torch.ones(5))
    assert (denoising.clean(latents, level, STATES) - clean).abs().max() < 1e-6
    noise = level.noise.view(-1, 1, 1, 1)
    assert (noise * (level.noise_in(latents, clean) - eps)).abs().max() < 1e-6
    assert torch.equal(network.times[0], level.noise * 1000)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_diffusions_levels_preserve_variance(sd, schedule):
    level = DiffusionDenoising(scheduled(sd, **SCHEDULES[schedule])).level_at(torch.linspace(0, 1, 50))
    torch.testing.assert_close(level.signal**2 + level.noise**2, torch.ones(50))
    assert level.time[0] == 0
    assert level.time[-1] == 999
    assert (level.noise.diff() > 0).all()


def test_a_level_can_be_taken_by_rows():
    level = Level(time=torch.arange(3), signal=torch.tensor([1.0, 0.5, 0.2]), noise=torch.tensor([0.1, 0.5, 0.8]))
    assert len(level) == 3
    taken = level[torch.tensor([2, 0, 0])]
    assert (taken.time.tolist(), taken.signal.tolist()) == ([2, 0, 0], level.signal[[2, 0, 0]].tolist())
    assert taken.noise.tolist() == level.noise[[2, 0, 0]].tolist()


# Grids.


def test_the_grid_of_any_number_of_steps_is_diffusers(sd):
    denoising = denoising_of(scheduled(sd))
    scheduler = diffusers.DDIMScheduler(**ZERO_SIGNAL, timestep_spacing="trailing")
    for count in (*range(1, 70), 100, 125, 250, 333, 500, 999, 1000):
        scheduler.set_timesteps(count)
        level = denoising.grid(count)
        # Where the strides do not add up exactly, diffusers' list has a time too many, below the last.
        assert level.time.tolist() == scheduler.timesteps.tolist()[:count], count
        torch.testing.assert_close(level.signal**2, scheduler.alphas_cumprod[level.time], rtol=1e-5, atol=1e-7)
    assert level.time[0] == 999


def test_from_a_zero_signal_schedule_the_grid_starts_from_pure_noise(sd):
    level = denoising_of(scheduled(sd)).grid(4)
    assert level.signal[0] == 0
    assert level.noise[0] == 1


@pytest.mark.parametrize("count", [0, -1, 1001])
def test_a_grid_that_cannot_be_is_refused(sd, count):
    with pytest.raises(BadConfig, match=f"this model takes 1 to 1000 steps, got {count}"):
        denoising_of(scheduled(sd)).grid(count)


def test_a_flows_grid_is_even_and_shifted(sd3):
    denoising = denoising_of(sd3)
    level = denoising.grid(4)
    assert level.noise.tolist() == pytest.approx([1.0, 0.9, 0.75, 0.5], abs=1e-7)
    assert level.time.tolist() == pytest.approx([1000.0, 900.0, 750.0, 500.0], rel=1e-6)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(sd3.scheduler.config)
    for count in (1, 2, 3, 4, 8, 28):
        scheduler.set_timesteps(sigmas=[1 - step / count for step in range(count)])
        torch.testing.assert_close(denoising.grid(count).noise, scheduler.sigmas[:-1])
        torch.testing.assert_close(denoising.grid(count).time, scheduler.timesteps)
    # A shift comes before SD3's own of 3: together they are one of 6.
    assert denoising.grid(4, 2.0).noise.tolist() == pytest.approx([1.0, 18 / 19, 6 / 7, 2 / 3], rel=1e-5)
    with pytest.raises(BadConfig, match="at least 1 step, got 0"):
        denoising.grid(0)


# Steps, against diffusers' samplers.


def stepped(denoising, count, *, eta=0.0, rule="interpolate"):
    """The latents where each step starts, and the clean ones that the last sees."""
    condition, level = denoising.encode(PROMPTS), denoising.grid(count)
    latents, seen = noise_for(KEYS, SHAPE), []
    for step in range(count):
        seen.append(latents)
        at = torch.full((2,), step)
        with torch.no_grad():
            clean = denoising.clean(latents, level[at], condition)
        if step < count - 1:
            fresh = noise_for([(*key, step) for key in KEYS], SHAPE)
            mixed_in = Fresh(noise=fresh, eta=torch.full((2,), eta), rule=rule)
            latents = step_down(latents, clean, level[at], level[at + 1], mixed_in)
    return [*seen, clean]


def assert_walks_alike(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * max(1.0, theirs.abs().max().item()))


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("eta", "rule"), [(0.0, "interpolate"), (0.4, "ddim"), (1.0, "ddim")])
def test_steps_are_those_of_diffusers_ddim(sd, schedule, count, eta, rule):
    generator = scheduled(sd, **SCHEDULES[schedule])
    denoising = denoising_of(generator)
    scheduler = trailing_scheduler(generator.scheduler.config)
    scheduler.set_timesteps(count)
    condition = generator.encode(PROMPTS)
    expected = [noise_for(KEYS, SHAPE)]
    for step, time in enumerate(scheduler.timesteps):
        with torch.no_grad():
            prediction = generator.unet(expected[-1], time, encoder_hidden_states=condition.states).sample
        last = step == count - 1
        noise = None if last else noise_for([(*key, step) for key in KEYS], SHAPE)
        moved = scheduler.step(prediction, time, expected[-1], eta=0.0 if last else eta, variance_noise=noise)
        expected.append(moved.prev_sample)
    assert_walks_alike(stepped(denoising, count, eta=eta, rule=rule), expected)


@pytest.mark.parametrize("count", [1, 3, 4])
def test_without_fresh_noise_a_flow_walks_as_diffusers_euler(sd3, count):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(sd3.scheduler.config)
    scheduler.set_timesteps(sigmas=[1 - step / count for step in range(count)])
    condition = sd3.encode(PROMPTS)
    expected = [noise_for(KEYS, SHAPE)]
    for time in scheduler.timesteps:
        with torch.no_grad():
            velocity = sd3.transformer(
                hidden_states=expected[-1], timestep=time.expand(2), encoder_hidden_states=condition.states,
                pooled_projections=condition.pooled,
            ).sample  # fmt: skip
        expected.append(scheduler.step(velocity, time, expected[-1]).prev_sample)
    assert_walks_alike(stepped(denoising_of(sd3), count), expected)


@pytest.mark.parametrize("family", ["stable-diffusion", "sd3"])
def test_few_steps_draw_the_walks_picture_without_guidance(sd, sd3_folder, family):
    """The generator itself is guided, and on its own times; what was trained on the grid is drawn on it."""
    if family == "sd3":
        generator = StableDiffusion3.from_pretrained(sd3_folder, steps=4, guidance=4.0)
    else:
        generator = scheduled(sd, **SCHEDULES["epsilon"])
        generator.guidance = 4.0
    expected = stepped(denoising_of(generator), 4)[-1]
    given = noise_for(KEYS, SHAPE), generator.encode(PROMPTS)
    assert not torch.allclose(generator.sample_latents(*given), expected, atol=1e-2)
    assert_walks_alike([FewSteps(generator, steps=4).sample_latents(*given)], [expected])


def levels(denoising, rows=4):
    place = torch.tensor([1.0, 0.7, 0.4, 0.2])[:rows]
    return denoising.level_at(place), denoising.level_at(place / 2)


def test_all_fresh_noise_forgets_what_was_predicted(sd3, sd):
    for denoising in (denoising_of(sd3), denoising_of(scheduled(sd))):
        now, then = levels(denoising)
        clean, fresh = numbers(4, *SHAPE), numbers(4, *SHAPE, name="fresh")
        found = [
            step_down(latents, clean, now, then, Fresh(noise=fresh, eta=torch.ones(4), rule="interpolate"))
            for latents in (numbers(4, *SHAPE, name="a"), 100 * numbers(4, *SHAPE, name="b"))
        ]
        assert torch.equal(*found)
        torch.testing.assert_close(found[0], then.noised(clean, fresh))


def test_without_fresh_noise_what_is_fresh_does_not_matter(sd):
    now, then = levels(denoising_of(scheduled(sd)))
    clean, eps = numbers(4, *SHAPE), numbers(4, *SHAPE, name="eps")
    for rule in ("interpolate", "ddim"):
        unused = Fresh(noise=1e3 * eps, eta=torch.zeros(4), rule=rule)
        found = step_down(now.noised(clean, eps), clean, now, then, unused)
        torch.testing.assert_close(found, then.noised(clean, eps), rtol=1e-4, atol=1e-4)


def test_a_share_of_fresh_noise_leaves_the_noise_as_strong_as_it_should_be(sd3):
    """sqrt(1 - 0.6^2) = 0.8 of the predicted and 0.6 of the fresh, at every level; each row has its own share."""
    now, then = levels(denoising_of(sd3), 2)
    clean, eps, fresh = (numbers(2, *SHAPE, name=name) for name in ("x", "eps", "fresh"))
    eta = torch.tensor([0.6, 0.0])
    mixed_in = Fresh(noise=fresh, eta=eta, rule="interpolate")
    found = step_down(now.noised(clean, eps), clean, now, then, mixed_in)
    mixed = torch.stack([0.8 * eps[0] + 0.6 * fresh[0], eps[1]])
    torch.testing.assert_close(found, then.noised(clean, mixed), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["stable-diffusion", "sd3"])
def test_rows_at_different_levels_are_the_rows_one_by_one(sd, sd3, family):
    denoising = denoising_of(sd3 if family == "sd3" else scheduled(sd))
    level, latents = denoising.grid(4)[torch.tensor([2, 0, 3, 1])], numbers(4, *SHAPE)
    condition = denoising.encode([PROMPTS[row % 2] for row in range(4)])
    with torch.no_grad():
        together = denoising.clean(latents, level, condition)
        alone = [
            denoising.clean(latents[row : row + 1], level[torch.tensor([row])], condition[row : row + 1])
            for row in range(4)
        ]
        same_level = denoising.clean(latents, denoising.grid(4)[torch.zeros(4, dtype=torch.long)], condition)
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[0], same_level[0], atol=1e-3)


def test_a_denoiser_never_decides_about_gradients(sd3, sd):
    for denoising in (denoising_of(sd3), denoising_of(scheduled(sd))):
        latents = numbers(2, *SHAPE).requires_grad_()
        clean = denoising.clean(latents, denoising.grid(2)[torch.tensor([1, 1])], denoising.encode(PROMPTS))
        assert torch.autograd.grad(denoising.decode(clean).mean(), latents)[0].abs().sum() > 0
        with torch.no_grad():
            first = denoising.grid(1)[torch.tensor([0, 0])]
            assert not denoising.clean(latents, first, denoising.encode(PROMPTS)).requires_grad


# What is one, and what is refused.


def test_both_families_keep_the_contract(sd3, sd):
    for denoising in (denoising_of(sd3), denoising_of(scheduled(sd))):
        assert isinstance(denoising, Denoising)
        assert denoising.noise_shape == SHAPE
        assert len(denoising.encode(PROMPTS)) == 2
    assert isinstance(Frozen(denoising), Denoising)


def test_another_network_takes_the_place_of_the_generators_own(sd, sd3):
    for generator in (scheduled(sd), sd3):
        network = Told(torch.zeros(2, *SHAPE))
        denoising = denoising_of(generator, denoiser=network)
        assert denoising.denoiser is network
        denoising.clean(numbers(2, *SHAPE), denoising.grid(1)[torch.tensor([0, 0])], denoising.encode(PROMPTS))
        assert len(network.times) == 1
        assert denoising_of(generator).denoiser is generator.denoiser


def test_a_consistency_model_is_refused(tmp_path):
    with pytest.raises(BadConfig, match=r"^LatentConsistency is not a denoiser at every noise level; a Stable"):
        denoising_of(load_generator(str(save_lcm(tmp_path / "lcm"))))
    with pytest.raises(BadConfig, match=r"^Painter is not a denoiser"):
        denoising_of(Painter())


def test_noise_predicted_from_pure_noise_is_refused(sd):
    with pytest.raises(BadConfig, match="starts from pure noise"):
        denoising_of(scheduled(sd, prediction_type="epsilon"))


def test_rules_that_do_not_fit_are_refused(sd, sd3):
    check_rule("ddim", denoising_of(scheduled(sd)))
    check_rule("interpolate", denoising_of(sd3))
    with pytest.raises(BadConfig, match="DDIM's rule is for models that preserve variance, and a flow does not"):
        check_rule("ddim", denoising_of(sd3))
    with pytest.raises(BadConfig, match="a step mixes its noise by interpolate or ddim, got 'euler'"):
        check_rule("euler", denoising_of(sd3))


# A denoiser under a LoRA, and one that multiplies in bfloat16.


def test_frozen_is_the_denoiser_from_before_its_lora_and_leaves_the_lora_in_training(sd_folder):
    denoising = denoising_of(StableDiffusion.from_pretrained(sd_folder, steps=4))
    given = numbers(2, *SHAPE), denoising.grid(2)[torch.tensor([0, 1])], denoising.encode(PROMPTS)
    with torch.no_grad():
        before = denoising.clean(*given)
    add_lora(denoising.denoiser, rank=2)
    trained = [(name, p) for name, p in denoising.denoiser.named_parameters() if p.requires_grad]
    with torch.no_grad():
        for _, parameter in trained:
            parameter.add_(0.3)
    frozen, slopes = Frozen(denoising), []
    for look in (False, True):
        moved = denoising.clean(*given)
        if look:
            # Between a forward pass and its backward, as a training does.
            with torch.no_grad():
                assert torch.equal(frozen.clean(*given), before)
        slopes.append(torch.autograd.grad(moved.square().sum(), [p for _, p in trained]))
    assert not torch.allclose(moved, before, atol=1e-3)
    assert all(torch.equal(one, other) for one, other in zip(*slopes, strict=True))
    assert any(slope.abs().sum() > 0 for slope in slopes[0])
    still = [name for name, p in denoising.denoiser.named_parameters() if p.requires_grad]
    assert still == [name for name, _ in trained]


def test_bfloat16_is_refused_where_it_is_slow(sd, monkeypatch):
    monkeypatch.setattr("plaudit.core.devices.has_fast_bfloat16", lambda _: False)
    with pytest.raises(BadConfig, match="no native bfloat16"):
        DenoisingInBfloat16(denoising_of(scheduled(sd)))
