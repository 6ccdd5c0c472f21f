"""Drawing tokens, and scoring them: the same numbers by two ways."""

import math

import pytest
import torch
from toy_tokens import ToyTokens

from plaudit.core.errors import BadConfig
from plaudit.generators import token_policy, token_rollout
from plaudit.generators.token_policy import Sampling, TokenPolicy, pick, token_log_probs
from plaudit.generators.token_rollout import draw_tokens, score_tokens, uniforms_for

PROMPTS = ["a", "to", "the", "fore"]
WAYS = [
    Sampling(), Sampling(guidance=2.5), Sampling(guidance=0.0), Sampling(temperature=0.5), Sampling(top_k=3),
    Sampling(top_p=0.7), Sampling(guidance=1.5, temperature=0.8, top_k=4, top_p=0.9),
]  # fmt: skip


def drawn(policy, sampling, prompts=PROMPTS, first=0):
    uniforms = uniforms_for([(0, first + i) for i in range(len(prompts))], policy.num_tokens)
    return draw_tokens(policy, policy.encode(prompts), uniforms, sampling)


def test_the_toy_is_a_token_policy():
    assert isinstance(ToyTokens(), TokenPolicy)


@pytest.mark.parametrize("sampling", WAYS, ids=str)
def test_what_was_drawn_is_scored_the_same_when_read_at_once(sampling):
    policy = ToyTokens(num_tokens=9)
    found = drawn(policy, sampling)
    scored = score_tokens(policy, found.tokens, policy.encode(PROMPTS), sampling=sampling)
    torch.testing.assert_close(scored.log_probs, found.log_probs, atol=1e-5, rtol=1e-5)
    assert torch.isfinite(found.log_probs).all(), "nothing that is cut is ever drawn"


@pytest.mark.parametrize("sampling", WAYS, ids=str)
def test_a_picture_is_the_same_alone_and_among_others(sampling):
    policy = ToyTokens(num_tokens=9)
    together = drawn(policy, sampling)
    for i, prompt in enumerate(PROMPTS):
        alone = drawn(policy, sampling, [prompt], first=i)
        assert torch.equal(alone.tokens[0], together.tokens[i])
        torch.testing.assert_close(alone.log_probs[0], together.log_probs[i])


def test_guidance_moves_away_from_none():
    logits = torch.tensor([[[0.0, 1.0, 2.0]], [[1.0, 1.0, 0.0]]])
    by_hand = torch.tensor([[1 + 3 * -1.0, 1.0, 0 + 3 * 2.0]]).log_softmax(dim=-1)
    torch.testing.assert_close(token_log_probs(logits, Sampling(guidance=3.0)), by_hand)


def test_cutting_to_the_likeliest_by_hand():
    logits = torch.tensor([0.5, 0.2, 0.2, 0.1]).log()
    kept = token_log_probs(logits, Sampling(top_k=1)).exp()
    torch.testing.assert_close(kept, torch.tensor([1.0, 0, 0, 0]))
    # Those before the third hold 0.7: it is needed for 0.75, and not for 0.69.
    torch.testing.assert_close(
        token_log_probs(logits, Sampling(top_p=0.75)).exp(), torch.tensor([0.5, 0.2, 0.2, 0]) / 0.9
    )
    torch.testing.assert_close(
        token_log_probs(logits, Sampling(top_p=0.69)).exp(), torch.tensor([0.5, 0.2, 0, 0]) / 0.7
    )
    torch.testing.assert_close(token_log_probs(logits, Sampling(top_p=1e-9)).exp(), torch.tensor([1.0, 0, 0, 0]))


def test_a_colder_policy_squares_its_odds():
    logits = torch.tensor([0.6, 0.3, 0.1]).log()
    cold = token_log_probs(logits, Sampling(temperature=0.5)).exp()
    torch.testing.assert_close(cold, torch.tensor([0.36, 0.09, 0.01]) / 0.46)


def test_tokens_are_picked_where_the_number_falls():
    log_probs = torch.tensor([0.25, 0.5, 0.0, 0.25]).log().expand(6, -1)
    numbers = torch.tensor([0.0, 0.249, 0.251, 0.749, 0.751, 1 - 1e-16], dtype=torch.float64)
    assert pick(log_probs, numbers).tolist() == [0, 0, 1, 1, 3, 3]
    cut = torch.tensor([0.25, 0.75, 0.0, 0.0]).log().expand(1, -1)
    assert pick(cut, torch.tensor([1.0], dtype=torch.float64)).tolist() == [1], "never a token that was cut"


