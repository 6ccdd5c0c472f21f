import pytest
import torch
from toys import Colour, Rounded, Texture

from plaudit.core.errors import BadConfig
from plaudit.rewards.check import check_reward
from plaudit.rewards.mix import WeightedSum, as_sum

IMAGES = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
PROMPTS = ["a", "b", "c"]


def test_the_sum_is_weighted_and_its_parts_are_not():
    mix = WeightedSum({"red": (2.0, Colour(0)), "texture": (-0.5, Texture())})
    parts = mix.score_parts(IMAGES, PROMPTS)
    assert list(parts) == ["red", "texture"]
    torch.testing.assert_close(parts["red"], Colour(0)(IMAGES, PROMPTS))
    torch.testing.assert_close(mix(IMAGES, PROMPTS), 2 * parts["red"] - 0.5 * parts["texture"])
    torch.testing.assert_close(mix(IMAGES, PROMPTS), mix.total(parts))


def test_a_sum_keeps_the_contract_of_a_reward():
    check_reward(WeightedSum({"red": (2.0, Colour(0)), "texture": (0.5, Texture())}))


def test_one_part_without_a_gradient_leaves_the_sum_without():
    assert WeightedSum({"red": (1.0, Colour())}).differentiable
    assert not WeightedSum({"red": (1.0, Colour()), "bytes": (1.0, Rounded())}).differentiable


def test_a_sum_of_nothing_is_refused():
    with pytest.raises(BadConfig, match="at least one reward"):
        WeightedSum({})


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_refused(weight):
    with pytest.raises(BadConfig, match="finite number"):
        WeightedSum({"red": (weight, Colour())})


def test_any_reward_can_be_seen_as_a_sum():
    mix = WeightedSum({"red": (2.0, Colour())})
    assert as_sum(mix) is mix
    torch.testing.assert_close(as_sum(Colour())(IMAGES, PROMPTS), Colour()(IMAGES, PROMPTS))
