"""A plan generator that remembers what it wrote: the plan of each picture, by the noise that drew it.

A plan could be written again from its noise, at the price of the first time; and where another batch's rounding tips
the choice of a word, it would be another plan. So what is told of a picture is what was written for it.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from plaudit.generators.plan_generator import PlanGenerator
from plaudit.generators.plan_policy import PlanPolicy, Texts


class ToldPlans:
    """Keeps the NoiseGenerator contract but for gradients, as a PlanGenerator does; no noise may serve two prompts."""

    differentiable = False

    def __init__(self, generator: PlanGenerator) -> None:
        self.generator = generator
        self.noise_shape, self.device = generator.noise_shape, generator.device
        self._told: dict[bytes, str] = {}
        self._last: dict[bytes, str] = {}

    @property
    def policy(self) -> PlanPolicy:
        """The generator's."""
        return self.generator.policy

    def encode(self, prompts: Sequence[str]) -> Texts:
        """As the generator does."""
        return self.generator.encode(prompts)

    def sample(self, noise: Tensor, condition: Any) -> Tensor:
        """The generator's images (B, 3, H, W) of noise (B, W + T); their plans are remembered."""
        drawn = self.generator.draw(noise, condition)
        self._last = dict(zip(map(_key, noise.cpu()), drawn.plans, strict=True))
        self._told |= self._last
        return drawn.images

    def plan_of(self, noise: Tensor) -> str:
        """The plan of the picture that was drawn of a noise (W + T,), on any device; empty if it says nothing.

        Raises KeyError for a noise of which nothing was drawn, or whose plan was forgotten.
        """
        return self._told[_key(noise.cpu())]

    def forget_older(self) -> None:
        """Remember no more than the last call's plans: whoever ends a batch has seen the next one's first pictures."""
        self._told = dict(self._last)


def _key(noise: Tensor) -> bytes:
    """Of a noise on the CPU: the same for the same bits."""
    return hashlib.sha256(noise.detach().contiguous().view(torch.uint8).numpy().tobytes()).digest()
