"""AR-GRPO: its gradient by hand, that it learns, and that no batch size or interruption changes a result."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from toy_tokens import Bright, ToyTokens, Wide

import plaudit.methods.ar_grpo as methods_ar_grpo
from plaudit.core.errors import BadConfig
from plaudit.generators.token_rollout import score_tokens
from plaudit.methods.advantages import EPS, GroupScale, group_advantages
from plaudit.methods.ar_grpo import ArGrpo, Judges
from plaudit.methods.ar_grpo_config import ArGrpoConfig
from plaudit.methods.losses import k3
from plaudit.rewards.reward import DistributionReward

PROMPTS = ["a", "to", "the"]
SMALL = ArGrpoConfig(
    updates=3, prompts_per_update=2, images_per_prompt=4, lr=0.02, batch_size=3, entropy_target=0.0,
    distribution_weight=0.0,
)  # fmt: skip


def trainer(config=SMALL, *, policy=None, **named):
    judges = Judges(pictures=named.pop("reward", Bright()), together=named.pop("distribution", None))
    return ArGrpo(policy or ToyTokens(), judges, PROMPTS, config, **named)


def weights(one):
    return torch.cat([p.detach().flatten() for p in one.policy.transformer.values()])


def gradient(one, batch, advantages, coefficient=0.0):
    """What one pass over the batch would be moved by."""
    one.learner.optimiser.step = lambda: None
    one.learn(batch, advantages, coefficient, 0)
    return torch.cat([p.grad.flatten() for p in one.policy.transformer.values()])


def by_hand(one, batch, loss_of, sampling=None):
    """The gradient of the mean over images of a loss of their log-probabilities and entropies (N, T)."""
    one.policy.transformer.zero_grad()
    found = score_tokens(one.policy, batch.drawn.tokens, one.condition[batch.numbers], sampling=sampling)
    loss_of(found).mean().backward()
    return torch.cat([p.grad.flatten() for p in one.policy.transformer.values()])


@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_one_step_is_reinforce(ratio):
    one = trainer(replace(SMALL, grad_clip=1e9, ratio=ratio))
    batch, advantages = one.act(0), torch.linspace(-1, 2, 8)
    found = gradient(one, batch, advantages).clone()
    assert found.abs().max() > 1e-3
    expected = by_hand(one, batch, lambda it: -advantages * it.log_probs.mean(dim=1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_the_ratio_is_one_before_anything_is_learned():
    one = trainer(replace(SMALL, steps_per_pass=2))
    batch = one.act(0)
    moved = one._score(one.policy, batch, torch.arange(8)).log_probs - one._old_log_probs(batch)
    assert moved.exp().sub(1).abs().max() < 1e-6


def test_a_first_pass_of_one_step_tells_what_the_second_compares_with():
    one = trainer(replace(SMALL, passes=2, grad_clip=1e9))
    batch, advantages = one.act(0), torch.linspace(-1, 2, 8)
    with torch.no_grad():
        before = one._score(one.policy, batch, torch.arange(8)).log_probs
    seen = []
    step = one.learner.step
    one.learner.step = lambda: (seen.append(weights(one)), step())[1]
    one.learn(batch, advantages, 0.0, 0)
    assert len(seen) == 2
    second = torch.cat([p.grad.flatten() for p in one.policy.transformer.values()])
    for parameter, values in zip(one.policy.transformer.values(), _split(one, seen[1]), strict=True):
        parameter.data.copy_(values)
    expected = by_hand(
        one, batch,
        lambda it: torch.maximum(
            -advantages[:, None] * (it.log_probs - before).exp(),
            -advantages[:, None] * (it.log_probs - before).exp().clamp(0.8, 1.2),
        ).mean(dim=1),
    )  # fmt: skip
    torch.testing.assert_close(second, expected, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(seen[0], seen[1])


def _split(one, flat):
    parts = flat.split([p.numel() for p in one.policy.transformer.values()])
    return [part.view_as(p) for part, p in zip(parts, one.policy.transformer.values(), strict=True)]


def test_the_clip_takes_the_pessimistic_side():
    """A rewarded token that became likelier beyond the clip is no longer followed; a punished one still is."""
    one = trainer(replace(SMALL, steps_per_pass=2, clip=0.001, batch_size=100))
    batch = one.act(0)
    old = one._old_log_probs(batch)
    with torch.no_grad():
        one.policy.transformer["out"].mul_(1.5)
    moved = one._score(one.policy, batch, torch.arange(8)).log_probs.detach() - old
    assert (moved.exp() - 1).abs().min() > 0.001, "every ratio is outside"
    for sign in (1.0, -1.0):
        found = _gradient_at(one, batch, old, sign * torch.ones(8))
        stopped = moved > 0 if sign > 0 else moved < 0
        expected = by_hand(
            one, batch,
            lambda it, sign=sign, stopped=stopped: (-sign * (it.log_probs - old).exp() * ~stopped).mean(dim=1),
        )  # fmt: skip
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def _gradient_at(one, batch, old, advantages):
    from plaudit.methods.token_updates import TokenSums

    one.policy.transformer.zero_grad()
    (one._loss(batch, torch.arange(8), advantages, old, 0.0, TokenSums()) / 8).backward()
    return torch.cat([p.grad.flatten() for p in one.policy.transformer.values()])


def test_the_entropys_coefficient_reaches_the_gradient():
    one = trainer(replace(SMALL, grad_clip=1e9))
    batch = one.act(0)
    found = gradient(one, batch, torch.zeros(8), coefficient=-0.7).clone()
    expected = by_hand(one, batch, lambda it: -0.7 * it.entropies.mean(dim=1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_the_divergence_pulls_back_to_the_start_token_by_token():
    policy = ToyTokens()
    start = copy.deepcopy(policy)
    one = trainer(replace(SMALL, grad_clip=1e9, kl_weight=0.5), policy=policy, start=start)
    with torch.no_grad():
        policy.transformer["out"].mul_(1.3)
    batch = one.act(0)
    reference = score_tokens(start, batch.drawn.tokens, one.condition[batch.numbers]).log_probs.detach()
    found = gradient(one, batch, torch.zeros(8)).clone()
    expected = by_hand(one, batch, lambda it: 0.5 * k3(it.log_probs, reference).mean(dim=1))
    assert found.abs().max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert all(p.grad is None for p in start.transformer.values())


@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_a_token_that_its_cut_has_lost_since_it_was_drawn_is_not_learned(ratio):
    """One outside its cut stands for one that rounding drops."""
    policy = ToyTokens()
    config = replace(SMALL, grad_clip=1e9, learned="drawn", top_k=3, ratio=ratio, kl_weight=0.5)
    one = trainer(config, policy=policy, start=copy.deepcopy(policy))
    batch, advantages = one.act(0), torch.linspace(-1, 2, 8)
    for token in range(policy.vocabulary):
        batch.drawn.tokens[6, 2] = token
        scores = one._score(policy, batch, torch.arange(8)).log_probs
        if scores[6, 2].isneginf():
            break
    assert scores.isneginf().sum() == 1
    found = gradient(one, batch, advantages).clone()
    expected = by_hand(
        one, batch, lambda it: -advantages * torch.where(scores.isneginf(), 0.0, it.log_probs).mean(dim=1),
        sampling=config.sampling(),
    )  # fmt: skip
    assert found.abs().max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert one.learn(batch, advantages, 0.0, 0)["kl"] == pytest.approx(0, abs=1e-6), "it is the start still"


def test_k3_is_the_divergence_on_average_and_never_below_zero():
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.2, 0.6])
    values = k3(p.log(), q.log())
    assert (values >= 0).all()
    assert float((p * values).sum()) == pytest.approx(float((p * (p / q).log()).sum()), abs=1e-6)


def test_a_policy_learns_to_please():
    one = trainer(replace(SMALL, updates=60, images_per_prompt=16, batch_size=64, lr=0.05))
    found = [update.reward for update in one.updates()]
    assert found[0] < 0.65
    assert found[-1] > 0.9


def test_a_distribution_reward_alone_spreads_the_pictures():
    config = replace(
        SMALL, updates=40, images_per_prompt=16, batch_size=64, lr=0.05, instance_weight=0.0, distribution_weight=1.0
    )
    one = trainer(config, distribution=Wide())
    spreads = [float(update.images.mean(dim=(1, 2, 3)).std()) for update in one.updates()]
    assert isinstance(one.distribution, DistributionReward)
    assert sum(spreads[-5:]) > 1.8 * sum(spreads[:5])


def test_both_kinds_of_advantages_are_made_in_their_groups_and_apart():
    config = replace(SMALL, instance_weight=2.0, distribution_weight=0.5, advantage_clip=1.2)
    one = trainer(config, distribution=Wide())
    scores, together = torch.tensor([0.0, 1, 2, 9, 5, 5, 5, 5]), torch.tensor([4.0, 1, 1, 1, 0, 2, 0, 2])
    found = one.compare(scores, together)
    instance = group_advantages(scores.view(2, 4)).flatten().clamp(-1.2, 1.2)
    shared = GroupScale()(together.view(2, 4)).flatten().clamp(-1.2, 1.2)
    torch.testing.assert_close(found, 2 * instance + 0.5 * shared)
    assert found[4:].tolist() == pytest.approx((0.5 * shared[4:]).tolist()), "a group of equals teaches nothing"


def test_groups_count_by_what_is_at_stake_in_them_if_the_spread_is_the_updates():
    one = trainer(replace(SMALL, instance_weight=2.0, distribution_weight=0.5, spread="update"), distribution=Wide())
    scores, together = torch.tensor([0.0, 4, 0, 4, 0, 2, 0, 2]), torch.tensor([1.0, 1, 1, 1, 0, 2, 0, 2])
    # Against the mean of the others: 4 / 3 of the deviations 2, 2, ... 1, 1; their mean square is 2.5 and 0.5.
    instance = torch.tensor([-2.0, 2, -2, 2, -1, 1, -1, 1]) / 2.5**0.5
    shared = torch.tensor([0.0, 0, 0, 0, -1, 1, -1, 1]) / 0.5**0.5
    torch.testing.assert_close(one.compare(scores, together), 2 * instance + 0.5 * shared, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(one.compare(10 * scores, together), one.compare(scores, together), rtol=1e-5, atol=1e-5)
    assert float(one.compare(torch.ones(8), torch.ones(8)).abs().max()) == 0.0


def test_noise_in_a_group_is_not_made_as_loud_as_news():
    scale = GroupScale(floor=0.1, kept=0.5)
    scores = torch.tensor([[0.0, 1.0, 2.0, 3.0], [0.0, 1e-4, 2e-4, 3e-4]])
    found = scale(scores)
    usual = float(scores.std(dim=1, correction=0).mean())
    torch.testing.assert_close(found[0], group_advantages(scores)[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[1], group_advantages(scores, scaled=False)[1] / (0.1 * usual + EPS))
    assert found[1].abs().max() < 0.01


def test_groups_of_equals_are_counted():
    class Same(Bright):
        def __call__(self, images, prompts):
            return torch.tensor([0.0 if prompt == "a" else float(i) for i, prompt in enumerate(prompts)])

    one = trainer(replace(SMALL, prompts_per_update=3), reward=Same())
    assert next(one.updates()).equal_groups == pytest.approx(1 / 3)


def test_prompts_come_in_rounds_of_all():
    one = trainer(replace(SMALL, prompts_per_update=2))
    seen = torch.cat([one.chosen(update) for update in range(6)]).tolist()
    for lap in range(4):
        assert sorted(seen[3 * lap : 3 * lap + 3]) == [0, 1, 2]
    assert len({tuple(seen[3 * lap : 3 * lap + 3]) for lap in range(4)}) > 1


@pytest.mark.parametrize(
    "changed",
    [
        {}, {"ratio": "sequence", "passes": 2, "steps_per_pass": 2}, {"guidance": 2.0, "top_k": 4},
        {"guidance": 2.0, "learned": "drawn", "passes": 2}, {"distribution_weight": 1.0, "entropy_target": 0.7},
    ],
    ids=str,
)  # fmt: skip
def test_the_batch_size_changes_nothing(changed):
    found = []
    for size, drawn in ((1, 0), (3, 0), (100, 0), (3, 5), (3, 2)):
        one = trainer(replace(SMALL, batch_size=size, draw_batch_size=drawn, **changed), distribution=Wide())
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
    draw = methods_ar_grpo.draw_tokens
    monkeypatch.setattr(methods_ar_grpo, "draw_tokens", lambda *one: sizes.append(len(one[2])) or draw(*one))
    one = trainer(replace(SMALL, draw_batch_size=drawn))
    decode = one.policy.decode
    one.policy.decode = lambda tokens: decoded.append(len(tokens)) or decode(tokens)
    one.act(0)
    assert sizes == wanted
    assert sum(decoded) == 8
    assert max(decoded) == 3


def test_stopping_and_resuming_changes_nothing():
    config = replace(
        SMALL, updates=5, distribution_weight=1.0, entropy_target=0.7, entropy_rate=0.05, ema=0.5, passes=2
    )
    whole = trainer(config, distribution=Wide())
    list(whole.updates())
    half = trainer(config, distribution=Wide())
    for update in half.updates():
        if update.index == 1:
            break
    resumed = trainer(config, distribution=Wide())
    resumed.load(half.state())
    list(resumed.updates())
    expected, found = whole.state(), resumed.state()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_guided_pictures_are_off_policy_unless_their_own_distribution_is_learned():
    plain, guided = SMALL, replace(SMALL, guidance=3.0)
    own = replace(guided, learned="drawn")
    assert (plain.on_policy, guided.on_policy, own.on_policy) == (True, False, True)
    assert next(trainer(plain).updates()).off_policy == 0
    assert next(trainer(own).updates()).off_policy == 0
    assert next(trainer(guided).updates()).off_policy > 0.05


def test_importance_weights_count_tokens_by_how_likely_the_policy_finds_them():
    config = replace(SMALL, guidance=3.0, importance_cap=1.5, grad_clip=1e9)
    one = trainer(config)
    batch, advantages = one.act(0), torch.linspace(-1, 2, 8)
    found = gradient(one, batch, advantages).clone()

    def loss(it):
        weight = (it.log_probs - batch.drawn.log_probs).detach().exp().clamp_max(1.5)
        return -(advantages[:, None] * weight * it.log_probs).mean(dim=1)

    torch.testing.assert_close(found, by_hand(one, batch, loss), rtol=1e-4, atol=1e-6)


def test_the_controller_keeps_the_entropy_that_rewards_would_take():
    config = replace(SMALL, updates=150, images_per_prompt=16, batch_size=64, lr=0.05)
    free = [update.entropy for update in trainer(config).updates()]
    held = trainer(replace(config, entropy_target=0.6, entropy_rate=0.1, entropy_limit=2.0))
    kept = [update.entropy for update in held.updates()]
    assert free[-1] < 0.4
    # Prompts differ in how much there is to choose: it is their mean that is held.
    assert sum(kept[-30:]) / 30 == pytest.approx(0.6, abs=0.05)
    assert held.controller.coefficient < 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"images_per_prompt": 1}, "a group is at least 2 images"),
        ({"clip": 1.5}, "clip must lie between 0 and 1, got 1.5"),
        ({"entropy_target": 1.0}, "entropy_target is a share"),
        ({"instance_weight": 0.0, "distribution_weight": 0.0}, "nothing to follow"),
        ({"kl_weight": math.inf}, "kl_weight must be at least 0"),
        ({"draw_batch_size": -1}, "draw_batch_size must be at least 0"),
        ({"lr": 0.0}, "lr must be a positive number"),
        ({"temperature": -1.0}, "temperature must be a positive number"),
        ({"ratio": "image"}, "ratio is token or sequence, got .image"),
        ({"spread": "image"}, "spread is group or update, got .image"),
        ({"advantage_clip": 0.0}, "advantage_clip must be a positive number, got 0.0"),
        ({"advantage_clip": -1.0}, "advantage_clip must be a positive number, got -1.0"),
        ({"advantage_clip": math.inf}, "advantage_clip must be a positive number, got inf"),
        ({"advantage_clip": math.nan}, "advantage_clip must be a positive number, got nan"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, said):
    with pytest.raises(BadConfig, match=said):
        replace(SMALL, **settings)


def test_a_trainer_that_lacks_something_is_refused():
    with pytest.raises(BadConfig, match="no prompt"):
        ArGrpo(ToyTokens(), Judges(pictures=Bright()), [], SMALL)
    with pytest.raises(BadConfig, match="needs that policy"):
        trainer(replace(SMALL, kl_weight=0.1))
    with pytest.raises(BadConfig, match="no distribution reward"):
        trainer(replace(SMALL, instance_weight=0.0, distribution_weight=1.0))
    frozen = ToyTokens()
    frozen.transformer.requires_grad_(False)
    with pytest.raises(BadConfig, match="all frozen"):
        trainer(policy=frozen)
