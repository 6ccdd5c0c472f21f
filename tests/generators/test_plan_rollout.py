"""Drawing plans and pictures, and scoring them: the same numbers by two ways."""

import pytest
import torch
from tiny_janus import MAX_WORDS, load_tiny
from toy_plans import ToyPlans

from plaudit.core.errors import BadConfig
from plaudit.generators import plan_rollout, token_rollout
from plaudit.generators.plan_policy import PlanSampling, Response, Texts, followed_by, given, joined, with_begin
from plaudit.generators.plan_rollout import draw_responses, score_responses, word_places, write_plans
from plaudit.generators.token_policy import Sampling, token_log_probs
from plaudit.generators.token_rollout import score_tokens, uniforms_for
from plaudit.generators.trained_part import train_all

PROMPTS = ["a red circle", "two blue squares left of a white ring", "a star", "the green square is there ."]
WAYS = [
    (Sampling(), Sampling()),
    (Sampling(), Sampling(guidance=2.5)),
    (Sampling(temperature=0.7), Sampling(guidance=0.0)),
    (Sampling(top_k=5), Sampling(guidance=1.5, temperature=0.8, top_k=9, top_p=0.9)),
    (Sampling(top_p=0.8, temperature=1.3), Sampling(top_p=0.7)),
]


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return load_tiny(tmp_path_factory.mktemp("janus") / "tiny")


def drawn(policy, words=None, image=None, rows=range(4), plans=None):
    rows = list(rows)
    uniforms = uniforms_for([(0, row) for row in rows], policy.max_words + policy.num_tokens)
    condition = policy.encode([PROMPTS[row] for row in rows])
    return draw_responses(
        policy, condition, uniforms, words=words or Sampling(), image=image or Sampling(), plans=plans
    )


@pytest.mark.parametrize(("words", "image"), WAYS, ids=str)
def test_what_was_drawn_is_scored_the_same_when_read_at_once(policy, words, image):
    found = drawn(policy, words, image)
    lengths = found.written.sum(dim=1)
    assert len(set(lengths.tolist())) > 1, "plans of several lengths, so gaps"
    assert not policy.encode(PROMPTS).mask.all(), "prompts of several lengths, so padding"
    scored = score_responses(policy, found, policy.encode(PROMPTS), words=words, image=image)
    assert torch.isfinite(found.word_log_probs).all()
    assert torch.isfinite(found.token_log_probs).all()
    torch.testing.assert_close(
        scored.words.log_probs[found.sampled], found.word_log_probs[found.sampled], atol=1e-4, rtol=0
    )
    torch.testing.assert_close(scored.tokens.log_probs, found.token_log_probs, atol=1e-4, rtol=0)
    for said in (scored.words.log_probs, scored.words.entropies, found.word_log_probs):
        assert not said[~found.written].any()


