"""GRPO on plans and pictures: its gradient by hand, what is never learned, groups that are drawn anew, and learning."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from toy_plans import IMAGE, WORDS, ToyPlans

import plaudit.methods.reasongen as methods_reasongen
from plaudit.core.errors import BadConfig
from plaudit.generators.plan_policy import PlanPolicy
from plaudit.generators.plan_rollout import score_responses
from plaudit.methods.entropy import EntropyController, WalkingController
from plaudit.methods.losses import k3
from plaudit.methods.reasongen import ReasonGen
from plaudit.methods.reasongen_config import ReasonGenConfig

PROMPTS = ["dark", "light grey", "very dark"]
SMALL = ReasonGenConfig(
    updates=3, prompts_per_update=2, images_per_prompt=4, rounds=1, lr=0.02, batch_size=3, steps_per_pass=1,
    entropy_control="none", word_entropy=1.0, token_entropy=1.0, weight_decay=0.0,
)  # fmt: skip


class Light:
    """Wants white, or at least more than half of it."""

    differentiable = False

    def __init__(self, *, hard=False):
        self.hard = hard

    def __call__(self, images, prompts):
        light = images.mean(dim=(1, 2, 3)).float()
        return (light > 0.5).float() if self.hard else light


def trainer(config=SMALL, *, policy=None, reward=None, **named):
    return ReasonGen(policy or ToyPlans(), reward or Light(), PROMPTS, config, **named)


def weights(one):
    return torch.cat([p.detach().flatten() for p in one.policy.transformer.values()])


def gradient(one, batch, advantages):
    """What one pass over the batch would be moved by."""
    one.learner.optimiser.step = lambda: None
    one.learn(batch, advantages, 0)
    return torch.cat([p.grad.flatten() for p in one.policy.transformer.values()])


def by_hand(one, batch, loss_of, **sampling):
    """The gradient of a loss of what the policy says of a batch, words (N, W) and tokens (N, T)."""
    one.policy.transformer.zero_grad()
    found = score_responses(one.policy, batch.response, one.texts[batch.numbers], **sampling)
    loss_of(found).backward()
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in one.policy.transformer.values()]
    return torch.cat([grad.flatten() for grad in grads])


def test_the_toy_keeps_the_contract():
    assert isinstance(ToyPlans(), PlanPolicy)


def _tokens(it, batch, advantages):
    drawn = batch.response.sampled
    count = drawn.sum() + it.tokens.log_probs.numel()
    pull = advantages[:, None]
    return -((pull * it.words.log_probs)[drawn].sum() + (pull * it.tokens.log_probs).sum()) / count


def _images(it, batch, advantages):
    drawn = batch.response.sampled
    lengths = drawn.sum(dim=1) + it.tokens.log_probs.shape[1]
    return -(advantages * ((it.words.log_probs * drawn).sum(1) + it.tokens.log_probs.sum(1)) / lengths).mean()


def _segments(it, batch, advantages):
    drawn = batch.response.sampled
    pull = advantages[:, None]
    return -(pull * it.words.log_probs)[drawn].sum() / drawn.sum() - (pull * it.tokens.log_probs).mean()


@pytest.mark.parametrize("balance", ["tokens", "images", "segments"])
def test_one_step_is_reinforce_on_words_and_tokens(balance):
    one = trainer(replace(SMALL, grad_clip=1e9, balance=balance))
    batch, advantages = one.act(0, 0, 2), torch.linspace(-1, 2, 8)
    assert batch.response.sampled.any()
    found = gradient(one, batch, advantages).clone()
    loss = {"tokens": _tokens, "images": _images, "segments": _segments}[balance]
    expected = by_hand(one, batch, lambda it: loss(it, batch, advantages))
    assert found.abs().max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_words_and_tokens_have_weights_of_their_own():
    one = trainer(replace(SMALL, grad_clip=1e9, word_weight=0.0, token_weight=2.0))
    batch, advantages = one.act(0, 0, 2), torch.linspace(-1, 2, 8)
    found = gradient(one, batch, advantages).clone()
    count = batch.response.sampled.sum() + batch.response.tokens.numel()
    expected = by_hand(one, batch, lambda it: -2 * (advantages[:, None] * it.tokens.log_probs).sum() / count)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_what_the_limit_forced_is_not_learned():
    """Only the words' head sees no token: with every plan cut, a lone end gives it no gradient."""
    policy = ToyPlans(max_words=1)
    one = trainer(replace(SMALL, grad_clip=1e9), policy=policy)
    batch = one.act(0, 0, 2)
    assert (batch.response.words[:, 0] == IMAGE).all()
    assert not batch.response.sampled.any()
    gradient(one, batch, torch.linspace(-1, 2, 8))
    assert policy.transformer["words"].grad.abs().max() == 0
    assert policy.transformer["tokens"].grad.abs().max() > 0


