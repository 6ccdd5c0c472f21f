"""Advantages: known answers, and a memory that survives a checkpoint."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plaudit.methods.advantages import (
    GroupScale,
    RunningAdvantages,
    batch_advantages,
    group_advantages,
    shared_scale,
)


def test_a_batch_is_centred_and_scaled() -> None:
    found = batch_advantages(torch.tensor([1.0, 2.0, 3.0]))
    assert found.tolist() == pytest.approx([-math.sqrt(1.5), 0.0, math.sqrt(1.5)], rel=1e-4)


def test_a_group_is_compared_with_its_others() -> None:
    scores = torch.tensor([[1.0, 3.0, 5.0], [10.0, 10.0, 10.0]])
    # 1 against the mean of 3 and 5; 3 against 3; 5 against 2.
    assert group_advantages(scores, scaled=False).tolist() == [[-3.0, 0.0, 3.0], [0.0, 0.0, 0.0]]
    spread = math.sqrt(8 / 3)
    assert group_advantages(scores)[0].tolist() == pytest.approx([-3 / spread, 0, 3 / spread], rel=1e-4)


@given(st.lists(st.floats(-100, 100), min_size=4, max_size=4), st.floats(-1000, 1000))
def test_what_all_of_a_group_gain_changes_nothing(scores: list[float], gain: float) -> None:
    group = torch.tensor([scores], dtype=torch.float64)
    assert torch.allclose(
        group_advantages(group, scaled=False), group_advantages(group + gain, scaled=False), atol=1e-2
    )


def test_a_single_image_has_no_group() -> None:
    with pytest.raises(ValueError, match="at least 2 images"):
        group_advantages(torch.ones(3, 1))


def test_a_prompt_is_compared_with_the_batch_until_it_is_known() -> None:
    running = RunningAdvantages(size=3, min_count=3)
    first = running(torch.tensor([1.0, 3.0]), [0, 1])
    assert torch.allclose(first, batch_advantages(torch.tensor([1.0, 3.0])))
    running(torch.tensor([2.0, 8.0]), [0, 1])
    # Now prompt 0 has 1, 2, 6 and is compared with those; prompt 2 is new.
    found = running(torch.tensor([6.0, 0.0]), [0, 2])
    own = torch.tensor([1.0, 2.0, 6.0])
    assert float(found[0]) == pytest.approx(float((6 - own.mean()) / own.std(correction=0)), rel=1e-4)
    assert float(found[1]) == pytest.approx(-1.0, rel=1e-4)


def test_old_scores_are_forgotten() -> None:
    running = RunningAdvantages(size=2, min_count=1)
    for score in (100.0, 1.0, 3.0):
        found = running(torch.tensor([score]), [7])
    assert float(found[0]) == pytest.approx(1.0, rel=1e-4)


def test_the_memory_survives_a_checkpoint() -> None:
    running = RunningAdvantages(size=3, min_count=2)
    running(torch.tensor([1.0, 2.0, 5.0, 0.5]), [4, 4, 4, 9])
    other = RunningAdvantages(size=3, min_count=2)
    other.load(running.state())
    scores = torch.tensor([3.0, 7.0])
    assert torch.equal(running(scores, [4, 9]), other(scores, [4, 9]))
    empty = RunningAdvantages(size=3, min_count=2)
    empty.load(RunningAdvantages(size=3, min_count=2).state())
    assert torch.isfinite(empty(scores, [4, 9])).all()


EQUALS = [
    torch.full((1, 8), 20.7),
    torch.full((3, 8), 20.7),
    torch.full((2, 12), -0.1),
    torch.full((1, 5), 1e6 + 0.3),
    torch.zeros(2, 3),
]
WAYS = {
    "batch": lambda scores: batch_advantages(scores.flatten()),
    "group": group_advantages,
    "group, unscaled": lambda scores: group_advantages(scores, scaled=False),
    "all groups": shared_scale,
    "usual spread": lambda scores: GroupScale()(scores),
}


@pytest.mark.parametrize("scores", EQUALS, ids=lambda it: f"{it[0, 0]:g} in {len(it)}")
@pytest.mark.parametrize("way", WAYS)
def test_equals_teach_nothing_whatever_their_mean_is_rounded_to(way, scores):
    assert not WAYS[way](scores).any()


def test_a_group_of_equals_changes_nothing_in_others():
    other = torch.tensor([[0.25, 20.7, 3.0, 20.7, 1.0, 1.0, 2.0, 5.5]])
    both = torch.cat([torch.full((1, 8), 20.7), other])
    alone = (other - other.mean(dim=1, keepdim=True)) * 8 / 7
    assert torch.equal(group_advantages(both, scaled=False)[1:], alone)
    assert torch.equal(group_advantages(both)[1:], alone / (other.std(dim=1, keepdim=True, correction=0) + 1e-6))


def test_an_update_of_equals_is_no_usual_spread():
    scale, scores = GroupScale(), torch.tensor([[0.0, 1.0], [0.0, 0.001]])
    scale(torch.full((1, 8), 20.7))
    assert torch.equal(scale(scores), GroupScale()(scores))