@pytest.mark.parametrize("at_once", [1, 2, 3])
@pytest.mark.parametrize("drop", [None, torch.tensor([False, True, False, True])])
def test_responses_that_are_scored_in_parts_are_scored_the_same(policy, monkeypatch, at_once, drop):
    found, condition = drawn(policy), policy.encode(PROMPTS)
    train_all(policy.transformer)
    said, gradients = [], []
    for number in (4, at_once):
        monkeypatch.setattr(plan_rollout, "ALIKE", number)
        scored = score_responses(policy, found, condition, image=Sampling(guidance=1.5), drop=drop)
        said.append((scored.words.log_probs, scored.words.entropies, scored.tokens.log_probs, scored.tokens.entropies))
        policy.transformer.zero_grad()
        (scored.words.log_probs.sum() + scored.tokens.log_probs.sum()).backward()
        gradients.append([weight.grad.clone() for weight in policy.transformer.parameters()])
    policy.transformer.requires_grad_(False)
    torch.testing.assert_close(said[0], said[1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(("words", "image"), WAYS, ids=str)
def test_a_response_is_the_same_alone_and_among_others(policy, words, image):
    together = drawn(policy, words, image)
    for row in range(4):
        alone = drawn(policy, words, image, rows=[row])
        assert torch.equal(alone.words[0], together.words[row])
        assert torch.equal(alone.written[0], together.written[row])
        assert torch.equal(alone.tokens[0], together.tokens[row])
        torch.testing.assert_close(alone.word_log_probs[0], together.word_log_probs[row], atol=1e-4, rtol=0)
        torch.testing.assert_close(alone.token_log_probs[0], together.token_log_probs[row], atol=1e-4, rtol=0)


def test_a_response_ends_its_plan_with_the_first_begin_of_image(policy):
    found = drawn(policy)
    for words, written in zip(found.words, found.written, strict=True):
        plan = words[written].tolist()
        assert plan.index(policy.begin_of_image) == len(plan) - 1
        assert set(words[~written].tolist()) <= {policy.begin_of_image}
        assert written.tolist() == sorted(written.tolist(), reverse=True)


class Talkative(ToyPlans):
    """Never ends a plan by itself."""

    def word_logits(self, states):
        logits = super().word_logits(states)
        return logits.masked_fill(torch.arange(logits.shape[-1]) == self.begin_of_image, -50.0)


def test_begin_of_image_is_forced_at_the_limit_and_then_not_sampled():
    policy = Talkative(max_words=4)
    condition = policy.encode(["dark", "very light"])
    found = draw_responses(policy, condition, torch.rand(2, 7), words=Sampling(), image=Sampling())
    assert found.written.all()
    assert found.words[:, 3].tolist() == [policy.begin_of_image] * 2
    assert found.sampled.tolist() == [[True, True, True, False]] * 2
    assert found.word_log_probs[:, 3].tolist() == [0.0, 0.0]
    scored = score_responses(policy, found, condition)
    assert (scored.words.log_probs[:, 3] < -40).all(), "what the policy says of it is scored all the same"


def test_begin_of_image_that_was_drawn_is_sampled_wherever_it_stands(policy):
    found = drawn(policy)
    ended = found.written.sum(dim=1) < MAX_WORDS
    assert ended.any()
    assert torch.equal(found.sampled[ended], found.written[ended])
    assert (found.word_log_probs[found.sampled] < 0).all()


def test_words_that_may_not_stand_in_a_plan_are_never_drawn_and_share_no_probability(policy):
    found = drawn(policy, Sampling(temperature=50.0))
    assert policy.writable[found.words[found.written]].all()
    states = torch.randn(3, 32)
    said = token_log_probs(policy.word_logits(states), Sampling())
    assert (said[:, ~policy.writable] == -torch.inf).all()
    torch.testing.assert_close(said[:, policy.writable].exp().sum(dim=1), torch.ones(3))
    plain = policy.transformer.word_logits(states)[:, policy.writable].log_softmax(dim=-1)
    torch.testing.assert_close(said[:, policy.writable], plain)


def test_plans_that_were_given_are_read_and_not_sampled(policy):
    plans = policy.words_of(["a red star", "", "two big square", "ring"])
    found = drawn(policy, image=Sampling(guidance=2.0), plans=plans)
    assert policy.read_words(found.words, found.written) == ["a red star", "", "two big square", "ring"]
    assert not found.sampled.any()
    assert not found.word_log_probs.any()
    scored = score_responses(policy, found, policy.encode(PROMPTS), image=Sampling(guidance=2.0))
    torch.testing.assert_close(scored.tokens.log_probs, found.token_log_probs, atol=1e-4, rtol=0)
    assert (scored.words.log_probs[found.written] < 0).all(), "their probability can be asked for, as a lesson does"


def test_the_policys_own_plan_given_back_draws_the_same_picture(policy):
    own = drawn(policy, image=Sampling(guidance=2.0))
    again = drawn(policy, image=Sampling(guidance=2.0), plans=(own.words, own.written))
    assert torch.equal(again.tokens, own.tokens)
    torch.testing.assert_close(again.token_log_probs, own.token_log_probs, atol=1e-4, rtol=0)


def test_another_plan_draws_another_picture(policy):
    one, other = (drawn(policy, plans=policy.words_of([plan] * 4)) for plan in ("a red star", "two blue ring"))
    assert not torch.equal(one.token_log_probs, other.token_log_probs)


def test_plans_alone_are_those_of_the_whole_responses(policy):
    uniforms = uniforms_for([(0, row) for row in range(4)], policy.max_words + policy.num_tokens)
    words, written = write_plans(policy, policy.encode(PROMPTS), uniforms, words=Sampling())
    found = drawn(policy)
    assert torch.equal(words, found.words)
    assert torch.equal(written, found.written)


def test_an_empty_plan_is_what_the_direct_policy_draws(policy):
    found = drawn(policy, plans=policy.words_of([""] * 4))
    scored = score_tokens(policy.direct, found.tokens, policy.encode(PROMPTS))
    torch.testing.assert_close(scored.log_probs, found.token_log_probs, atol=1e-4, rtol=0)


def test_dropped_rows_are_foretold_as_guidances_other_half(policy):
    """Guidance of 0 is the other half alone."""
    found, condition = drawn(policy), policy.encode(PROMPTS)
    drop = torch.tensor([True, False, True, False])
    dropped = score_responses(policy, found, condition, drop=drop)
    plain = score_responses(policy, found, condition)
    none = score_responses(policy, found, condition, image=Sampling(guidance=0.0))
    torch.testing.assert_close(dropped.tokens.log_probs[drop], none.tokens.log_probs[drop], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(dropped.tokens.log_probs[~drop], plain.tokens.log_probs[~drop], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(dropped.words.log_probs[~drop], plain.words.log_probs[~drop], atol=1e-5, rtol=1e-5)
    assert not dropped.words.log_probs[drop].any()
    assert not dropped.words.entropies[drop].any()
    everything = score_responses(policy, found, condition, drop=torch.ones(4, dtype=torch.bool))
    assert not everything.words.log_probs.any()


def test_entropies_are_of_the_whole_distribution_by_hand(policy):
    found, condition = drawn(policy, rows=[1]), policy.encode([PROMPTS[1]])
    scored = score_responses(policy, found, condition)
    texts = followed_by(condition, found.words, found.written)
    states = policy.states(texts, found.tokens)[0]
    first = policy.word_logits(states[condition.ids.shape[1] - 1])[policy.writable].softmax(0)
    torch.testing.assert_close(scored.words.entropies[0, 0], -(first * first.log()).sum())
    image = policy.logits(states[texts.ids.shape[1] - 1]).softmax(0)
    torch.testing.assert_close(scored.tokens.entropies[0, 0], -(image * image.log()).sum())


def test_scores_in_small_chunks_are_the_same_with_their_gradients(policy, monkeypatch):
    found, condition = drawn(policy), policy.encode(PROMPTS)
    policy.transformer.requires_grad_(True)
    weights, several = list(policy.transformer.parameters()), []
    try:
        for numbers in (2**22, 100):
            monkeypatch.setattr(token_rollout, "CHUNK_NUMBERS", numbers)
            scored = score_responses(policy, found, condition, image=Sampling(guidance=2.0))
            total = scored.words.log_probs.sum() + scored.words.entropies.sum() + scored.tokens.log_probs.sum()
            several.append((scored.words.log_probs.detach(), *torch.autograd.grad(total, weights)))
    finally:
        policy.transformer.requires_grad_(False)
    for one, other in zip(*several, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_a_plan_takes_no_guidance(policy):
    with pytest.raises(BadConfig, match=r"without guidance \(1\), got 2"):
        drawn(policy, Sampling(guidance=2.0))
    with pytest.raises(BadConfig, match="guidance is for the picture"):
        score_responses(policy, drawn(policy), policy.encode(PROMPTS), words=Sampling(guidance=2.0))
    with pytest.raises(BadConfig, match="guidance is for the picture"):
        PlanSampling(words=Sampling(guidance=2.0))


def test_prompts_and_words_are_joined_with_all_padding_first():
    prompts = Texts(ids=torch.tensor([[0, 5, 6], [7, 8, 9]]), mask=torch.tensor([[False, True, True], [True] * 3]))
    words = torch.tensor([[1, 2, 4, 4], [4, 4, 4, 4]])
    written = torch.tensor([[True, True, True, False], [True, False, False, False]])
    found = followed_by(prompts, words, written)
    assert found.mask.tolist() == [[True] * 5, [False, True, True, True, True]]
    assert [row[mask].tolist() for row, mask in zip(found.ids, found.mask, strict=True)] == [
        [5, 6, 1, 2, 4],
        [7, 8, 9, 4],
    ]
    assert word_places(written, 5)[written].tolist() == [1, 2, 3, 3]
    ended = with_begin(ToyPlans(), prompts)
    assert ended.ids[:, -1].tolist() == [2, 2]
    assert ended.mask[:, -1].all()


def test_what_nobody_drew_is_a_response_for_lessons(policy):
    words, written = policy.words_of(["a red star", "ring"])
    lesson = given(words, written, torch.zeros(2, policy.num_tokens, dtype=torch.int64))
    assert not lesson.sampled.any()
    assert len(lesson) == 2
    scored = score_responses(policy, lesson, policy.encode(PROMPTS[:2]))
    assert (scored.words.log_probs[written] < 0).all()
    both = joined([lesson[:1], lesson[1:]])
    assert isinstance(both, Response)
    assert torch.equal(both.words, lesson.words)