@pytest.mark.parametrize("count", [4096, 5000, 102400])
def test_of_many_tokens_the_same_are_picked(monkeypatch, count):
    rng = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(60, count, generator=rng)
    logits[:, torch.rand(count, generator=rng) < 0.3] = -torch.inf
    logits[:, -600:] = -torch.inf
    logits[:30, 512:1024] = -torch.inf
    log_probs = logits.log_softmax(dim=-1)
    numbers = torch.rand(60, generator=rng, dtype=torch.float64)
    numbers[:3] = torch.tensor([0.0, 1.0, 1 - 1e-16], dtype=torch.float64)
    found = pick(log_probs, numbers)
    assert (log_probs.gather(1, found[:, None]) > -torch.inf).all()
    assert len(found.unique()) > 30
    monkeypatch.setattr(token_policy, "MANY", count + 1)
    assert torch.equal(found, pick(log_probs, numbers))


def test_tokens_come_as_often_as_they_should():
    policy = ToyTokens(num_tokens=1, vocabulary=5)
    found = drawn(policy, Sampling(), ["a"] * 4000).tokens.flatten()
    share = found.bincount(minlength=5) / 4000
    wanted = policy.logits(policy.hidden(found[:1, None], policy.encode(["a"])))[0, 0].softmax(dim=-1)
    assert (share - wanted).abs().max() < 4 * 0.5 / math.sqrt(4000)


def test_chunks_change_nothing_and_bring_the_same_gradient(monkeypatch):
    policy, tokens = ToyTokens(num_tokens=7), drawn(ToyTokens(num_tokens=7), Sampling()).tokens
    found = []
    for size in (2**22, 4 * 6 * 2, 1):
        monkeypatch.setattr(token_rollout, "CHUNK_NUMBERS", size)
        scored = score_tokens(policy, tokens, policy.encode(PROMPTS))
        (scored.log_probs.sum() + 0.3 * scored.entropies.sum()).backward()
        found.append((scored, [p.grad.clone() for p in policy.transformer.values()]))
        policy.transformer.zero_grad()
    for scored, gradients in found[1:]:
        torch.testing.assert_close(scored.log_probs, found[0][0].log_probs)
        torch.testing.assert_close(scored.entropies, found[0][0].entropies)
        for one, other in zip(gradients, found[0][1], strict=True):
            torch.testing.assert_close(one, other)
        assert any(gradient.abs().sum() > 0.1 for gradient in gradients)


def test_without_a_gradient_all_logits_are_never_there_at_once(monkeypatch):
    policy, sizes = ToyTokens(num_tokens=8), []
    monkeypatch.setattr(token_rollout, "CHUNK_NUMBERS", 4 * 6 * 2)
    plain = policy.logits
    monkeypatch.setattr(policy, "logits", lambda hidden: sizes.append(hidden.shape[:-1].numel()) or plain(hidden))
    with torch.no_grad():
        score_tokens(policy, torch.zeros(4, 8, dtype=torch.long), policy.encode(PROMPTS))
    assert sizes == [8] * 4


def test_the_entropy_of_a_cut_distribution_is_that_of_what_is_left():
    policy = ToyTokens(num_tokens=1)
    tokens = drawn(policy, Sampling(top_k=1)).tokens
    sure = score_tokens(policy, tokens, policy.encode(PROMPTS), sampling=Sampling(top_k=1))
    assert sure.entropies.abs().max() < 1e-6
    whole = score_tokens(policy, tokens, policy.encode(PROMPTS))
    shares = policy.logits(policy.hidden(tokens, policy.encode(PROMPTS))).softmax(dim=-1)
    torch.testing.assert_close(whole.entropies, -(shares * shares.log()).sum(dim=-1))


def test_a_cut_distribution_has_a_finite_gradient():
    policy = ToyTokens()
    sampling = Sampling(top_k=2, guidance=1.5)
    tokens = drawn(policy, sampling).tokens
    scored = score_tokens(policy, tokens, policy.encode(PROMPTS), sampling=sampling)
    (scored.log_probs.sum() + scored.entropies.sum()).backward()
    assert all(torch.isfinite(p.grad).all() for p in policy.transformer.values())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"temperature": 0.0}, "temperature must be a positive number, got 0.0"),
        ({"top_k": -1}, r"top_k must be at least 0 \(all tokens\), got -1"),
        ({"top_p": 0.0}, "top_p is a share above 0"),
        ({"guidance": math.nan}, "guidance must be a finite number"),
    ],
)
def test_sampling_that_cannot_be_is_refused(settings, said):
    with pytest.raises(BadConfig, match=said):
        Sampling(**settings)
