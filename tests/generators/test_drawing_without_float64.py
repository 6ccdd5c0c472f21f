"""Models that draw token by token draw the same on a device without float64, as Apple's GPUs are."""

import pytest
import torch
from no_float64 import ELSEWHERE, NoFloat64, move
from tiny_janus import load_tiny
from tiny_token_models import small_policy

from plaudit.core import float64
from plaudit.generators import token_policy
from plaudit.generators.plan_generator import PlanGenerator
from plaudit.generators.token_generator import TokenGenerator
from plaudit.generators.token_policy import Sampling


@pytest.fixture(autouse=True)
def _nowhere_precise(monkeypatch):
    """That other device has no float64."""
    monkeypatch.setattr(float64, "has_float64", lambda device: device != ELSEWHERE)


def moved(policy, *parts):
    for part in parts:
        move(part)
    policy.device = ELSEWHERE
    return policy


@pytest.mark.parametrize("many", [2**12, 4])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(guidance=2.0, top_p=0.9)])
def test_a_generator_draws_the_same(monkeypatch, sampling, many):
    monkeypatch.setattr(token_policy, "MANY", many)
    monkeypatch.setattr(token_policy, "STRETCH", 5)
    noise, prompts = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), ["0", "3", "4"]
    policy = small_policy()
    generator = TokenGenerator(policy, sampling)
    expected = generator.sample(noise, generator.encode(prompts))
    with NoFloat64():
        generator = TokenGenerator(moved(policy, policy.transformer, policy.image_tokenizer), sampling)
        found = generator.sample(noise.to(ELSEWHERE), generator.encode(prompts))
        assert found.device == ELSEWHERE
        assert torch.equal(found.cpu(), expected)


def test_a_planner_writes_and_draws_the_same(tmp_path):
    policy = load_tiny(tmp_path)
    noise = torch.randn(2, policy.max_words + policy.num_tokens, generator=torch.Generator().manual_seed(0))
    prompts = ["a red circle", "a big star"]
    generator = PlanGenerator(policy)
    expected = generator.draw(noise, generator.encode(prompts))
    with NoFloat64():
        policy.writable = policy.writable.to(ELSEWHERE)
        generator = PlanGenerator(moved(policy, policy.transformer, policy.image_tokenizer))
        condition, noise = generator.encode(prompts), noise.to(ELSEWHERE)
        found = generator.draw(noise, condition)
        assert found.plans == expected.plans == tuple(generator.plans(noise, condition))
        assert any(found.plans)
        torch.testing.assert_close(found.images.cpu(), expected.images, rtol=0, atol=1e-5)
