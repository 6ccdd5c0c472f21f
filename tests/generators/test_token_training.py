"""A token policy in training: in lower precision it says nearly the same, and what it was stays as it was."""

import pytest
import torch
from tiny_janus import load_tiny
from tiny_token_models import small_policy
from toy_tokens import ToyTokens

from plaudit.core import devices
from plaudit.core.devices import fast_autocast, has_fast_bfloat16
from plaudit.core.errors import BadConfig
from plaudit.generators.token_policy import Sampling, TokenPolicy
from plaudit.generators.token_reading import Cache
from plaudit.generators.token_rollout import draw_pictures, draw_tokens, score_tokens, uniforms_for
from plaudit.generators.token_training import TokensInBfloat16, frozen_start
from plaudit.generators.trained_part import train_all

CPU = torch.device("cpu")
native = pytest.mark.skipif(not has_fast_bfloat16(CPU), reason="this CPU has no native bfloat16")


@native
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(guidance=2.0)])
def test_in_bfloat16_tokens_are_about_as_likely_and_numbers_stay_float32(sampling):
    policy = small_policy()
    low = TokensInBfloat16(policy)
    assert isinstance(low, TokenPolicy)
    condition, uniforms = low.encode(["0", "3"]), uniforms_for([(0,), (1,)], 4)
    drawn = draw_tokens(low, condition, uniforms, sampling)
    found = score_tokens(low, drawn.tokens, condition, sampling=sampling)
    exact = score_tokens(policy, drawn.tokens, condition, sampling=sampling)
    assert drawn.log_probs.dtype == found.log_probs.dtype == torch.float32
    torch.testing.assert_close(found.log_probs, exact.log_probs, atol=0.05, rtol=0)
    torch.testing.assert_close(found.log_probs, drawn.log_probs, atol=0.05, rtol=0)
    assert not torch.equal(found.log_probs, exact.log_probs), "its products are of another precision"
    pictures, exact_pictures = low.decode(drawn.tokens), policy.decode(drawn.tokens)
    assert pictures.dtype == torch.float32
    assert float((pictures - exact_pictures).abs().mean()) < 0.03
    assert not torch.equal(pictures, exact_pictures), "its products are of another precision"


@native
def test_gradients_of_bfloat16_reach_the_float32_weights():
    policy = small_policy()
    train_all(policy.transformer)
    low = TokensInBfloat16(policy)
    tokens = torch.zeros(2, 4, dtype=torch.long)
    score_tokens(low, tokens, low.encode(["0", "1"])).log_probs.sum().backward()
    grads = [weight.grad for weight in policy.transformer.parameters()]
    assert all(grad is not None and grad.dtype == torch.float32 and grad.isfinite().all() for grad in grads)


@native
def test_the_cache_is_kept_in_the_precision_of_products():
    like = torch.zeros(2, 1, 8)
    settings = {"layers": 1, "heads": 2, "room": 3}
    assert Cache(like, **settings)._kept.dtype == torch.float32
    with fast_autocast(CPU):
        assert Cache(like, **settings)._kept.dtype == torch.bfloat16


def test_where_bfloat16_is_not_native_it_is_refused(monkeypatch):
    monkeypatch.setattr(devices, "has_fast_bfloat16", lambda _: False)
    with pytest.raises(BadConfig, match="no native bfloat16"):
        TokensInBfloat16(ToyTokens())


@pytest.mark.parametrize("make", [ToyTokens, small_policy])
def test_the_start_stays_as_it_was(make):
    policy = make()
    train_all(policy.transformer)
    start = frozen_start(policy)
    before = [weight.detach().clone() for weight in start.transformer.parameters()]
    with torch.no_grad():
        for weight in policy.transformer.parameters():
            weight.add_(1)
    assert all(weight.requires_grad for weight in policy.transformer.parameters())
    for weight, was in zip(start.transformer.parameters(), before, strict=True):
        assert torch.equal(weight, was)
        assert not weight.requires_grad
    assert start.encode(["0"]) is not None


def test_the_start_of_a_drawing_without_a_plan_stays_as_it_was(tmp_path):
    planning = load_tiny(tmp_path / "tiny")
    policy = planning.direct
    train_all(policy.transformer)
    start = frozen_start(policy)
    assert isinstance(start, TokenPolicy)
    own, trained = ({weight.data_ptr() for weight in it.transformer.parameters()} for it in (start, policy))
    assert len(own) == len(trained)
    assert not own & trained
    condition = policy.encode(["a red circle", "two blue star left of a ring"])
    uniforms = uniforms_for([(0,), (1,)], policy.num_tokens)
    drawn = draw_tokens(policy, condition, uniforms, Sampling(guidance=2.0)).tokens

    def likely(one):
        return score_tokens(one, drawn, condition).log_probs

    before = likely(policy).detach()
    assert torch.equal(likely(start), before)
    with torch.no_grad():
        for weight in policy.transformer.parameters():
            weight.mul_(1.1)
    assert torch.equal(likely(start), before)
    assert not likely(start).requires_grad
    assert not torch.allclose(likely(policy), before)
    assert policy.transformer is planning.transformer, "whose weights are trained is who they were of"


def test_pictures_of_keys_do_not_depend_on_the_batch():
    policy = ToyTokens()
    condition, keys = policy.encode(["a", "to", "the"]), [(0, "x", number) for number in range(3)]
    whole = draw_pictures(policy, condition, keys, Sampling(), batch_size=8)
    assert torch.equal(draw_pictures(policy, condition, keys, Sampling(), batch_size=2), whole)
    assert not torch.equal(whole[0], whole[1])
