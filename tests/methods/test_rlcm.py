"""RLCM: its gradient is the analytic one, it learns, and no batch size or interruption changes a result."""

import math
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from methods.toy_policy import Bright, ToyPolicy

from plaudit.core.errors import BadConfig
from plaudit.generators.check import check_policy
from plaudit.generators.generator import StepPolicy
from plaudit.methods.losses import clipped_policy_loss, rebel_residual
from plaudit.methods.rlcm import PUBLISHED_NUMBERS, Rlcm, RlcmConfig

PROMPTS = ["a", "bb", "ccc", "dddd"]
SMALL = RlcmConfig(updates=2, prompts_per_update=3, images_per_prompt=2, lr=0.01, batch_size=4)


def trainer(config=SMALL, *, policy=None, reward=None, **named):
    return Rlcm(policy or ToyPolicy(), reward or Bright(), PROMPTS, config, **named)


def weights(one):
    return one.policy.denoiser[0].detach().clone()


def gradient(one, batch, advantages):
    """What one pass over the batch would be moved by."""
    one.learner.optimiser.step = lambda: None
    one.learn(batch, advantages, 0)
    return one.policy.denoiser[0].grad.clone()


def test_the_toy_is_a_policy():
    assert isinstance(ToyPolicy(), StepPolicy)


def test_one_step_is_reinforce():
    """At unchanged weights the gradient is minus the mean of A times d(log-density)/d(mean) / D, over trained steps."""
    one = trainer(replace(SMALL, grad_clip=1e9))
    batch = one.act(0)
    advantages = torch.linspace(-1, 2, 6)
    found = gradient(one, batch, advantages)
    expected = torch.zeros(3, 4)
    for row in range(6):
        for step in range(2):
            mean = 0.5 * batch.states[row, step]
            slope = (batch.states[row, step + 1] - mean) / 0.3**2 / 4
            expected[step] -= advantages[row] * slope / 12
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_the_ratio_is_one_before_anything_is_learned():
    one = trainer()
    batch = one.act(0)
    rows, steps = torch.cartesian_prod(torch.arange(6), torch.arange(2)).T
    moved, _ = one._moved(batch, rows, steps)
    assert (moved * one.share).exp().tolist() == pytest.approx([1.0] * 12, abs=1e-6)


def test_the_last_step_is_not_trained():
    one = trainer()
    assert gradient(one, one.act(0), torch.ones(6))[2].abs().sum() == 0


@pytest.mark.parametrize("objective", ["ppo", "rebel"])
def test_the_batch_size_changes_nothing(objective):
    found = []
    for size in (1, 4, 100):
        one = trainer(replace(SMALL, batch_size=size, objective=objective, rebel_scale=PUBLISHED_NUMBERS))
        rewards = [update.reward for update in one.updates()]
        found.append((weights(one), rewards))
    for other, rewards in found[1:]:
        torch.testing.assert_close(other, found[0][0], rtol=1e-4, atol=1e-6)
        assert rewards == pytest.approx(found[0][1], rel=1e-5)


def test_rebels_gradient_is_that_of_its_squared_residuals():
    config = replace(SMALL, objective="rebel", rebel_scale=0.5 * PUBLISHED_NUMBERS, grad_clip=1e9)
    one = trainer(config)
    batch = one.act(0)
    with torch.no_grad():
        one.policy.denoiser[0].add_(0.1)
    advantages = torch.tensor([1.0, -1.0, 0.5, 0.2, 0.0, 2.0])
    found = gradient(one, batch, advantages)
    rows, steps = torch.cartesian_prod(torch.arange(6), torch.arange(2)).T
    one.policy.denoiser[0].grad = None
    moved, _ = one._moved(batch, rows, steps)
    residual = rebel_residual(moved.view(6, 2).sum(1).view(3, 2), advantages.view(3, 2), scale=0.5)
    residual.square().mean().backward()
    torch.testing.assert_close(found, one.policy.denoiser[0].grad, rtol=1e-4, atol=1e-6)


