"""A plan policy in lower precision says nearly the same, and its numbers stay float32."""

import pytest
import torch
from tiny_janus import load_tiny

from plaudit.core import devices
from plaudit.core.devices import fast_autocast, has_fast_bfloat16
from plaudit.core.errors import BadConfig
from plaudit.generators.llama_reading import RowCache
from plaudit.generators.plan_policy import PlanPolicy
from plaudit.generators.plan_rollout import draw_responses, score_responses
from plaudit.generators.plan_training import PlansInBfloat16
from plaudit.generators.token_policy import Sampling, TokenPolicy
from plaudit.generators.token_rollout import draw_tokens, uniforms_for
from plaudit.generators.trained_part import train_all

CPU = torch.device("cpu")
PROMPTS = ["a red circle", "two blue star left of a ring"]
native = pytest.mark.skipif(not has_fast_bfloat16(CPU), reason="this CPU has no native bfloat16")


@pytest.fixture
def policy(tmp_path):
    return load_tiny(tmp_path / "tiny")


@native
@pytest.mark.parametrize("image", [Sampling(), Sampling(guidance=2.0)])
def test_in_bfloat16_responses_are_about_as_likely_and_numbers_stay_float32(policy, image):
    low = PlansInBfloat16(policy)
    assert isinstance(low, PlanPolicy)
    assert isinstance(low.direct, TokenPolicy)
    uniforms = uniforms_for([(0,), (1,)], low.max_words + low.num_tokens)
    condition = low.encode(PROMPTS)
    drawn = draw_responses(low, condition, uniforms, words=Sampling(), image=image)
    found = score_responses(low, drawn, condition, image=image)
    exact = score_responses(policy, drawn, condition, image=image)
    assert drawn.word_log_probs.dtype == drawn.token_log_probs.dtype == torch.float32
    assert found.words.log_probs.dtype == found.tokens.entropies.dtype == torch.float32
    for low_ones, exact_ones in ((found.words, exact.words), (found.tokens, exact.tokens)):
        assert float((low_ones.log_probs - exact_ones.log_probs).abs().mean()) < 0.2
        assert not torch.equal(low_ones.log_probs, exact_ones.log_probs), "its products are of another precision"
    assert low.read_words(*low.words_of(["a red star", ""])[:2]) == ["a red star", ""]
    pictures, exact_pictures = low.decode(drawn.tokens), policy.decode(drawn.tokens)
    assert pictures.dtype == torch.float32
    assert float((pictures - exact_pictures).abs().mean()) < 0.03
    assert not torch.equal(pictures, exact_pictures), "its products are of another precision"
    assert torch.equal(low.encode_images(exact_pictures), policy.encode_images(exact_pictures))
    tokens = draw_tokens(low.direct, low.direct.encode(PROMPTS), uniforms[:, low.max_words :], image)
    assert tokens.log_probs.dtype == torch.float32


@native
def test_gradients_of_bfloat16_reach_the_float32_weights(policy):
    train_all(policy.transformer)
    low = PlansInBfloat16(policy)
    uniforms = uniforms_for([(0,), (1,)], low.max_words + low.num_tokens)
    drawn = draw_responses(low, low.encode(PROMPTS), uniforms, words=Sampling(), image=Sampling())
    scored = score_responses(low, drawn, low.encode(PROMPTS))
    (scored.words.log_probs.sum() + scored.tokens.log_probs.sum()).backward()
    grads = [weight.grad for weight in policy.transformer.parameters()]
    assert all(grad is not None and grad.dtype == torch.float32 and grad.isfinite().all() for grad in grads)


@native
def test_the_cache_is_kept_in_the_precision_of_products(policy):
    like, config = torch.zeros(2, 1, 32), policy.transformer.language_model.config
    assert RowCache(config, like, rows=2, room=3).dtype == torch.float32
    with fast_autocast(CPU):
        assert RowCache(config, like, rows=2, room=3).dtype == torch.bfloat16


def test_where_bfloat16_is_not_native_it_is_refused(monkeypatch, policy):
    monkeypatch.setattr(devices, "has_fast_bfloat16", lambda _: False)
    with pytest.raises(BadConfig, match="no native bfloat16"):
        PlansInBfloat16(policy)
