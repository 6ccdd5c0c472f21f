"""Reward boards: every reward raw, the headline first, an image for itself."""

import pytest
import torch

from plaudit.core.errors import BadConfig, UnknownName
from plaudit.suites.reward_board import RewardBoard, load_board, names_on
from plaudit.suites.suite import SuitePrompt

PROMPTS = [SuitePrompt(index=at, text="x" * (at + 1), category="all") for at in range(3)]


class Brightness:
    """The mean of an image's pixels."""

    differentiable = True

    def __call__(self, images, prompts):
        return images.float().mean(dim=(1, 2, 3))


class Length:
    """How long the prompt is, and no number for the longest."""

    differentiable = False

    def __init__(self, longest=99):
        self.longest = longest

    def __call__(self, images, prompts):
        return torch.tensor([float("nan") if len(it) == self.longest else -float(len(it)) for it in prompts])


def grey(*levels):
    return torch.stack([torch.full((3, 4, 4), level) for level in levels])


def test_every_reward_is_told_raw_and_the_first_is_the_score():
    board = RewardBoard([("length", Length()), ("brightness", Brightness())])
    opinions = board(grey(0.25, 0.5, 1.0), PROMPTS)
    assert [it.score for it in opinions] == [-1.0, -2.0, -3.0]
    assert [dict(it.parts) for it in opinions] == [
        {"length": -1.0, "brightness": 0.25},
        {"length": -2.0, "brightness": 0.5},
        {"length": -3.0, "brightness": 1.0},
    ]
    assert {it.right for it in opinions} == {None}


def test_an_image_is_scored_for_itself():
    board = RewardBoard([("brightness", Brightness()), ("length", Length())])
    images = grey(0.25, 0.5, 1.0)
    together = board(images, PROMPTS)
    assert [board(images[at : at + 1], PROMPTS[at : at + 1])[0] for at in range(3)] == together


def test_no_graph_is_kept():
    class Watched(Brightness):
        def __call__(self, images, prompts):
            assert not torch.is_grad_enabled()
            return super().__call__(images, prompts)

    RewardBoard([("brightness", Watched())])(grey(0.5).requires_grad_(), PROMPTS[:1])


def test_what_is_no_number_names_the_reward_and_the_prompt():
    board = RewardBoard([("length", Length(longest=2))])
    assert len(board(grey(0.5), PROMPTS[:1])) == 1
    with pytest.raises(BadConfig, match="'length' gave nan for a picture of 'xx'"):
        board(grey(0.5, 0.5, 0.5), PROMPTS)


def test_weights_mean_nothing_and_options_are_kept():
    assert names_on(["jpeg:3", "hps:5:max=0.3", "compressibility"]) == ("jpeg", "hps:max=0.3", "compressibility")
    board = load_board(["compressibility:7", "incompressibility"])
    (opinion,) = board(torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)), PROMPTS[:1])
    assert opinion.score == opinion.parts["compressibility"] == -opinion.parts["incompressibility"] < 0


def test_a_board_needs_rewards_each_once():
    with pytest.raises(BadConfig, match="name one with --reward"):
        names_on([])
    with pytest.raises(BadConfig, match="'hps' is given twice"):
        names_on(["hps", "hps:3"])
    with pytest.raises(UnknownName, match="hps"):
        load_board(["hpz"])
