"""RLCM's switches: the last step, the average of the weights, threads for rewards, rewards that carry state."""

from dataclasses import replace

import pytest
import torch
from methods.toy_policy import Bright, ToyPolicy

from plaudit.core.errors import BadConfig
from plaudit.methods.rlcm import Rlcm, RlcmConfig
from plaudit.rewards.mix import WeightedSum

PROMPTS = ["a", "bb", "ccc", "dddd"]
SMALL = RlcmConfig(updates=3, prompts_per_update=3, images_per_prompt=2, lr=0.01, batch_size=4)


def trainer(config=SMALL, *, reward=None):
    return Rlcm(ToyPolicy(), reward or Bright(), PROMPTS, config)


def weights(one):
    return one.policy.denoiser[0].detach().clone()


def slopes(one, batch, advantages):
    """Each image's and step's share of the policy gradient, (B, H, 4): A d(log-density)/d(shift), by autograd."""
    rows, steps = torch.cartesian_prod(torch.arange(len(batch.rows)), torch.arange(3)).T
    moved, _ = one._moved(batch, rows, steps)
    shift = one.policy.denoiser[0]
    found = torch.zeros(len(batch.rows), 3, 4)
    for place, (row, step) in enumerate(zip(rows.tolist(), steps.tolist(), strict=True)):
        slope = torch.autograd.grad(moved[place], shift, retain_graph=True)[0]
        found[row, step] = advantages[row] * slope[step]
    return found


def test_the_last_steps_gradient_has_zero_mean():
    """No image shows what is drawn there; so it is noise, while the steps before point to what is rewarded."""
    config = replace(SMALL, keep_last_step=True, prompts_per_update=400, images_per_prompt=2, comparison="batch")
    one = trainer(replace(config, batch_size=1000))
    batch = one.act(0)
    scores, _ = one.judge(batch)
    found = slopes(one, batch, one.compare(scores, batch.numbers))
    errors = found.mean(dim=0) / (found.std(dim=0) / len(found) ** 0.5)
    assert (found[:, 2] != 0).all()
    assert errors[2].abs().max() < 4
    assert errors[0].min() > 4
    assert errors[1].min() > 4


def test_the_switch_changes_what_is_learned():
    found = {}
    for keep in (False, True):
        one = trainer(replace(SMALL, keep_last_step=keep))
        rewards = [update.reward for update in one.updates()]
        found[keep] = (weights(one), rewards[0])
    assert found[False][1] == found[True][1]
    assert found[False][0][2].abs().sum() == 0
    assert found[True][0][2].abs().sum() > 0


@pytest.mark.parametrize("objective", ["ppo", "rebel"])
def test_with_the_last_step_too_the_batch_size_changes_nothing(objective):
    found = []
    for size in (1, 5, 100):
        one = trainer(replace(SMALL, batch_size=size, objective=objective, keep_last_step=True))
        list(one.updates())
        found.append(weights(one))
    assert found[0][2].abs().sum() > 0
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-4, atol=1e-6)


def test_an_average_is_kept_and_goes_on_after_a_stop():
    config = replace(SMALL, updates=6, ema=0.9, warmup=2, decay="cosine")
    whole = trainer(config)
    rates, expected = [], weights(whole)
    for update in whole.updates():
        rates.append(update.rate)
        expected = expected.lerp(weights(whole), 1 - min(0.9, (2 + update.index) / (11 + update.index)))
    assert rates == [config.learning().rate(update) for update in range(6)]
    assert rates[0] < rates[2] > rates[5]
    first, second = trainer(replace(config, updates=3)), trainer(config)
    # The decay is over all updates that there will be.
    first.learner.settings = config.learning()
    list(first.updates())
    second.load(first.state())
    list(second.updates())
    for name, value in whole.state().items():
        assert torch.equal(value, second.state()[name]), name
    with whole.learner.averaged():
        averaged = weights(whole)
    assert not torch.equal(averaged, weights(whole))
    assert torch.equal(averaged, whole.state()["average.0"])
    torch.testing.assert_close(averaged, expected)


def test_an_average_changes_nothing_of_the_training():
    plain, averaging = trainer(), trainer(replace(SMALL, ema=0.9))
    list(plain.updates())
    list(averaging.updates())
    assert torch.equal(weights(plain), weights(averaging))


def test_threads_change_no_result():
    found = []
    for threads in (0, 3):
        one = trainer(replace(SMALL, reward_threads=threads, batch_size=2))
        found.append(([update.reward for update in one.updates()], one.state()))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(value, found[1][1][name]) for name, value in found[0][1].items())


class Dying(Bright):
    """Answers so many times, then no more."""

    def __init__(self, answers):
        self.answers = answers

    def __call__(self, images, prompts):
        self.answers -= 1
        if self.answers < 0:
            raise TimeoutError("timed out")
        return super().__call__(images, prompts)


@pytest.mark.parametrize("threads", [0, 2])
def test_a_reward_that_dies_ends_the_training_in_one_sentence(threads):
    one = trainer(replace(SMALL, reward_threads=threads), reward=WeightedSum({"far": (1.0, Dying(5))}))
    updates = one.updates()
    # Each update asks twice, for four images and for two.
    assert [next(updates).index, next(updates).index] == [0, 1]
    with pytest.raises(BadConfig, match="reward 'far' could not be asked: timed out"):
        next(updates)


def test_a_number_of_threads_is_none_or_some():
    with pytest.raises(BadConfig, match="reward_threads must be at least 0"):
        replace(SMALL, reward_threads=-1)
