"""Which policy a generator is trained as, and what bfloat16 changes of it: the network's products, no more."""

import pytest
import torch

from plaudit.core.devices import has_fast_bfloat16
from plaudit.core.errors import BadConfig
from plaudit.generators.ddim_policy import DDIMPolicy
from plaudit.generators.generator import StepPolicy
from plaudit.generators.policies import InBfloat16, policy_of
from plaudit.generators.step_policy import log_prob, own_draws
from plaudit.generators.table import load_generator
from plaudit.generators.trained_part import add_lora
from plaudit.generators.walk import Walk

NATIVE = pytest.mark.skipif(
    not has_fast_bfloat16(torch.device("cpu")), reason="this CPU multiplies bfloat16 hundreds of times slower"
)
KEYS = [(0, "half", n) for n in range(6)]


@pytest.fixture
def policy(sd_folder):
    made = policy_of(load_generator(str(sd_folder), steps=4))
    add_lora(made.denoiser, rank=2)
    return made


def test_a_stable_diffusion_is_trained_by_ddim(sd_folder):
    made = policy_of(load_generator(str(sd_folder), steps=4), eta=0.5)
    assert isinstance(made, DDIMPolicy)
    assert made.eta == 0.5
    assert policy_of(made) is made


def test_what_has_no_gaussian_steps_is_refused():
    with pytest.raises(BadConfig, match="str offers no Gaussian steps"):
        policy_of("a model")


@NATIVE
def test_in_bfloat16_the_means_are_near_and_stay_float32(policy):
    half = InBfloat16(policy)
    assert isinstance(half, StepPolicy)
    latents, index = torch.randn(6, *policy.noise_shape), torch.tensor([0, 1, 2, 3, 0, 1])
    condition = policy.encode(["a red circle"] * 6)
    full, rough = policy.step(latents, index, condition), half.step(latents, index, condition)
    assert rough.mean.dtype == rough.spread.dtype == torch.float32
    assert torch.equal(full.spread, rough.spread)
    assert not torch.equal(full.mean, rough.mean)
    torch.testing.assert_close(full.mean, rough.mean, rtol=0, atol=0.05)
    assert torch.equal(policy.decode(latents), half.decode(latents))
    assert all(parameter.dtype == torch.float32 for parameter in half.denoiser.parameters())


@NATIVE
@pytest.mark.parametrize("size", [1, 5, 18])
def test_in_bfloat16_the_ratio_is_one_before_anything_is_learned(policy, size):
    """However steps and images are mixed, and whatever the batch; per number of the action, as the clip takes it."""
    walk = Walk(InBfloat16(policy))
    condition, noise = policy.encode(["a red circle"] * 6), torch.randn(6, *policy.noise_shape)
    with torch.no_grad():
        taken, _ = walk.take(noise, condition, own_draws(KEYS, policy.noise_shape))
    for at in torch.cartesian_prod(torch.arange(6), torch.arange(3)).split(size):
        rows, steps = at[:, 0], at[:, 1]
        found = walk.step(taken.states[rows, steps], steps, condition[rows])
        moved = log_prob(found, taken.states[rows, steps + 1]) - taken.log_probs[rows, steps]
        assert moved.dtype == torch.float32
        assert (moved / noise[0].numel()).exp().tolist() == pytest.approx([1.0] * len(at), abs=1e-6)


@NATIVE
def test_in_bfloat16_gradients_are_near_and_float32(policy):
    latents, index = torch.randn(6, *policy.noise_shape), torch.arange(6) % 3
    condition = policy.encode(["a red circle"] * 6)
    trained = [parameter for parameter in policy.denoiser.parameters() if parameter.requires_grad]
    found = []
    for one in (policy, InBfloat16(policy)):
        gradients = torch.autograd.grad(one.step(latents, index, condition).mean.square().sum(), trained)
        assert all(gradient.dtype == torch.float32 for gradient in gradients)
        found.append(torch.cat([gradient.flatten() for gradient in gradients]))
    assert torch.cosine_similarity(found[0], found[1], dim=0) > 0.99


def test_bfloat16_is_refused_where_it_is_not_native(policy, monkeypatch):
    monkeypatch.setattr("plaudit.core.devices.has_fast_bfloat16", lambda _: False)
    with pytest.raises(BadConfig, match="this cpu has no native bfloat16"):
        InBfloat16(policy)
