import copy

import diffusers
import pytest
import torch
from conftest import save_stable_diffusion

from plaudit.core.errors import BadConfig
from plaudit.core.random_streams import noise_for
from plaudit.generators.check import check_policy
from plaudit.generators.ddim_policy import DDIMPolicy
from plaudit.generators.generator import StepPolicy
from plaudit.generators.stable_diffusion import StableDiffusion
from plaudit.generators.step_policy import log_prob, own_draws, rollout

PROMPTS = ["a red square", "two blue circle"]
KEYS = [(3, 0, 0), (3, 1, 0)]


@pytest.fixture(scope="module")
def euler_folder(tmp_path_factory):
    return save_stable_diffusion(tmp_path_factory.mktemp("euler"), scheduler="euler")


def generator(folder, *, steps=4, guidance=1.0, **scheduler):
    """With another DDIM schedule, if settings for one are given."""
    made = StableDiffusion.from_pretrained(folder, steps=steps, guidance=guidance)
    if scheduler:
        settings = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False}
        made.scheduler = diffusers.DDIMScheduler(**{**settings, **scheduler})
    return made


def take(policy):
    noise = noise_for(KEYS, policy.noise_shape)
    with torch.no_grad():
        return rollout(policy, noise, policy.encode(PROMPTS), own_draws(KEYS, policy.noise_shape))


@pytest.mark.parametrize(("steps", "guidance", "eta"), [(1, 1.0, 1.0), (4, 1.0, 0.5), (3, 4.0, 1.0), (5, 4.0, 0.0)])
def test_it_keeps_the_contract(sd_folder, steps, guidance, eta):
    policy = DDIMPolicy(generator(sd_folder, steps=steps, guidance=guidance), eta=eta)
    assert isinstance(policy, StepPolicy)
    check_policy(policy)


SCHEDULES = {
    "zero signal at the start, v": {},
    "epsilon, as Stable Diffusion 1.5": {"steps_offset": 1, "set_alpha_to_one": False},
    "v, evenly spaced": {"prediction_type": "v_prediction", "timestep_spacing": "linspace"},
    "clean": {"prediction_type": "sample", "timestep_spacing": "trailing"},
}


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_without_noise_it_is_the_ode(sd_folder, schedule, guidance):
    ours = generator(sd_folder, steps=6, guidance=guidance, **SCHEDULES[schedule])
    taken = take(DDIMPolicy(ours, eta=0.0))
    with torch.no_grad():
        latents = ours.sample_latents(noise_for(KEYS, ours.noise_shape), ours.encode(PROMPTS))
    # Guided epsilon from almost pure noise multiplies rounding by 14 x 4.
    torch.testing.assert_close(taken.states[:, -1], latents, rtol=1e-5, atol=1e-5 * latents.abs().max().item())
    assert torch.equal(taken.log_probs, torch.zeros(2, 6))


@pytest.mark.parametrize("eta", [0.3, 1.0])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_step_is_the_published_schedulers(sd_folder, schedule, eta):
    ours = generator(sd_folder, steps=5, **SCHEDULES[schedule])
    policy = DDIMPolicy(ours, eta=eta)
    condition = ours.encode(PROMPTS)
    scheduler = copy.deepcopy(ours.scheduler)
    scheduler.set_timesteps(5)
    for number, time in enumerate(scheduler.timesteps[:-1]):
        latents, noise = (noise_for([(name, number, row) for row in range(2)], (4, 8, 8)) for name in ("x", "z"))
        with torch.no_grad():
            prediction = ours.unet(latents, time, encoder_hidden_states=condition.states).sample
            found = policy.step(latents, torch.tensor([number, number]), condition)
        expected = scheduler.step(prediction, time, latents, eta=eta, variance_noise=noise).prev_sample
        drawn = found.mean + found.spread.view(-1, 1, 1, 1) * noise
        torch.testing.assert_close(drawn, expected, rtol=1e-4, atol=1e-4)
        assert (found.spread > 0).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_last_step_draws_nothing_on_any_schedule(sd_folder, schedule):
    policy = DDIMPolicy(generator(sd_folder, steps=5, **SCHEDULES[schedule]), eta=1.0)
    found = policy.step(torch.zeros(2, 4, 8, 8), torch.tensor([3, 4]), policy.encode(PROMPTS))
    assert found.spread[0] > 0
    assert found.spread[1] == 0


