"""Rewards asked in threads answer what they answer without, in the same order, with the same errors."""

import threading
import time

import pytest
import torch

from plaudit.core.errors import BadConfig
from plaudit.methods.judging import Jury
from plaudit.rewards.mix import WeightedSum


class BlackBox:
    """The brightness of an image, after a while that depends on it; remembers who asked."""

    differentiable = False

    def __init__(self, slowest: float = 0.03) -> None:
        self.slowest, self.asked = slowest, []

    def __call__(self, images, prompts):
        assert not torch.is_grad_enabled()
        self.asked.append(threading.current_thread().name)
        # The first images take longest, so that answers come in the wrong order.
        time.sleep(float(self.slowest * (1 - images.mean())))
        return images.mean(dim=(1, 2, 3)) + torch.tensor([len(prompt) for prompt in prompts])


class Network(BlackBox):
    differentiable = True


IMAGES = torch.linspace(0, 1, 7).view(7, 1, 1, 1).expand(7, 3, 2, 2)
PROMPTS = ["a" * (1 + n % 3) for n in range(7)]


def judged(rewards, threads):
    jury = Jury(rewards, threads=threads)
    pieces = [jury.hand_in(IMAGES[at], [PROMPTS[i] for i in at]) for at in ([0, 1, 2], [3, 4, 5], [6])]
    found = jury.scores(pieces)
    jury.dismiss()
    return found


@pytest.mark.parametrize("threads", [1, 4])
def test_threads_change_no_score(threads):
    parts = {"black": (1.0, BlackBox()), "network": (2.0, Network()), "other": (1.0, BlackBox(0.01))}
    alone, together = judged(WeightedSum(parts), 0), judged(WeightedSum(parts), threads)
    assert list(alone) == list(together) == list(parts)
    assert all(torch.equal(alone[name], together[name]) for name in parts)
    assert torch.equal(alone["black"], IMAGES[:, 0, 0, 0] + torch.tensor([len(prompt) for prompt in PROMPTS]))


def test_black_boxes_alone_are_asked_in_threads():
    black, network = BlackBox(), Network()
    judged(WeightedSum({"black": (1.0, black), "network": (1.0, network)}), 2)
    assert all(name.startswith("reward") for name in black.asked)
    assert set(network.asked) == {threading.current_thread().name}


def test_a_reward_is_at_work_before_all_pieces_are_there():
    begun = threading.Event()

    class Waiting(BlackBox):
        def __call__(self, images, prompts):
            begun.set()
            return images.mean(dim=(1, 2, 3))

    jury = Jury(WeightedSum({"waiting": (1.0, Waiting())}), threads=1)
    first = jury.hand_in(IMAGES[:1], PROMPTS[:1])
    assert begun.wait(timeout=20)
    assert len(jury.scores([first, jury.hand_in(IMAGES[1:], PROMPTS[1:])])["waiting"]) == 7
    jury.dismiss()


class Dead:
    differentiable = False

    def __call__(self, images, prompts):
        raise ConnectionRefusedError(111, "Connection refused")


class OneNumber:
    differentiable = False

    def __call__(self, images, prompts):
        return images.mean()


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize(
    ("reward", "says"),
    [
        (Dead(), "reward 'bad' could not be asked: Connection refused"),
        (OneNumber(), r"reward 'bad' must answer 3 images with as many scores, got a tensor of shape \(\)"),
    ],
)
def test_a_reward_that_fails_is_one_sentence(reward, says, threads):
    with pytest.raises(BadConfig, match=says):
        judged(WeightedSum({"good": (1.0, BlackBox()), "bad": (1.0, reward)}), threads)
