"""Caps, smoothing, normalisation and the cache: rewards around rewards that keep the contract of one."""

import math

import pytest
import torch
from toys import Colour, Null, Texture

from plaudit.core.errors import BadConfig
from plaudit.rewards.capped import Capped
from plaudit.rewards.check import check_reward
from plaudit.rewards.mix import WeightedSum
from plaudit.rewards.normalised import HORIZON, Normalised, by_group
from plaudit.rewards.smoothed import Smoothed
from plaudit.rewards.table import load_reward, load_rewards


class Pattern:
    """How well an image matches one pattern of single pixels, as a network's strided filter might ask for."""

    differentiable = True

    def __call__(self, images, prompts):
        height, width = images.shape[-2:]
        pattern = ((torch.arange(height)[:, None] + torch.arange(width)) % 2 * 2 - 1).to(images)
        return ((images.mean(dim=1) - 0.5) * pattern).mean(dim=(1, 2))


@pytest.fixture
def images():
    return torch.rand(6, 3, 12, 10, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PLAUDIT_CACHE", str(tmp_path / "cache"))


PROMPTS = ["a", "b", "a", "c", "b", "a"]


@pytest.mark.parametrize("wrap", [lambda r: Capped(r, 9.0), Smoothed, Normalised, lambda r: Normalised(r, by="group")])
@pytest.mark.parametrize("kind", [Colour, Texture])
def test_a_wrapped_reward_keeps_the_contract(wrap, kind):
    check_reward(wrap(kind()))


ALL = "smooth=2:cache:max=1e9:normalise=group"


@pytest.mark.parametrize("options", ["max=1e9", "smooth=2", "cache", "normalise", ALL])
@pytest.mark.usefixtures("cache")
def test_options_of_a_spec_keep_the_contract(options, clip_folder):
    check_reward(load_reward(f"{clip_folder}:{options}"))


def test_a_cap_takes_the_lesser_and_lets_no_gradient_through_above(images):
    raw = Colour()(images, PROMPTS)
    level = float(raw.median())
    leaf = images.clone().requires_grad_()
    capped = Capped(Colour(), level)(leaf, PROMPTS)
    torch.testing.assert_close(capped, torch.minimum(raw, torch.tensor(level)))
    (gradient,) = torch.autograd.grad(capped.sum(), leaf)
    moves = gradient.flatten(1).abs().sum(dim=1) > 0
    assert moves.tolist() == (raw <= level).tolist()
    assert 0 < int(moves.sum()) < len(images)


def test_looks_are_the_same_for_every_image_and_call_and_differ_from_each_other(images):
    smooth = Smoothed(Colour(), 3)
    twice = images[:1].expand(4, -1, -1, -1)
    for number in range(3):
        seen = smooth.look(twice, number)
        assert torch.equal(seen, Smoothed(Texture(), 3).look(twice, number))
        assert torch.equal(seen[0], seen[3])
        assert 0 <= float(seen.min()) < float(seen.max()) <= 1
        assert all(0.9 * side - 1 <= got <= side for got, side in zip(seen.shape[-2:], images.shape[-2:], strict=True))
    big = torch.rand(1, 3, 64, 64)
    shapes = {tuple(smooth.look(big, number).shape) for number in range(3)}
    assert len(shapes) > 1
    assert not torch.equal(smooth.look(big, 0)[..., :50, :50], smooth.look(big, 1)[..., :50, :50])
    assert not torch.equal(Smoothed(Colour(), 3, seed=1).look(images, 0), smooth.look(images, 0))


def test_smoothing_is_the_mean_over_the_looks(images):
    smooth = Smoothed(Texture(), 4)
    wanted = torch.stack([Texture()(smooth.look(images, number), PROMPTS) for number in range(4)]).mean(dim=0)
    torch.testing.assert_close(smooth(images, PROMPTS), wanted)


def test_smoothing_takes_most_of_what_a_fine_pattern_gains():
    """A pattern of single pixels: crops move it against the one that the reward looks for."""
    grid = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    hacked = (0.5 + 0.2 * (grid * 2.0 - 1)).expand(1, 3, 64, 64)
    assert float(Smoothed(Pattern(), 8)(hacked, ["a"])) < 0.6 * float(Pattern()(hacked, ["a"]))


@pytest.mark.parametrize("settings", [{"looks": 0}, {"smallest_crop": 0.0}, {"smallest_crop": 1.5}, {"noise": -0.1}])
def test_looks_that_cannot_be_are_refused(settings):
    with pytest.raises(BadConfig):
        Smoothed(Null(), **settings)


def test_a_normalised_score_is_affine_in_the_raw_one_with_the_scales_middle_and_quarter(images):
    raw = Colour()(images, PROMPTS)
    torch.testing.assert_close(Normalised(Colour(), scale=(0.2, 0.4))(images, PROMPTS), (raw - 0.3) / 0.05)
    torch.testing.assert_close(Normalised(Colour())(images, PROMPTS), raw)


def test_running_mean_and_spread_are_those_of_all_that_was_seen():
    scores = 5 + 3 * torch.randn(1000, generator=torch.Generator().manual_seed(0))
    normal = Normalised(Colour())
    for part in scores.split(7):
        normal.see(part)
    assert normal.mean == pytest.approx(float(scores.double().mean()), rel=1e-9)
    assert normal.std == pytest.approx(float(scores.double().std(correction=0)), rel=1e-9)
    scaled = normal.scaled(scores)
    assert float(scaled.mean()) == pytest.approx(0, abs=1e-5)
    assert float(scaled.std(correction=0)) == pytest.approx(1, abs=1e-5)


def test_old_scores_fade_beyond_the_horizon():
    normal = Normalised(Colour())
    for _ in range(5):
        normal.see(torch.tensor([0.0, 1.0]).repeat(HORIZON // 2))
    for _ in range(30):
        normal.see(torch.tensor([10.0, 12.0]).repeat(HORIZON // 4))
    assert normal.mean == pytest.approx(11.0, abs=1e-2)
    assert normal.std == pytest.approx(1.0, abs=1e-1)


def test_scoring_changes_no_statistics_and_equal_scores_give_no_division_by_zero(images):
    normal = Normalised(Colour(), scale=(0.0, 4.0))
    first = normal(images, PROMPTS)
    assert torch.equal(first, normal(images, PROMPTS))
    normal.see(torch.full((8,), 0.25))
    assert torch.isfinite(normal(images, PROMPTS)).all()
    assert normal.std == 1.0


def test_a_group_is_normalised_by_itself_by_hand():
    scores = torch.tensor([1.0, 10.0, 3.0, 10.0, 7.0])
    groups = torch.tensor([4, 9, 4, 9, 2])
    expected = torch.tensor([-1.0, 0.0, 1.0, 0.0, 0.0])
    torch.testing.assert_close(by_group(scores, groups), expected, atol=1e-5, rtol=0)


def test_state_carries_what_was_seen():
    mix = load_rewards(["compressibility:1:normalise", "incompressibility:2"])
    mix.see({"compressibility:normalise": torch.tensor([-3.0, -5.0]), "incompressibility": torch.tensor([3.0, 5.0])})
    state = mix.state()
    again = load_rewards(["compressibility:1:normalise", "incompressibility:2"])
    again.load(state)
    part = again.parts["compressibility:normalise"][1]
    assert (part.mean, part.std) == (-4.0, 1.0)
    assert list(state) == ["compressibility:normalise.seen"]
    assert load_rewards(["compressibility"]).state() == {}


def test_a_sum_keeps_raw_scores_and_adds_normalised_ones(images):
    normal = Normalised(Colour(), scale=(0.0, 2.0))
    mix = WeightedSum({"n": (3.0, normal), "t": (0.5, Texture())})
    parts = mix.score_parts(images, PROMPTS)
    torch.testing.assert_close(parts["n"], Colour()(images, PROMPTS))
    wanted = 3 * (parts["n"] - 1) / 0.5 + 0.5 * parts["t"]
    torch.testing.assert_close(mix.total(parts), wanted)
    torch.testing.assert_close(mix(images, PROMPTS), wanted)


def test_raw_parts_have_the_sums_slope(images):
    """What noise optimisation follows, one part after the other, is the gradient of the sum."""
    mix = WeightedSum({"n": (3.0, Normalised(Colour(), scale=(0.0, 2.0))), "c": (-1.0, Capped(Texture(), 0.08))})
    leaf = images.clone().requires_grad_()
    (whole,) = torch.autograd.grad(mix(leaf, PROMPTS).sum(), leaf)
    pieces = sum(
        weight * torch.autograd.grad(reward(leaf, PROMPTS).sum(), leaf)[0]
        for weight, reward in mix.raw_parts().values()
    )
    torch.testing.assert_close(whole, pieces)


def test_a_fresh_sum_is_not_moved_by_what_training_sees(images):
    mix = WeightedSum({"n": (3.0, Normalised(Colour(), scale=(0.0, 2.0), by="group"))})
    before = mix(images, PROMPTS)
    mix.see({"n": torch.tensor([5.0, 9.0, 1.0])})
    torch.testing.assert_close(mix.fresh()(images, PROMPTS), before)
    assert not torch.allclose(mix(images, PROMPTS), before)


def test_a_scale_that_goes_nowhere_is_refused():
    with pytest.raises(BadConfig, match="low to high"):
        Normalised(Null(), scale=(1.0, 1.0))


def test_smoothing_comes_before_the_cap_and_normalising_last(clip_folder, images):
    raw = load_reward(str(clip_folder))
    level = float(raw(images, PROMPTS).median())
    found = load_reward(f"{clip_folder}:normalise:max={level}:smooth=2")
    wanted = Smoothed(raw, 2)(images, PROMPTS).clamp(max=level)
    torch.testing.assert_close(found(images, PROMPTS), wanted)
    assert math.isclose(float(found(images, PROMPTS).max()), level, rel_tol=1e-5)