def test_a_forced_end_adds_nothing_to_a_plan_that_was_cut():
    one = trainer(replace(SMALL, grad_clip=1e9, images_per_prompt=16))
    batch = one.act(0, 0, 2)
    cut = batch.response.written.all(dim=1) & ~batch.response.sampled[:, -1]
    assert cut.any()
    advantages = torch.where(cut, 1.0, 0.0)
    found = gradient(one, batch, advantages).clone()
    expected = by_hand(one, batch, lambda it: _tokens(it, batch, advantages))
    with_end = by_hand(
        one, batch, lambda it: _tokens(it, batch, advantages) - (advantages * it.words.log_probs[:, -1]).sum() / 100
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(found, with_end, rtol=1e-2)


@pytest.mark.parametrize("cut", [{"word_top_k": 2}, {"word_top_p": 0.5}], ids=str)
@pytest.mark.parametrize(
    "more", [{}, {"importance_cap": 2.0, "passes": 2, "steps_per_pass": 2}, {"kl_weight": 0.1}], ids=str
)
def test_a_forced_end_that_its_cut_makes_impossible_spoils_no_gradient(cut, more):
    policy = ToyPlans()
    start = copy.deepcopy(policy)
    one = trainer(replace(SMALL, learned="drawn", **cut, **more), policy=policy, start=start)
    batch = one.act(0, 0, 2)
    forced = batch.response.written & ~batch.response.sampled
    assert one._score(policy, batch, torch.arange(8)).words.log_probs[forced].isneginf().any()
    one.asked, before = 0, weights(one)
    assert all(math.isfinite(update.gradient_norm) for update in one.updates())
    assert (weights(one) - before).abs().max() > 0.01


def test_what_its_cut_has_lost_since_it_was_drawn_is_not_learned():
    """Words and tokens outside their cuts stand for those that rounding drops."""
    one = trainer(replace(SMALL, learned="drawn", word_top_k=3, top_k=3, grad_clip=1e9))
    batch, advantages = one.act(0, 0, 2), torch.linspace(-1, 2, 8)
    response = batch.response
    response.words[response.words[:, 0] != IMAGE, 0], response.tokens[:, 2] = WORDS.index("dark"), 0
    scores = one._score(one.policy, batch, torch.arange(8))
    lost = (response.sampled & scores.words.log_probs.isneginf(), scores.tokens.log_probs.isneginf())
    assert all(it.any() for it in lost)
    assert not any(it.all() for it in lost)
    found = gradient(one, batch, advantages).clone()
    count = int(response.sampled.sum()) + response.tokens.numel()

    def loss(it):
        words = torch.where(response.sampled & ~lost[0], it.words.log_probs, 0.0)
        tokens = torch.where(lost[1], 0.0, it.tokens.log_probs)
        return -(advantages * (words.sum(dim=1) + tokens.sum(dim=1))).sum() / count

    expected = by_hand(one, batch, loss, words=one.config.words_sampling(), image=one.config.image_sampling())
    assert found.abs().max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    told = one.learn(batch, advantages, 0)
    assert told["cut_since"] == pytest.approx(sum(int(it.sum()) for it in lost) / count)


def test_a_score_that_is_not_a_number_is_not_passed_over():
    one = trainer()
    with torch.no_grad():
        one.policy.transformer["word"][IMAGE, 0] = math.nan
    batch = trainer().act(0, 0, 2)
    with pytest.raises(ValueError, match="an entropy is a finite number"):
        one.learn(batch, torch.linspace(-1, 2, 8), 0)


def test_the_ratio_is_one_before_anything_is_learned():
    one = trainer(replace(SMALL, steps_per_pass=2))
    batch = one.act(0, 0, 2)
    words, tokens = one._old_log_probs(batch, torch.ones(2, dtype=torch.bool))
    found = one._score(one.policy, batch, torch.arange(8))
    assert (found.words.log_probs - words).abs().max() < 1e-6
    assert (found.tokens.log_probs - tokens).abs().max() < 1e-6
    drawn = batch.response
    assert (words - drawn.word_log_probs)[drawn.sampled].abs().max() < 1e-5, "and what was drawn was as likely"
    assert (tokens - drawn.token_log_probs).abs().max() < 1e-5


def test_a_first_step_tells_its_own_log_probabilities_and_later_steps_have_them_from_before_it(monkeypatch):
    one = trainer(replace(SMALL, steps_per_pass=2, lr=0.1))
    batch = one.act(0, 0, 2)
    expected = one._old_log_probs(batch, torch.ones(2, dtype=torch.bool))
    seen, real = [], one._loss

    def loss(batch, rows, advantages, old, *rest):
        known = ~old[1][rows].isnan().any(dim=1)
        found = real(batch, rows, advantages, old, *rest)
        seen.append((known, rows, [part[rows].clone() for part in old]))
        return found

    monkeypatch.setattr(one, "_loss", loss)
    one.learn(batch, torch.arange(8.0) - 4, 0)
    assert [bool(known.all()) for known, _, _ in seen] == [False] * (len(seen) // 2) + [True] * (len(seen) // 2)
    assert not any(bool(known.any()) for known, _, _ in seen[: len(seen) // 2])
    for _, rows, old in seen:
        for part, whole in zip(old, expected, strict=True):
            torch.testing.assert_close(part, whole[rows], atol=1e-5, rtol=0)


def test_the_clip_takes_the_pessimistic_side():
    one = trainer(replace(SMALL, steps_per_pass=2, clip=0.001, batch_size=100, grad_clip=1e9))
    batch = one.act(0, 0, 2)
    old = one._old_log_probs(batch, torch.ones(2, dtype=torch.bool))
    with torch.no_grad():
        one.policy.transformer["tokens"].mul_(1.5)
        one.policy.transformer["words"].mul_(1.5)
    found = one._score(one.policy, batch, torch.arange(8))
    moved = [found.words.log_probs.detach() - old[0], found.tokens.log_probs.detach() - old[1]]
    drawn = [batch.response.sampled, torch.ones_like(batch.response.tokens, dtype=torch.bool)]
    count = sum(int(mask.sum()) for mask in drawn)
    from plaudit.methods.plan_losses import Counts
    from plaudit.methods.plan_updates import PlanSums

    for sign in (1.0, -1.0):
        one.policy.transformer.zero_grad()
        counts = Counts(words=int(drawn[0].sum()), tokens=drawn[1].numel(), images=8)
        seen = PlanSums()
        one._loss(batch, torch.arange(8), sign * torch.ones(8), old, counts, seen).backward()
        got = torch.cat([p.grad.flatten() for p in one.policy.transformer.values()])

        def expected(it, sign=sign):
            total = 0.0
            for part, before, change, mask in zip((it.words, it.tokens), old, moved, drawn, strict=True):
                inside = mask & ((change.exp() - 1).abs() <= 0.001)
                followed = inside | (mask & (change < 0 if sign > 0 else change > 0))
                total = total - sign * ((part.log_probs - before).exp() * followed)[mask].sum() / count
            return total

        torch.testing.assert_close(got, by_hand(one, batch, expected), rtol=1e-4, atol=1e-6)
        assert seen.means()["clipped"] > 0.5


def test_the_divergence_pulls_back_to_the_start():
    policy = ToyPlans()
    start = copy.deepcopy(policy)
    one = trainer(replace(SMALL, grad_clip=1e9, kl_weight=0.5, balance="images"), policy=policy, start=start)
    with torch.no_grad():
        policy.transformer["tokens"].mul_(1.3)
    batch = one.act(0, 0, 2)
    first = score_responses(start, batch.response, one.texts[batch.numbers])
    found = gradient(one, batch, torch.zeros(8)).clone()

    def loss(it):
        drawn = batch.response.sampled
        lengths = drawn.sum(dim=1) + it.tokens.log_probs.shape[1]
        words = k3(it.words.log_probs, first.words.log_probs.detach()) * drawn
        tokens = k3(it.tokens.log_probs, first.tokens.log_probs.detach())
        return 0.5 * ((words.sum(1) + tokens.sum(1)) / lengths).mean()

    assert found.abs().max() > 1e-3
    torch.testing.assert_close(found, by_hand(one, batch, loss), rtol=1e-4, atol=1e-6)
    assert all(p.grad is None for p in start.transformer.values())


def test_each_entropy_has_its_own_coefficient():
    one = trainer(replace(SMALL, grad_clip=1e9, entropy_control="pi", entropy_rate=0.05, entropy_limit=1.0))
    one.words.see(3.0)
    one.tokens.see(0.2)
    up, down = one.words.coefficient, one.tokens.coefficient
    assert up > 0 > down
    batch = one.act(0, 0, 2)
    found = gradient(one, batch, torch.zeros(8)).clone()
    drawn = batch.response.sampled
    expected = by_hand(one, batch, lambda it: up * it.words.entropies[drawn].mean() + down * it.tokens.entropies.mean())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_the_controllers_keep_entropies_that_rewards_would_take():
    config = replace(SMALL, updates=200, images_per_prompt=16, batch_size=64, lr=0.03)
    free = list(trainer(config).updates())
    held = replace(
        config, entropy_control="pi", entropy_rate=0.1, entropy_limit=2.0, word_entropy=1.2, token_entropy=0.9
    )
    last = list(trainer(held).updates())[-60:]
    assert free[-1].token_entropy < 0.4
    assert sum(one.token_entropy for one in last) / 60 == pytest.approx(0.9, abs=0.12)
    assert sum(one.word_entropy for one in last) / 60 == pytest.approx(1.2, abs=0.2)


@pytest.mark.parametrize(
    ("control", "kind", "limit"),
    [("pi", EntropyController, 0.3), ("published", WalkingController, 0.3), ("none", WalkingController, 0.0)],
)
def test_controllers_are_told_each_segments_entropy_once_a_step(control, kind, limit):
    one = trainer(replace(SMALL, entropy_control=control, entropy_limit=0.3, entropy_rate=9.0, steps_per_pass=2))
    assert type(one.words) is type(one.tokens) is kind
    assert (one.words.limit, one.tokens.target) == (limit, 1.0)
    seen = []
    one.words.see = lambda entropy: seen.append(("words", entropy))
    one.tokens.see = lambda entropy: seen.append(("tokens", entropy))
    update = next(one.updates())
    assert [name for name, _ in seen] == ["words", "tokens"] * 2
    assert (seen[1][1] + seen[3][1]) / 2 == pytest.approx(update.token_entropy, rel=1e-5)


def test_a_policy_learns_to_please():
    one = trainer(replace(SMALL, updates=80, images_per_prompt=16, batch_size=64, lr=0.03))
    found = [update.reward for update in one.updates()]
    assert found[0] < 0.7
    assert found[-1] > 0.95


class Words(ToyPlans):
    """A plan of one word, of which "light" alone makes the picture white; only the head of words is trained."""

    def __init__(self):
        super().__init__(num_tokens=1, vocabulary=2, max_words=2)
        net = self.transformer.requires_grad_(False)
        net["words"].requires_grad_(True)
        for name in ("kept", "tokens"):
            net[name].zero_()
        # Whatever the prompt: without the word the first number of a state is -1, with it +1; black, or white.
        net["word"][IMAGE, 0] = -10.0
        net["kept"][WORDS.index("light"), 0] = 100.0
        net["tokens"][:, 0] = torch.tensor([-20.0, 20.0])


def light_plans(one):
    plans = one.policy.read_words(*_written(one.act(500, 0, 3)))
    return sum(plan == "light" for plan in plans) / len(plans)


def _written(batch):
    return batch.response.words, batch.response.written


@pytest.mark.parametrize("balance", ["tokens", "images", "segments"])
def test_a_word_that_alone_decides_the_reward_is_learned(balance):
    config = replace(SMALL, updates=40, images_per_prompt=16, batch_size=64, lr=0.1, balance=balance)
    one = ReasonGen(Words(), Light(), ["dark", "grey", "very grey"], config)
    before = light_plans(one)
    one.asked = 0
    rewards = [update.reward for update in one.updates()]
    assert before < 0.4
    assert rewards[0] < 0.4
    assert light_plans(one) > 0.95
    assert rewards[-1] > 0.95


def test_words_of_no_weight_are_not_learned():
    one = ReasonGen(Words(), Light(), ["dark", "grey"], replace(SMALL, word_weight=0.0, images_per_prompt=16))
    before = weights(one)
    list(one.updates())
    assert torch.equal(weights(one), before)


def test_groups_that_teach_nothing_are_drawn_anew():
    config = replace(SMALL, rounds=9, images_per_prompt=2)
    one = trainer(config, reward=Light(hard=True))
    batch = one.gather(0)
    groups = batch.scores.view(-1, 2)
    assert batch.told["rounds"] > 1
    assert batch.told["equal_groups"] > 0
    assert batch.told["idle_groups"] == 0
    assert len(groups) == 2
    assert (groups != groups[:, :1]).any(dim=1).all()
    judged = Light(hard=True)(batch.batch.images, ())
    assert torch.equal(judged, batch.scores[batch.batch.rows]), "scores stay with their pictures"


def test_when_rounds_run_out_equal_groups_fill_up():
    class Same(Light):
        def __call__(self, images, prompts):
            return torch.ones(len(images))

    one = trainer(replace(SMALL, rounds=3), reward=Same())
    before = weights(one)
    update = next(one.updates())
    assert (update.rounds, update.equal_groups, update.idle_groups, update.queries) == (3, 1.0, 1.0, 24)
    assert torch.equal(weights(one), before), "and they teach nothing"


def test_a_full_first_round_is_learned_from_as_it_is():
    one = trainer(replace(SMALL, rounds=5))
    batch = one.gather(0)
    again = trainer(SMALL).act(0, 0, 2)
    assert batch.told["rounds"] == 1
    assert torch.equal(batch.batch.response.tokens, again.response.tokens)
    assert torch.equal(batch.batch.numbers, again.numbers)


def test_without_a_plan_pictures_follow_prompts():
    one = trainer(replace(SMALL, plan=False))
    update = next(one.updates())
    assert set(update.plans) == {""}
    assert (update.plan_words, update.word_entropy, update.cut_plans) == (0.0, 0.0, 0.0)


def test_groups_count_by_what_is_at_stake_in_them_if_the_spread_is_the_updates():
    scores = torch.tensor([0.0, 4, 0, 4, 0, 2, 0, 2])
    small = replace(SMALL, prompts_per_update=2, images_per_prompt=4, advantage_clip=9.0)
    found = trainer(replace(small, spread="update")).compare(scores)
    # Against the mean of the others: 4 / 3 of the deviations 2, 2, ... 1, 1; their mean square is 2.5.
    torch.testing.assert_close(found, torch.tensor([-2.0, 2, -2, 2, -1, 1, -1, 1]) / 2.5**0.5, rtol=1e-5, atol=1e-5)
    by_group = trainer(small).compare(scores)
    torch.testing.assert_close(by_group, torch.tensor([-1.0, 1] * 4) * 4 / 3, rtol=1e-5, atol=1e-5)


def test_plans_are_returned_for_reading():
    update = next(trainer(replace(SMALL, images_per_prompt=16)).updates())
    assert len(update.plans) == len(update.prompts) == len(update.images) == 32
    assert {word for plan in update.plans for word in plan.split()} <= {"dark", "light", "grey", "very", "not"}
    assert update.plan_words == pytest.approx(sum(len(plan.split()) for plan in update.plans) / 32)


VARIANTS = [
    {}, {"passes": 2, "steps_per_pass": 2, "balance": "segments"}, {"guidance": 2.0, "top_k": 4},
    {"guidance": 2.0, "learned": "drawn"},
    {"rounds": 3, "entropy_control": "published", "entropy_rate": 0.1, "entropy_limit": 1.0}, {"plan": False},
]  # fmt: skip


@pytest.mark.parametrize("changed", VARIANTS, ids=str)
def test_the_batch_size_changes_nothing(changed):
    found = []
    for size, drawn in ((1, 0), (3, 0), (100, 0), (3, 5), (3, 2)):
        one = trainer(replace(SMALL, batch_size=size, draw_batch_size=drawn, **changed), reward=Light(hard=True))
        metrics = [update.metrics() for update in one.updates()]
        found.append((weights(one), metrics))
    for other, metrics in found[1:]:
        torch.testing.assert_close(other, found[0][0], rtol=1e-4, atol=1e-5)
        for one_update, first in zip(metrics, found[0][1], strict=True):
            for name, value in first.items():
                if name != "seconds":
                    assert one_update[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name


@pytest.mark.parametrize(("drawn", "wanted"), [(0, [3, 3, 2]), (6, [6, 2]), (100, [8])])
def test_as_many_are_drawn_at_once_as_is_said_and_no_more_decoded_than_learned_from(drawn, wanted, monkeypatch):
    sizes, decoded = [], []
    draw = methods_reasongen.draw_responses
    monkeypatch.setattr(
        methods_reasongen, "draw_responses", lambda *one, **named: sizes.append(len(one[2])) or draw(*one, **named)
    )
    one = trainer(replace(SMALL, draw_batch_size=drawn))
    decode = one.policy.decode
    one.policy.decode = lambda tokens: decoded.append(len(tokens)) or decode(tokens)
    one.act(0, 0, 2)
    assert sizes == wanted
    assert sum(decoded) == 8
    assert max(decoded) == 3


def test_stopping_and_resuming_changes_nothing():
    config = replace(
        SMALL, updates=5, rounds=3, entropy_control="published", entropy_rate=0.05, entropy_limit=1.0, ema=0.5, passes=2
    )
    whole, half, resumed = (trainer(config, reward=Light(hard=True)) for _ in range(3))
    list(whole.updates())
    for update in half.updates():
        if update.index == 1:
            break
    resumed.load(half.state())
    list(resumed.updates())
    expected, found = whole.state(), resumed.state()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_how_far_the_learner_is_from_what_drew_is_measured():
    assert next(trainer(SMALL).updates()).off_policy < 1e-5
    assert next(trainer(replace(SMALL, guidance=3.0, learned="drawn")).updates()).off_policy < 1e-5
    assert next(trainer(replace(SMALL, guidance=3.0)).updates()).off_policy > 0.05


def test_importance_weights_count_by_how_likely_the_policy_finds_what_was_drawn():
    one = trainer(replace(SMALL, guidance=3.0, importance_cap=1.5, grad_clip=1e9))
    batch, advantages = one.act(0, 0, 2), torch.linspace(-1, 2, 8)
    found = gradient(one, batch, advantages).clone()

    def loss(it):
        drawn, total = batch.response, 0.0
        for part, behaviour, mask in (
            (it.words, drawn.word_log_probs, drawn.sampled),
            (it.tokens, drawn.token_log_probs, torch.ones_like(drawn.tokens, dtype=torch.bool)),
        ):
            weight = (part.log_probs - behaviour).detach().exp().clamp_max(1.5)
            total = total - (advantages[:, None] * weight * part.log_probs)[mask].sum()
        return total / (drawn.sampled.sum() + drawn.tokens.numel())

    torch.testing.assert_close(found, by_hand(one, batch, loss), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"images_per_prompt": 1}, "a group is at least 2 images"), ({"rounds": 0}, "rounds must be at least 1"),
        ({"clip": 1.5}, "clip must lie between 0 and 1, got 1.5"), ({"balance": "words"}, "balance is one of tokens"),
        ({"entropy_control": "strong"}, "entropy_control is one of published"),
        ({"draw_batch_size": -1}, "draw_batch_size must be at least 0"),
        ({"kl_weight": math.inf}, "kl_weight must be at least 0"), ({"lr": 0.0}, "lr must be a positive number"),
        ({"word_entropy": 0.0}, "target must be a positive number"),
        ({"word_temperature": -1.0}, "temperature must be a positive number"),
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(settings, said):
    with pytest.raises(BadConfig, match=said):
        replace(SMALL, **settings)


def test_a_trainer_that_lacks_something_is_refused():
    with pytest.raises(BadConfig, match="no prompt"):
        ReasonGen(ToyPlans(), Light(), [], SMALL)
    with pytest.raises(BadConfig, match="needs that policy"):
        trainer(replace(SMALL, kl_weight=0.1))
    frozen = ToyPlans()
    frozen.transformer.requires_grad_(False)
    with pytest.raises(BadConfig, match="all frozen"):
        trainer(policy=frozen)
