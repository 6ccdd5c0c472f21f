"""Lessons in planning: the loss by hand, what is dropped and held out, and that it is learned."""

from dataclasses import replace

import pytest
import torch
from toy_plans import ToyPlans

from plaudit.core.errors import BadConfig
from plaudit.generators.plan_policy import given
from plaudit.generators.plan_rollout import draw_responses, score_responses
from plaudit.generators.token_policy import Sampling
from plaudit.generators.token_rollout import uniforms_for
from plaudit.methods.plan_sft import Lessons, PlanSft, PlanSftConfig

LESSONS = Lessons(
    prompts=("dark", "light", "very dark", "not dark", "grey") * 2,
    plans=("very dark", "light", "dark dark", "light light", "") * 2,
    tokens=torch.tensor([[0, 0, 0], [4, 4, 4], [0, 1, 0], [4, 3, 4], [2, 2, 2]] * 2),
)
SMALL = PlanSftConfig(updates=3, lessons_per_update=4, held_out_share=0.0, drop=0.0, lr=0.02, warmup=0, batch_size=3)


def trainer(config=SMALL, lessons=LESSONS):
    return PlanSft(ToyPlans(), lessons, config)


def weights(one):
    return torch.cat([p.detach().flatten() for p in one.policy.transformer.values()])


@pytest.mark.parametrize("drop", [0.0, 0.6])
def test_the_loss_is_weighed_cross_entropy_over_words_and_tokens(drop):
    config = replace(SMALL, lessons_per_update=10, drop=drop, grad_clip=1e9)
    one = trainer(config)
    one.learner.optimiser.step = lambda: None
    update = next(one.updates())
    found = torch.cat([p.grad.flatten() for p in one.policy.transformer.values()])
    from plaudit.core.random_streams import stream
    from plaudit.methods.prompt_rounds import in_rounds

    chosen = one.taught[in_rounds(torch.arange(10), 10, seed=0)]
    dropped = torch.rand(10, generator=stream(0, "drop", 0)) < drop
    assert bool(dropped.any()) == (drop > 0)
    policy = ToyPlans()
    words, written = policy.words_of([LESSONS.plans[n] for n in chosen.tolist()])
    texts = policy.encode([LESSONS.prompts[n] for n in chosen.tolist()])
    scored = score_responses(policy, given(words, written, LESSONS.tokens[chosen]), texts, drop=dropped)
    learned = written & ~dropped[:, None]
    count = learned.sum() + LESSONS.tokens.numel()
    loss = -(2 * scored.words.log_probs[learned].sum() + scored.tokens.log_probs.sum()) / count
    loss.backward()
    expected = torch.cat([p.grad.flatten() for p in policy.transformer.values()])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert update.loss == pytest.approx(float(loss.detach()), rel=1e-5)
    assert update.word_loss == pytest.approx(float(-scored.words.log_probs[learned].mean().detach()), rel=1e-5)
    assert update.token_loss == pytest.approx(float(-scored.tokens.log_probs.mean().detach()), rel=1e-5)


def test_a_dropped_lesson_reads_neither_prompt_nor_plan():
    policy = ToyPlans()
    words, written = policy.words_of(["very dark", "light"])
    lesson = given(words, written, torch.tensor([[0, 1, 2], [0, 1, 2]]))
    texts = policy.encode(["dark", "dark"])
    both = torch.tensor([True, True])
    found = score_responses(policy, lesson, texts, drop=both)
    other = score_responses(policy, lesson, policy.encode(["grey", "grey"]), drop=both)
    torch.testing.assert_close(found.tokens.log_probs, other.tokens.log_probs)
    assert found.words.log_probs.abs().max() == 0
    kept = score_responses(policy, lesson, texts)
    assert not torch.allclose(found.tokens.log_probs, kept.tokens.log_probs)


