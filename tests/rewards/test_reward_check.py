"""The checker is checked with rewards that break the contract, first in the three commonest ways."""

import pytest
import torch
from toys import Colour, Rounded, Texture

from plaudit.core.errors import BrokenContract
from plaudit.rewards.check import check_reward


class OneForAll(Colour):
    """One number for the batch."""

    def __call__(self, images, prompts):
        return super().__call__(images, prompts).mean()


class RoundsToBytes(Colour):
    """Claims a gradient that rounding has killed."""

    def __call__(self, images, prompts):
        return super().__call__((images * 255).round() / 255, prompts)


class RoundsToRealBytes(Colour):
    """Claims a gradient that a change of type has cut off."""

    def __call__(self, images, prompts):
        return super().__call__((images * 255).to(torch.uint8).float() / 255, prompts)


class ReadsTheFirst(Colour):
    def __call__(self, images, prompts):
        return super().__call__(images[:1].expand_as(images), prompts)


class ComparesWithTheBatch(Colour):
    def __call__(self, images, prompts):
        scores = super().__call__(images, prompts)
        return scores - scores.mean()


class AddsThePlace(Colour):
    def __call__(self, images, prompts):
        return super().__call__(images, prompts) + (torch.arange(len(images)) if len(images) > 1 else 0)


class Doubles(Colour):
    def __call__(self, images, prompts):
        return super().__call__(images.double(), prompts)


class Forgets(Colour):
    calls = 0

    def __call__(self, images, prompts):
        self.calls += 1
        return super().__call__(images, prompts) + self.calls


class NotANumber(Colour):
    def __call__(self, images, prompts):
        return super().__call__(images, prompts) / 0


class FailsOnBlack(Colour):
    def __call__(self, images, prompts):
        return images.mean(dim=(1, 2, 3)).log()


class Overwrites(Colour):
    def __call__(self, images, prompts):
        with torch.no_grad():
            images.clamp_(0.2, 0.8)
        return super().__call__(images, prompts)


class InfiniteSlope(Colour):
    def __call__(self, images, prompts):
        return (images - images.detach()).abs().sqrt().mean(dim=(1, 2, 3))


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (OneForAll, "one score per image"),
        (RoundsToBytes, "no gradient reaches the image"),
        (RoundsToRealBytes, "no gradient reaches the image"),
        (ReadsTheFirst, "must not depend on its batch"),
        (ComparesWithTheBatch, "must not depend on its batch"),
        (AddsThePlace, "must not depend on its batch"),
        (Doubles, "must be float32"),
        (Forgets, "must score the same"),
        (NotANumber, "must be finite"),
        (FailsOnBlack, "black, white and saturated"),
        (Overwrites, "must not change the images"),
        (InfiniteSlope, "gradient in the image is not finite"),
    ],
)
def test_a_broken_promise_is_named(broken, complaint):
    with pytest.raises(BrokenContract, match=f"{broken.__name__}: .*{complaint}"):
        check_reward(broken())


@pytest.mark.parametrize("reward", [Colour(), Texture(), Rounded()])
def test_a_sound_reward_passes(reward):
    check_reward(reward)
