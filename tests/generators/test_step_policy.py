from dataclasses import replace

import pytest
import torch
from torch import nn
from toys import Lengths

from plaudit.core.errors import BadConfig, BrokenContract
from plaudit.core.random_streams import noise_for
from plaudit.generators.check import check_policy
from plaudit.generators.generator import StepPolicy, Transition
from plaudit.generators.step_policy import (
    act,
    check_prediction,
    draw_images,
    kl,
    log_prob,
    own_draws,
    predict_clean,
    rollout,
)

SPREADS = (0.9, 0.4, 0.0)


class Walker:
    """Three steps over latents (2, 3, 3): a linear map, a prompt's shift, a spread per step."""

    noise_shape = (2, 3, 3)
    num_steps = 3

    def __init__(self):
        self.device = torch.device("cpu")
        self.denoiser = nn.Linear(18, 18).requires_grad_(False)

    def encode(self, prompts):
        return Lengths(torch.tensor([len(prompt) / 10 for prompt in prompts]))

    def step(self, latents, index, condition):
        moved = self.denoiser(latents.flatten(1)).view_as(latents)
        shift = (condition.values + index).view(-1, 1, 1, 1)
        return Transition(mean=0.8 * latents + moved + shift, spread=torch.tensor(SPREADS)[index])

    def decode(self, latents):
        return torch.sigmoid(latents[:, [0, 1, 0]])


def gaussian(rows=4, *, seed=0, spread=(0.5, 2.0, 0.1, 1.0)):
    rng = torch.Generator().manual_seed(seed)
    mean = torch.randn(rows, 2, 3, 3, generator=rng)
    return Transition(mean=mean, spread=torch.tensor(spread)), torch.randn(rows, 2, 3, 3, generator=rng)


def test_log_probs_are_the_normal_distributions():
    transition, noise = gaussian()
    action = act(transition, noise)
    normal = torch.distributions.Normal(transition.mean.double(), transition.spread.double().view(-1, 1, 1, 1))
    expected = normal.log_prob(action.double()).flatten(1)
    torch.testing.assert_close(log_prob(transition, action), expected.sum(1).float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        log_prob(transition, action, per_number=True), expected.mean(1).float(), rtol=1e-5, atol=1e-5
    )


def test_one_log_prob_by_hand():
    transition = Transition(mean=torch.tensor([[1.0, 2.0]]), spread=torch.tensor([2.0]))
    action = torch.tensor([[3.0, 2.0]])  # one spread off, and none
    assert log_prob(transition, action).item() == pytest.approx(-0.5 - 2 * (0.693147 + 0.918939), abs=1e-5)
    assert log_prob(transition, action, per_number=True).item() == pytest.approx(-0.25 - 0.693147 - 0.918939, abs=1e-5)