def test_one_step_by_hand(sd_folder):
    """Song et al. 2021, equations 12 and 16, at eta 1, from time 999 to 799 of the zero-signal cosine schedule."""
    ours = generator(sd_folder, steps=5)
    policy = DDIMPolicy(ours, eta=1.0)
    noise, condition = noise_for(KEYS, (4, 8, 8)), ours.encode(PROMPTS)
    with torch.no_grad():
        found = policy.step(noise, torch.tensor([0, 0]), condition)
        v = ours.unet(noise, 999, encoder_hidden_states=condition.states).sample
    then = ours.scheduler.alphas_cumprod[799].item()
    # From pure noise v is minus the clean latents, and at eta 1 all of the next noise is fresh.
    torch.testing.assert_close(found.mean, -(then**0.5) * v, rtol=1e-5, atol=1e-5)
    assert found.spread.tolist() == pytest.approx([(1 - then) ** 0.5] * 2, rel=1e-5)


def test_at_full_noise_the_spread_is_ddpms(sd_folder):
    """With every one of the schedule's times, eta 1 is DDPM's posterior variance (Ho et al. 2020, equation 7)."""
    ours = generator(sd_folder, steps=1000, timestep_spacing="leading")
    policy = DDIMPolicy(ours, eta=1.0)
    index = torch.tensor([0, 500, 998])
    found = policy.step(torch.zeros(3, 4, 8, 8), index, ours.encode(["a"] * 3))
    betas, bars = ours.scheduler.betas, ours.scheduler.alphas_cumprod
    times = 999 - index
    expected = ((1 - bars[times - 1]) / (1 - bars[times]) * betas[times]).sqrt()
    torch.testing.assert_close(found.spread, expected, rtol=1e-3, atol=1e-6)


def test_the_clean_prediction_is_not_clipped(sd_folder):
    clipping, not_clipping = (
        DDIMPolicy(generator(sd_folder, prediction_type="sample", clip_sample=clip, clip_sample_range=0.01))
        for clip in (True, False)
    )
    assert torch.equal(take(clipping).states, take(not_clipping).states)
    assert take(clipping).states[:, -1].abs().max() > 0.01


def test_an_euler_folder_walks_ddims_steps(euler_folder):
    policy = DDIMPolicy(StableDiffusion.from_pretrained(euler_folder, steps=4))
    check_policy(policy)


def test_mixed_steps_equal_single_ones(sd_folder):
    policy = DDIMPolicy(generator(sd_folder, guidance=4.0))
    taken = take(policy)
    condition = policy.encode(PROMPTS)
    rows, steps = torch.tensor([1, 0, 0, 1, 1]), torch.tensor([2, 0, 3, 1, 0])
    with torch.no_grad():
        mixed = policy.step(taken.states[rows, steps], steps, condition[rows])
        for place, (row, step) in enumerate(zip(rows.tolist(), steps.tolist(), strict=True)):
            alone = policy.step(taken.states[[row], step], torch.tensor([step]), condition[[row]])
            torch.testing.assert_close(mixed.mean[[place]], alone.mean, rtol=1e-4, atol=1e-5)
            assert torch.equal(mixed.spread[[place]], alone.spread)
    again = log_prob(mixed, taken.states[rows, steps + 1], per_number=True)
    ratio = (again - taken.log_probs[rows, steps] / taken.states[0, 0].numel()).exp()
    torch.testing.assert_close(ratio, torch.ones(5), rtol=0, atol=1e-6)


def test_a_step_along_the_slope_makes_an_action_as_much_likelier_as_it_says(sd_folder):
    policy = DDIMPolicy(generator(sd_folder, guidance=4.0))
    policy.denoiser.requires_grad_(True)
    taken = take(policy)
    step = torch.tensor([1, 1])
    transition = policy.step(taken.states[:, 1], step, policy.encode(PROMPTS))
    value = log_prob(transition, taken.states[:, 2], per_number=True).sum()
    weight = policy.denoiser.conv_in.weight
    (slope,) = torch.autograd.grad(value, weight)
    shift = 1e-3 * slope / slope.norm()
    with torch.no_grad():
        weight += shift
        moved = policy.step(taken.states[:, 1], step, policy.encode(PROMPTS))
        gained = log_prob(moved, taken.states[:, 2], per_number=True).sum() - value
    assert gained.item() == pytest.approx(1e-3 * slope.norm().item(), rel=0.1)


@pytest.mark.parametrize("eta", [-0.1, 1.1, float("nan")])
def test_an_eta_that_cannot_work_is_refused(sd_folder, eta):
    with pytest.raises(BadConfig, match="eta lies between 0"):
        DDIMPolicy(generator(sd_folder), eta=eta)


def test_noise_predicted_from_pure_noise_is_refused(sd_folder):
    ours = generator(sd_folder, rescale_betas_zero_snr=True, timestep_spacing="trailing")
    with pytest.raises(BadConfig, match="starts from pure noise"):
        DDIMPolicy(ours)
