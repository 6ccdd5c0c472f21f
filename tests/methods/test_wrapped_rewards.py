"""Normalised, smoothed and capped rewards in the methods: noise optimisation follows them, RLCM learns from them."""

from dataclasses import replace

import pytest
import torch
from methods.toy_policy import Bright, ToyPolicy
from toys import Colour, Painter, Texture

from plaudit.methods.reno import BestSoFar, RenoConfig, optimise_noise
from plaudit.methods.rlcm import Rlcm, RlcmConfig
from plaudit.rewards.capped import Capped
from plaudit.rewards.mix import WeightedSum
from plaudit.rewards.normalised import Normalised, by_group
from plaudit.rewards.smoothed import Smoothed

PROMPTS = ["a red square", "two rings"]
LEARN = RlcmConfig(updates=3, prompts_per_update=3, images_per_prompt=2, lr=0.01, batch_size=4)


class Dark(Bright):
    """Wants black, and says so on a scale a thousand times as long."""

    def __call__(self, images, prompts):
        return 1000 * (1 - super().__call__(images, prompts))


def optimised(reward, **settings):
    config = RenoConfig(steps=6, lr=1.0, **settings)
    best = BestSoFar(PROMPTS, config)
    for step in optimise_noise(Painter(), reward, PROMPTS, config):
        best.see(step)
    return best.results()


def trained(reward, **settings):
    one = Rlcm(ToyPolicy(), reward, ["a", "bb", "ccc"], replace(LEARN, **settings))
    return one, list(one.updates())


def shift(one):
    return one.policy.denoiser[0].detach().clone()


def test_noise_optimisation_follows_a_normalised_reward_as_its_weight_over_its_spread():
    scale = (-0.4, 1.2)
    normal = optimised(WeightedSum({"c": (2.0, Normalised(Colour(), scale=scale)), "t": (1.0, Texture())}))
    plain = optimised(WeightedSum({"c": (2.0 / 0.4, Colour()), "t": (1.0, Texture())}))
    for one, other in zip(normal, plain, strict=True):
        torch.testing.assert_close(one.image, other.image)
        assert one.parts["c"] == pytest.approx(other.parts["c"])
        assert one.total == pytest.approx(other.total - 2 * 0.4 / 0.4)


def test_noise_optimisation_stops_gaining_at_a_cap():
    (free, _), (capped, _) = optimised(Colour()), optimised(Capped(Colour(), -0.9))
    assert free.total > -0.85
    assert capped.total == pytest.approx(-0.9)


def test_noise_optimisation_raises_a_smoothed_reward_whatever_the_batch():
    results = [optimised(Smoothed(Texture(), 3), batch_size=size) for size in (1, 2)]
    for one, other in zip(*results, strict=True):
        assert one.total > one.first_total
        torch.testing.assert_close(one.image, other.image)


def test_training_on_one_reward_normalised_by_group_is_training_on_it():
    plain, _ = trained(Bright())
    normal, updates = trained(WeightedSum({"b": (1.0, Normalised(Bright(), by="group"))}))
    torch.testing.assert_close(shift(normal), shift(plain), rtol=1e-2, atol=1e-4)  # both add EPS to a spread
    assert updates[0].parts["b"] > 0.3  # the log is raw: a group's own mean would be 0


def test_normalising_gives_every_reward_its_weight():
    """Dark's scores are a thousand times Bright's: unnormalised it wins, normalised the one with more weight does."""
    much = {"updates": 12, "prompts_per_update": 8, "images_per_prompt": 4, "lr": 0.05, "batch_size": 64}
    raw, _ = trained(WeightedSum({"b": (2.0, Bright()), "d": (1.0, Dark())}), **much)
    assert shift(raw)[:2].sum() < 0
    for by in ("running", "group"):
        parts = {"b": (2.0, Normalised(Bright(), by=by)), "d": (1.0, Normalised(Dark(), by=by))}
        assert shift(trained(WeightedSum(parts), **much)[0])[:2].sum() > 0, by


def test_the_sum_of_an_update_is_normalised_with_that_updates_scores():
    one = Rlcm(ToyPolicy(), WeightedSum({"d": (1.0, Normalised(Dark()))}), ["a", "bb"], LEARN)
    batch = one.act(0)
    scores, parts = one.judge(batch)
    raw = parts["d"]
    torch.testing.assert_close(scores, (raw - raw.mean()) / raw.std(correction=0), rtol=1e-4, atol=1e-4)


def test_a_group_is_a_prompts_images():
    one = Rlcm(ToyPolicy(), WeightedSum({"d": (1.0, Normalised(Dark(), by="group"))}), ["a", "bb"], LEARN)
    batch = one.act(0)
    scores, parts = one.judge(batch)
    torch.testing.assert_close(scores, by_group(parts["d"], batch.numbers))


def test_stopping_and_going_on_changes_nothing_of_running_normalisation():
    def start(updates):
        parts = {"b": (2.0, Normalised(Bright())), "d": (1.0, Normalised(Dark()))}
        return Rlcm(ToyPolicy(), WeightedSum(parts), ["a", "bb", "ccc"], replace(LEARN, updates=updates))

    whole = start(5)
    list(whole.updates())
    first = start(2)
    list(first.updates())
    second = start(5)
    second.load(first.state())
    rest = list(second.updates())
    assert len(rest) == 3
    assert torch.equal(shift(second), shift(whole))
    assert second.rewards.state()["d.seen"].tolist() == whole.rewards.state()["d.seen"].tolist()
    assert second.rewards.state()["d.seen"][0] == 5 * 6


def test_threads_ask_for_the_same_raw_scores():
    found = [trained(WeightedSum({"d": (1.0, Normalised(Dark()))}), reward_threads=threads)[1] for threads in (0, 2)]
    for one, other in zip(*found, strict=True):
        assert one.parts["d"] == pytest.approx(other.parts["d"], rel=1e-4)
    assert found[0][0].parts["d"] > 100
