import pytest
import torch
from toys import Painter

from plaudit.core.errors import BrokenContract
from plaudit.generators.check import check_generator


class NoGradient(Painter):
    @torch.no_grad()
    def sample(self, noise, condition):
        return super().sample(noise, condition)


class Trainable(Painter):
    def __init__(self):
        super().__init__()
        self.mix = torch.nn.Parameter(self.mix)


class BatchNormalised(Painter):
    def sample(self, noise, condition):
        images = super().sample(noise, condition)
        return torch.sigmoid(images - images.mean(dim=0, keepdim=True))


class LeaksASlope(Painter):
    """Its images are right, its gradients are mixed."""

    def sample(self, noise, condition):
        images = super().sample(noise, condition)
        mean = images.mean(dim=0, keepdim=True)
        return images + mean - mean.detach()


class OutOfRange(Painter):
    def sample(self, noise, condition):
        return super().sample(noise, condition) * 2 - 1


class AddsNoise(Painter):
    def sample(self, noise, condition):
        return super().sample(noise, condition) * 0.9 + 0.1 * torch.rand(1)


class IgnoresEverything(Painter):
    def sample(self, noise, condition):
        return super().sample(noise * 0 + 1e-9 * noise, type(condition)(condition.values * 0))


class ForgetsPrompts(Painter):
    def encode(self, prompts):
        return super().encode(prompts[:1])


class Overwrites(Painter):
    def sample(self, noise, condition):
        with torch.no_grad():
            noise /= 2
        return super().sample(noise, condition)


class NotANumber(Painter):
    def sample(self, noise, condition):
        return super().sample(noise, condition) / 0 * 0


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (NoGradient, "no gradient reaches the noise"),
        (Trainable, "gradients reach its parameters"),
        (BatchNormalised, "must not depend on its batch"),
        (LeaksASlope, "reaches the noise of other images"),
        (OutOfRange, r"must lie in \[0, 1\]"),
        (AddsNoise, "two calls differ"),
        (IgnoresEverything, "three times the same image"),
        (ForgetsPrompts, "one row per prompt"),
        (Overwrites, "must not change the noise"),
        (NotANumber, "must be finite"),
    ],
)
def test_a_broken_promise_is_named(broken, complaint):
    with pytest.raises(BrokenContract, match=f"{broken.__name__}: .*{complaint}"):
        check_generator(broken())


def test_a_sound_generator_passes():
    check_generator(Painter())
