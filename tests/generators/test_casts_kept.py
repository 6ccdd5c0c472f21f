"""In bfloat16 a drawing casts each trained weight once, not for every token; and the next one sees the weights anew."""

import contextlib
import copy

import pytest
import torch
from tiny_janus import load_tiny
from tiny_token_models import small_policy
from torch.utils._python_dispatch import TorchDispatchMode

from plaudit.core import devices
from plaudit.generators import plan_rollout, token_rollout
from plaudit.generators.plan_rollout import draw_responses, write_plans
from plaudit.generators.plan_training import PlansInBfloat16
from plaudit.generators.token_policy import Sampling
from plaudit.generators.token_rollout import draw_tokens, score_tokens, uniforms_for
from plaudit.generators.token_training import TokensInBfloat16
from plaudit.generators.trained_part import train_all

GUIDED = Sampling(guidance=2.0)
PLANS = ["a red circle", "two blue star left of a ring"]


class Casts(TorchDispatchMode):
    """Counts how often each of these weights is cast to bfloat16."""

    def __init__(self, module):
        super().__init__()
        self.names = {weight.data_ptr(): name for name, weight in module.named_parameters()}
        self.counts = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default and kwargs.get("dtype") == torch.bfloat16:
            name = self.names.get(args[0].data_ptr())
            self.counts[name] = self.counts.get(name, 0) + 1
        return func(*args, **kwargs)

    @property
    def of_weights(self):
        return {name: count for name, count in self.counts.items() if name is not None}


def tokens_of(policy):
    drawn = draw_tokens(policy, policy.encode(["0", "3"]), uniforms_for([(0,), (1,)], policy.num_tokens), GUIDED)
    return drawn.tokens, drawn.log_probs


def _uniforms(policy):
    return uniforms_for([(0,), (1,)], policy.max_words + policy.num_tokens)


def responses_of(policy):
    drawn = draw_responses(policy, policy.encode(PLANS), _uniforms(policy), words=Sampling(), image=GUIDED)
    return drawn.words, drawn.word_log_probs, drawn.tokens, drawn.token_log_probs


def plans_of(policy):
    return write_plans(policy, policy.encode(PLANS), _uniforms(policy), words=Sampling())


DRAWINGS = {"tokens": tokens_of, "responses": responses_of, "plans": plans_of}


@pytest.fixture(params=DRAWINGS)
def drawing(request, tmp_path, monkeypatch):
    """How to draw, and a policy all of whose weights are trained; bfloat16 also where it is slow."""
    monkeypatch.setattr(devices, "has_fast_bfloat16", lambda _: True)
    policy = small_policy() if request.param == "tokens" else load_tiny(tmp_path / "tiny")
    train_all(policy.transformer)
    return DRAWINGS[request.param], TokensInBfloat16(policy) if request.param == "tokens" else PlansInBfloat16(policy)


def same(some, others):
    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))


def test_a_drawing_casts_each_weight_once(drawing):
    draw, policy = drawing
    with Casts(policy.transformer) as casts:
        draw(policy)
    assert casts.of_weights
    assert set(casts.of_weights.values()) == {1}
    assert not torch.is_autocast_enabled("cpu")


def test_kept_casts_change_no_number(drawing, monkeypatch):
    draw, policy = drawing
    found = draw(policy)
    for module in (token_rollout, plan_rollout):
        monkeypatch.setattr(module, "casts_kept", contextlib.nullcontext)
    with Casts(policy.transformer) as casts:
        assert same(found, draw(policy))
    assert max(casts.of_weights.values()) > 1


def test_the_next_drawing_sees_weights_that_changed(drawing):
    draw, policy = drawing
    before = draw(policy)
    with torch.no_grad():
        for weight in policy.transformer.parameters():
            weight.mul_(0.5)
    after = draw(policy)
    assert not same(before, after)
    assert same(after, draw(copy.deepcopy(policy)))


def test_learning_sees_weights_that_changed_and_reaches_them(monkeypatch):
    monkeypatch.setattr(devices, "has_fast_bfloat16", lambda _: True)
    policy = small_policy()
    train_all(policy.transformer)
    low = TokensInBfloat16(policy)
    tokens, _ = tokens_of(low)
    with torch.no_grad():
        for weight in policy.transformer.parameters():
            weight.mul_(0.5)
    scored = score_tokens(low, tokens, low.encode(["0", "3"])).log_probs
    fresh = TokensInBfloat16(copy.deepcopy(policy))
    assert torch.equal(scored, score_tokens(fresh, tokens, low.encode(["0", "3"])).log_probs)
    scored.sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in policy.transformer.parameters())


def test_casts_are_forgotten_when_a_drawing_fails(monkeypatch):
    monkeypatch.setattr(devices, "has_fast_bfloat16", lambda _: True)
    low = TokensInBfloat16(small_policy())
    with pytest.raises(IndexError):
        draw_tokens(low, low.encode(["0"]), torch.zeros(1, 1), Sampling())
    assert torch.autocast_increment_nesting() == 1
    assert torch.autocast_decrement_nesting() == 0