def test_a_policy_learns_to_plan_stop_and_draw():
    one = trainer(replace(SMALL, updates=250, lessons_per_update=10, lr=0.05, drop=0.1))
    losses = [update.loss for update in one.updates()]
    assert losses[-1] < 0.25 * losses[0]
    policy = one.policy
    uniforms = uniforms_for([("drawn", row) for row in range(30)], policy.max_words + policy.num_tokens)
    texts = policy.encode(["dark", "light", "very dark"] * 10)
    drawn = draw_responses(policy, texts, uniforms, words=Sampling(), image=Sampling())
    plans = policy.read_words(drawn.words, drawn.written)
    right = [plan == wanted for plan, wanted in zip(plans, ["very dark", "light", "dark dark"] * 10, strict=True)]
    assert sum(right) >= 18
    ends = drawn.written.sum(dim=1, keepdim=True) - 1
    assert float(drawn.sampled.gather(1, ends).float().mean()) > 0.7, "it stops by itself, and is not cut"


def test_held_out_lessons_are_never_learned_from():
    odd = replace(LESSONS, plans=("not not not", *LESSONS.plans[1:]))
    config = replace(SMALL, held_out_share=0.3, updates=6)
    seen = []
    one = trainer(config, odd)
    kept = one._losses
    one._losses = lambda chosen, dropped: (seen.extend(chosen.tolist()), kept(chosen, dropped))[1]
    list(one.updates())
    assert len(one.held) == 3
    assert not set(seen) & set(one.held.tolist())
    assert set(seen) == set(one.taught.tolist())
    look = one.look()
    assert look["loss"] > 0
    assert set(look) == {"word_loss", "token_loss", "loss"}


def test_a_look_is_the_loss_of_lessons_held_out_under_the_averaged_weights():
    config = replace(SMALL, held_out_share=0.3, updates=6, ema=0.9)
    one = trainer(config)
    list(one.updates())
    with torch.no_grad(), one.learner.averaged():
        policy = one.policy
        words, written = policy.words_of([LESSONS.plans[n] for n in one.held.tolist()])
        texts = policy.encode([LESSONS.prompts[n] for n in one.held.tolist()])
        scored = score_responses(policy, given(words, written, LESSONS.tokens[one.held]), texts)
    before = weights(one)
    look = one.look()
    assert torch.equal(weights(one), before)
    assert look["word_loss"] == pytest.approx(float(-scored.words.log_probs[written].mean()), rel=1e-5)
    assert look["token_loss"] == pytest.approx(float(-scored.tokens.log_probs.mean()), rel=1e-5)


def test_a_look_reads_no_more_lessons_than_a_few_and_none_where_none_is_held_out(monkeypatch):
    assert trainer().look() == {}
    monkeypatch.setattr("plaudit.methods.plan_sft.LOOKED_AT", 2)
    one, seen = trainer(replace(SMALL, held_out_share=0.3)), []
    kept = one._losses
    one._losses = lambda chosen, dropped: (seen.extend(chosen.tolist()), kept(chosen, dropped))[1]
    one.look()
    assert len(seen) == 2
    assert set(seen) < set(one.held.tolist())


@pytest.mark.parametrize("changed", [{}, {"drop": 0.5}, {"held_out_share": 0.2}], ids=str)
def test_the_batch_size_changes_nothing(changed):
    found = []
    for size in (1, 3, 100):
        one = trainer(replace(SMALL, batch_size=size, **changed))
        list(one.updates())
        found.append(weights(one))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-4, atol=1e-5)


def test_stopping_and_resuming_changes_nothing():
    config = replace(SMALL, updates=5, drop=0.3, ema=0.5)
    whole, half, resumed = trainer(config), trainer(config), trainer(config)
    list(whole.updates())
    for update in half.updates():
        if update.index == 1:
            break
    resumed.load(half.state())
    list(resumed.updates())
    assert all(torch.equal(resumed.state()[name], value) for name, value in whole.state().items())


def test_lessons_that_cannot_be_are_refused():
    with pytest.raises(BadConfig, match="got 1 prompts, 0 plans and 1 pictures"):
        Lessons(prompts=("a",), plans=(), tokens=torch.zeros(1, 3, dtype=torch.long))
    with pytest.raises(BadConfig, match="drop is a share"):
        replace(SMALL, drop=1.0)
    with pytest.raises(BadConfig, match="not both 0"):
        replace(SMALL, word_weight=0.0, token_weight=0.0)
    with pytest.raises(BadConfig, match="no lesson to learn from"):
        trainer(lessons=Lessons(prompts=(), plans=(), tokens=torch.zeros(0, 3, dtype=torch.long)))