def test_divergence_is_the_normal_distributions():
    transition, other = gaussian()
    reference = replace(transition, mean=other)
    spread = transition.spread.view(-1, 1, 1, 1)
    normals = (torch.distributions.Normal(mean, spread) for mean in (transition.mean, other))
    expected = torch.distributions.kl_divergence(*normals).flatten(1)
    torch.testing.assert_close(kl(transition, reference), expected.sum(1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(kl(transition, reference, per_number=True), expected.mean(1), rtol=1e-5, atol=1e-5)
    assert kl(transition, transition).abs().max() == 0


def test_a_row_that_draws_nothing_counts_nothing_and_teaches_nothing():
    transition, action = gaussian(2, spread=(0.0, 0.5))
    mean = transition.mean.clone().requires_grad_()
    transition = replace(transition, mean=mean)
    for value in (log_prob(transition, action), kl(transition, replace(transition, mean=action))):
        (slope,) = torch.autograd.grad(value.sum(), mean)
        assert value[0] == 0
        assert value[1] != 0
        assert slope[0].abs().max() == 0
        assert slope[1].abs().max() > 0
        assert slope.isfinite().all()


def test_the_slope_of_a_log_prob_points_to_the_action():
    transition, action = gaussian()
    mean = transition.mean.clone().requires_grad_()
    (slope,) = torch.autograd.grad(log_prob(replace(transition, mean=mean), action).sum(), mean)
    variance = transition.spread.square().view(-1, 1, 1, 1)
    torch.testing.assert_close(slope, (action - transition.mean) / variance)


def test_half_precision_actions_are_judged_in_full():
    transition, noise = gaussian()
    assert log_prob(transition, act(transition, noise).bfloat16()).dtype == torch.float32


def take(prompts, keys, **settings):
    policy = Walker()
    noise = noise_for(keys, policy.noise_shape)
    with torch.no_grad():
        return rollout(policy, noise, policy.encode(prompts), own_draws(keys, policy.noise_shape), **settings)


def test_a_rollout_is_its_steps_one_after_the_other():
    keys = [(7, 0, 0), (7, 1, 0)]
    policy = Walker()
    torch.manual_seed(0)
    policy.denoiser.reset_parameters()
    noise = noise_for(keys, policy.noise_shape)
    taken = rollout(policy, noise, policy.encode(["a", "ring"]), own_draws(keys, policy.noise_shape))
    latents = noise
    for step, spread in enumerate(SPREADS):
        mean = policy.step(latents, torch.tensor([step, step]), policy.encode(["a", "ring"])).mean
        following = mean + spread * noise_for([(*key, step) for key in keys], policy.noise_shape)
        torch.testing.assert_close(taken.states[:, step + 1], following)
        expected = torch.distributions.Normal(mean, spread or 1.0).log_prob(following).flatten(1).sum(1)
        torch.testing.assert_close(taken.log_probs[:, step], expected * bool(spread), rtol=1e-5, atol=1e-5)
        latents = following
    assert taken.states.shape == (2, 4, 2, 3, 3)
    assert torch.equal(taken.states[:, 0], noise)


def test_each_image_draws_for_itself():
    prompts, keys = ["a", "ring", "two stars"], [(7, 0, 0), (7, 1, 0), (7, 1, 1)]
    torch.manual_seed(0)
    together = take(prompts, keys)
    torch.manual_seed(0)
    turned = take(prompts[::-1], keys[::-1])
    torch.testing.assert_close(turned.states.flip(0), together.states)
    torch.testing.assert_close(turned.log_probs.flip(0), together.log_probs)
    for row in range(3):
        torch.manual_seed(0)
        alone = take(prompts[row : row + 1], keys[row : row + 1])
        torch.testing.assert_close(alone.states[0], together.states[row])
    draws = own_draws(keys, (4,))
    assert not torch.equal(draws(0), draws(1))
    assert not torch.equal(draws(0)[1], draws(0)[2])


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_images_are_those_of_their_keys_however_many_are_drawn_at_once(batch_size):
    policy, prompts = Walker(), ["a", "ring", "two stars"]
    keys = [(7, "look", place) for place in range(3)]
    condition = policy.encode(prompts)
    with torch.no_grad():
        images = draw_images(policy, condition, keys, batch_size)
        for row, key in enumerate(keys):
            noise = noise_for([key], policy.noise_shape)
            alone = rollout(policy, noise, condition[row : row + 1], own_draws([key], policy.noise_shape))
            torch.testing.assert_close(images[row : row + 1], policy.decode(alone.states[:, -1]))
    assert images.shape == (3, 3, 3, 3)


def test_a_rollouts_means_are_its_sums_per_number():
    keys = [(7, 0, 0)]
    torch.manual_seed(0)
    sums = take(["a"], keys).log_probs
    torch.manual_seed(0)
    torch.testing.assert_close(take(["a"], keys, per_number=True).log_probs * 18, sums)


def test_gradients_pass_a_rollout_that_is_not_told_otherwise():
    policy = Walker()
    noise = torch.randn(2, 2, 3, 3, requires_grad=True)
    taken = rollout(policy, noise, policy.encode(["a", "b"]), own_draws([(0,), (1,)], policy.noise_shape))
    assert torch.autograd.grad(taken.states[:, -1].sum(), noise)[0].abs().sum() > 0


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_every_kind_of_prediction_means_the_same_clean_latents(kind):
    rng = torch.Generator().manual_seed(3)
    clean, noise = torch.randn(2, 3, 4, 4, 4, generator=rng)
    alpha_bar = torch.tensor([0.1, 0.5, 0.9])
    signal, amount = alpha_bar.sqrt().view(-1, 1, 1, 1), (1 - alpha_bar).sqrt().view(-1, 1, 1, 1)
    predictions = {"epsilon": noise, "v_prediction": signal * noise - amount * clean, "sample": clean}
    found = predict_clean(kind, predictions[kind], signal * clean + amount * noise, alpha_bar)
    torch.testing.assert_close(found, clean, rtol=1e-4, atol=1e-5)


def test_predictions_that_cannot_be_read_are_refused():
    with pytest.raises(BadConfig, match="not 'flow_prediction'"):
        check_prediction("flow_prediction", 0.1)
    with pytest.raises(BadConfig, match="starts from pure noise"):
        check_prediction("epsilon", 0.0)
    check_prediction("v_prediction", 0.0)


class ForgetsItself(Walker):
    """Draws inside its mean: what it did cannot be judged afterwards."""

    def step(self, latents, index, condition):
        found = super().step(latents, index, condition)
        return replace(found, mean=found.mean + 0.1 * torch.randn_like(found.mean))


class DrawsLast(Walker):
    def step(self, latents, index, condition):
        found = super().step(latents, index, condition)
        return replace(found, spread=found.spread + 0.1)


class MixesRows(Walker):
    def step(self, latents, index, condition):
        found = super().step(latents, index, condition)
        return replace(found, mean=found.mean + latents.mean(dim=0))


class FollowsTheFirstStep(Walker):
    """The field's habit: one time for the whole batch."""

    def step(self, latents, index, condition):
        return super().step(latents, index[:1].expand_as(index), condition)


class LeaksASlope(Walker):
    def step(self, latents, index, condition):
        found = super().step(latents, index, condition)
        mean = found.mean.mean(dim=0, keepdim=True)
        return replace(found, mean=found.mean + mean - mean.detach())


class HalfPrecision(Walker):
    def step(self, latents, index, condition):
        found = super().step(latents, index, condition)
        return replace(found, mean=found.mean.bfloat16() + 0)

    def decode(self, latents):
        return super().decode(latents.float())


class RoundsWhatItIsGiven(Walker):
    def step(self, latents, index, condition):
        with torch.no_grad():
            latents.copy_(latents.bfloat16())
        return super().step(latents, index, condition)


class NoGradient(Walker):
    @torch.no_grad()
    def step(self, latents, index, condition):
        return super().step(latents, index, condition)


class CannotLearn(Walker):
    def step(self, latents, index, condition):
        found = super().step(latents, index, condition)
        frozen = nn.functional.linear(latents.flatten(1), self.denoiser.weight.detach(), self.denoiser.bias.detach())
        return replace(found, mean=frozen.view_as(latents))


class TrainsMore(Walker):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def step(self, latents, index, condition):
        found = super().step(latents, index, condition)
        return replace(found, mean=found.mean * self.scale)


class WideSpread(Walker):
    def step(self, latents, index, condition):
        found = super().step(latents, index, condition)
        return replace(found, spread=found.spread.view(-1, 1, 1, 1))


class PureNoise(Walker):
    def step(self, latents, index, condition):
        found = super().step(latents, index, condition)
        return replace(found, mean=found.mean / index.view(-1, 1, 1, 1))


class OutOfRange(Walker):
    def decode(self, latents):
        return super().decode(latents) + 1


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (ForgetsItself, "as probable again"),
        (DrawsLast, "last step must draw nothing"),
        (MixesRows, "must not depend on its batch"),
        (FollowsTheFirstStep, "must not depend on its batch"),
        (LeaksASlope, "reaches the latents of other rows"),
        (HalfPrecision, "must be in float32"),
        (RoundsWhatItIsGiven, "must not change the latents"),
        (NoGradient, "no gradient reaches the latents"),
        (CannotLearn, "cannot be trained"),
        (TrainsMore, "outside the trained denoiser"),
        (WideSpread, "one spread per row"),
        (PureNoise, "must be finite"),
        (OutOfRange, r"must lie in \[0, 1\]"),
    ],
)
def test_a_broken_promise_is_named(broken, complaint):
    with pytest.raises(BrokenContract, match=f"{broken.__name__}: .*{complaint}"):
        check_policy(broken())


def test_a_sound_policy_passes_and_is_left_as_it_was():
    policy = Walker()
    policy.denoiser.bias.requires_grad_()
    assert isinstance(policy, StepPolicy)
    check_policy(policy)
    assert policy.denoiser.bias.requires_grad
    assert not policy.denoiser.weight.requires_grad