def test_two_pairs_give_the_mean_of_two_single_pairs():
    moved, advantage = torch.tensor([[1.0, 0.5], [2.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    together = rebel_residual(moved, advantage, scale=2.0)
    assert together.tolist() == [2 * 0.5 - 1, 2 * -2 + 3]
    alone = [rebel_residual(moved[i : i + 1], advantage[i : i + 1], scale=2.0) for i in range(2)]
    assert torch.equal(together, torch.cat(alone))


def test_the_clip_by_hand():
    ratios = torch.tensor([0.5, 1.0, 2.0, 2.0, 0.5])
    advantage = torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0])
    loss = clipped_policy_loss(ratios.log(), advantage, low=0.8, high=1.25)
    assert loss.tolist() == pytest.approx([-0.5, -1.0, -1.25, 2.0, 0.8])


def test_a_clipped_action_is_counted_and_no_longer_followed():
    one = trainer(replace(SMALL, clip=1e-3))
    batch = one.act(0)
    with torch.no_grad():
        one.policy.denoiser[0].add_(1.0)
    rows, steps = torch.cartesian_prod(torch.arange(6), torch.arange(2)).T
    moved, _ = one._moved(batch, rows, steps)
    assert (moved.abs() > 1e-3).all()
    # Rewarded actions that became likelier beyond the clip, and punished ones that became less likely, give nothing.
    signs = moved.view(6, 2).sign()
    same = signs[:, 0] == signs[:, 1]
    advantages = torch.where(same, signs[:, 0], 0.0)
    one.learner.optimiser.step = lambda: None
    seen = one.learn(batch, advantages.detach(), 0)
    assert seen["clipped"] == 1.0
    assert one.policy.denoiser[0].grad.abs().sum() == 0


@pytest.mark.parametrize("comparison", ["group", "batch", "running"])
def test_it_learns_a_toy_reward_within_fifty_updates(comparison):
    config = replace(
        SMALL, updates=50, prompts_per_update=8, images_per_prompt=4, lr=0.05, batch_size=64, comparison=comparison
    )
    rewards = [update.reward for update in trainer(config).updates()]
    assert rewards[0] < 0.6
    assert rewards[-1] > 0.8


def test_rebel_learns_too():
    config = replace(
        SMALL, updates=50, prompts_per_update=16, objective="rebel", lr=0.05, batch_size=64,
        rebel_scale=PUBLISHED_NUMBERS * 0.1,
    )  # fmt: skip
    rewards = [update.reward for update in trainer(config).updates()]
    assert rewards[-1] > rewards[0] + 0.2


@pytest.mark.parametrize("comparison", ["group", "running"])
def test_going_on_from_a_state_equals_never_having_stopped(comparison):
    config = replace(SMALL, updates=6, comparison=comparison, min_count=2, steps_per_pass=2, passes=2)
    whole = trainer(config)
    list(whole.updates())
    first = trainer(replace(config, updates=3))
    list(first.updates())
    second = trainer(config)
    second.load(first.state())
    assert [update.index for update in second.updates()] == [3, 4, 5]
    assert torch.equal(weights(whole), weights(second))
    for name, value in whole.state().items():
        assert torch.equal(value, second.state()[name]), name


def test_the_kl_is_exact_and_holds_the_policy_back():
    start = torch.zeros(3, 4)

    def reference_of(policy):
        @contextmanager
        def switched_off():
            kept = policy.denoiser[0].detach().clone()
            policy.denoiser[0].data.copy_(start)
            yield
            policy.denoiser[0].data.copy_(kept)

        return switched_off

    policy = ToyPolicy()
    one = trainer(replace(SMALL, kl_weight=1.0), policy=policy, reference=reference_of(policy))
    batch = one.act(0)
    with torch.no_grad():
        policy.denoiser[0].fill_(0.2)
    _, divergence = one._moved(batch, torch.tensor([0, 1]), torch.tensor([0, 1]))
    # Four numbers, moved by 0.2 each, at spread 0.3.
    assert divergence.tolist() == pytest.approx([4 * 0.2**2 / (2 * 0.3**2)] * 2, rel=1e-5)
    far = {}
    for weight in (0.0, 10.0):
        policy = ToyPolicy()
        config = replace(SMALL, updates=30, lr=0.05, kl_weight=weight, prompts_per_update=8)
        list(trainer(config, policy=policy, reference=reference_of(policy)).updates())
        far[weight] = float(policy.denoiser[0].detach().abs().mean())
    assert far[10.0] < 0.5 * far[0.0]


def test_the_default_clip_is_the_papers_per_number():
    assert RlcmConfig().clip / PUBLISHED_NUMBERS == pytest.approx(1e-4, rel=0.01)


class Wide(ToyPolicy):
    """The same numbers four times over."""

    noise_shape = (16,)

    def __init__(self):
        super().__init__()
        self.denoiser[0] = torch.nn.Parameter(torch.zeros(3, 16))


def test_what_is_clipped_does_not_depend_on_the_number_of_numbers():
    """The share of an action's nats that a clip leaves is the same if the action has four times the numbers."""
    for policy in (ToyPolicy(), Wide()):
        one = trainer(replace(SMALL, clip=2.0), policy=policy)
        seen = type("Seen", (), {"outside": 0})()
        moved = torch.tensor([1.99, 2.01, 5.0], requires_grad=True)
        one._ppo(moved, torch.ones(3), seen).sum().backward()
        assert seen.outside == 2
        assert (moved.grad != 0).tolist() == [True, False, False]


class Nan:
    differentiable = False

    def __call__(self, images, prompts):
        return torch.full((len(images),), math.nan)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"updates": 0}, "updates must be at least 1, got 0"),
        ({"lr": -1.0}, "lr must be a positive number"),
        ({"kl_weight": -1.0}, "kl_weight must be at least 0"),
        ({"images_per_prompt": 1}, "at least 2 images per prompt"),
        ({"objective": "rebel", "images_per_prompt": 4}, "REBEL compares 2 images"),
        ({"comparison": "runing"}, "comparison is running or batch or group, got 'runing'"),
        ({"objective": "reinforce"}, "objective is ppo or rebel, got 'reinforce'"),
        ({"comparison": "running", "buffer_size": 8}, "8 are kept, and min_count 16 .* raise buffer_size or"),
        ({"comparison": "running", "buffer_size": 0}, "buffer_size 0 are kept"),
        ({"comparison": "running", "min_count": 0}, "min_count must be at least 1, got 0"),
    ],
)
def test_bad_settings_are_one_sentence(settings, says):
    with pytest.raises(BadConfig, match=says):
        replace(SMALL, **settings)


def test_a_buffer_is_checked_only_where_it_is_used():
    replace(SMALL, comparison="running", buffer_size=16, min_count=16)
    replace(SMALL, comparison="running", buffer_size=1, min_count=1)
    replace(SMALL, comparison="batch", buffer_size=8)


def test_what_cannot_be_trained_is_said():
    with pytest.raises(BadConfig, match="at least 2 steps"):
        trainer(policy=ToyPolicy(steps=1))
    frozen = ToyPolicy()
    frozen.denoiser.requires_grad_(False)
    with pytest.raises(BadConfig, match="all frozen"):
        trainer(policy=frozen)
    with pytest.raises(BadConfig, match="train a LoRA"):
        trainer(replace(SMALL, kl_weight=0.1))
    with pytest.raises(BadConfig, match="no prompt"):
        Rlcm(ToyPolicy(), Bright(), [], SMALL)
    with pytest.raises(BadConfig, match="not finite for a picture of"):
        list(trainer(reward=Nan()).updates())


def test_the_toy_keeps_the_contract():
    check_policy(ToyPolicy())
