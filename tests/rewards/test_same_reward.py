import pytest

from plaudit.rewards.same_reward import also_followed, identity


@pytest.mark.parametrize(("one", "other"), [("hps", "pocket-hps"), ("hps:5", "hps:smooth=2"), ("CLIP", "pocket-clip")])
def test_two_names_of_one_reward_are_the_same(one, other):
    assert identity(one) == identity(other)


@pytest.mark.parametrize(("one", "other"), [("hps", "hpsv2.1"), ("hps", "clip"), ("mine:Own", "mine:Other")])
def test_two_rewards_are_not(one, other):
    assert identity(one) != identity(other)


def test_a_witness_that_is_followed_by_another_name_is_none():
    assert also_followed(["imagereward", "pocket-hps:smooth=2"], ["clip", "hps:5"]) == ("pocket-hps:smooth=2", "hps:5")
    assert also_followed(["imagereward"], ["clip", "hps:5"]) is None
