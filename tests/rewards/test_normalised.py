"""Rewards against their own group: equals say nothing."""

import pytest
import torch

from plaudit.rewards.normalised import by_group


@pytest.mark.parametrize("score", [20.7, -0.1, 1e6 + 0.3, 0.0])
def test_equals_of_a_group_get_nothing_whatever_their_mean_is_rounded_to(score):
    for count in (1, 2, 3, 5, 8, 12):
        assert not by_group(torch.full((2 * count,), score), torch.arange(2 * count) % 2).any()


def test_a_group_of_equals_changes_nothing_in_others():
    scores, groups = torch.tensor([1.0, 20.7, 3.0, 20.7, 20.7]), torch.tensor([7, 4, 7, 4, 4])
    found = by_group(scores, groups)
    assert found.tolist() == [pytest.approx(-1.0), 0.0, pytest.approx(1.0), 0.0, 0.0]
    assert torch.equal(found[[0, 2]], by_group(scores[[0, 2]], groups[[0, 2]]))
