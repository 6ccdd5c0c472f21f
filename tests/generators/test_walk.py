"""The last step of a walk: a step to the image, or an action that no image shows."""

import pytest
import torch
from methods.toy_policy import ToyPolicy

from plaudit.generators.generator import Transition
from plaudit.generators.step_policy import log_prob, noised_again, own_draws, rollout
from plaudit.generators.walk import Walk

KEYS = [(0, "walk", n) for n in range(6)]


def taken(policy, *, keep_last):
    walk = Walk(policy, keep_last=keep_last)
    noise = torch.randn(6, *policy.noise_shape, generator=torch.Generator().manual_seed(0))
    condition = policy.encode(["a"] * 6)
    with torch.no_grad():
        found, images = walk.take(noise, condition, own_draws(KEYS, policy.noise_shape))
    return walk, found, images, condition, noise


def test_without_it_a_walk_is_a_rollout():
    policy = ToyPolicy()
    walk, found, images, condition, noise = taken(policy, keep_last=False)
    assert walk.trained_steps == 2
    expected = rollout(policy, noise, condition, own_draws(KEYS, policy.noise_shape))
    assert torch.equal(found.states, expected.states)
    assert torch.equal(found.log_probs, expected.log_probs)
    assert torch.equal(images, policy.decode(expected.states[:, -1]))


def test_no_image_shows_the_last_action():
    plain, kept = (taken(ToyPolicy(), keep_last=keep) for keep in (False, True))
    assert torch.equal(plain[2], kept[2])
    assert torch.equal(plain[1].states[:, :-1], kept[1].states[:, :-1])
    assert not torch.equal(plain[1].states[:, -1], kept[1].states[:, -1])
    assert kept[0].trained_steps == 3
    assert (kept[1].log_probs[:, -1] != 0).all()
    assert (plain[1].log_probs[:, -1] == 0).all()


def test_actions_are_as_probable_as_when_they_were_taken():
    walk, found, _, condition, _ = taken(ToyPolicy(), keep_last=True)
    rows, steps = torch.cartesian_prod(torch.arange(6), torch.arange(3)).T
    again = log_prob(walk.step(found.states[rows, steps], steps, condition[rows]), found.states[rows, steps + 1])
    torch.testing.assert_close(again, found.log_probs[rows, steps], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("steps", "signal", "spread"), [(8, 0.9028, 0.4301), (4, None, None), (2, None, None)])
def test_a_consistency_models_last_action_is_the_published_one(lcm_like, steps, signal, spread):
    """RLCM's code mixes the clean latents with the noise of the last time once more."""
    policy = lcm_like(steps)
    walk = Walk(policy, keep_last=True)
    latents, condition = torch.randn(2, *policy.noise_shape), policy.encode(["a", "a"])
    last = torch.tensor([steps - 1, steps - 1])
    with torch.no_grad():
        clean, found = policy.step(latents, last, condition).mean, walk.step(latents, last, condition)
    bar = policy.bars[policy.times[-1]]
    torch.testing.assert_close(found.mean, bar.sqrt() * clean, rtol=1e-4, atol=1e-4)
    assert found.spread.tolist() == pytest.approx([float((1 - bar).sqrt())] * 2, rel=1e-4)
    if signal:
        assert (float(bar.sqrt()), float((1 - bar).sqrt())) == pytest.approx((signal, spread), abs=1e-4)


@pytest.fixture
def lcm_like(tmp_path_factory):
    """A tiny latent consistency model of so many steps, and its schedule."""
    import diffusers
    from conftest import save_stable_diffusion

    from plaudit.generators.lcm import LatentConsistency
    from plaudit.generators.parts import load_parts
    from plaudit.generators.stable_diffusion import PARTS

    folder = save_stable_diffusion(tmp_path_factory.mktemp("lcm"), scheduler="lcm")

    def make(steps):
        model = LatentConsistency(load_parts(folder, PARTS), steps=steps, guidance=None)
        model.bars = diffusers.LCMScheduler().alphas_cumprod.float()
        return model

    return make


def test_noise_that_is_mixed_in_keeps_the_variance():
    found = noised_again(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0.6]))
    assert isinstance(found, Transition)
    torch.testing.assert_close(found.mean, 0.8 * torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert found.spread.tolist() == pytest.approx([0.6, 0.6])
