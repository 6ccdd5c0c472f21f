"""A reward's mean over several looks: random crops with a little noise, against hacking by fine patterns.

A score is to depend on its image and prompt alone, so the crops and the noise are the same for every image, every place
in a batch and every call: drawn once from (seed, number of the look). What is optimised then stands still from step to
step, and two steps' scores can be compared; fresh looks at every call would give neither.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.core.random_streams import stream
from plaudit.rewards.reward import Reward


class Smoothed:
    """The mean of `looks` scores. Takes as many times the work, and with a gradient the memory."""

    def __init__(
        self, reward: Reward, looks: int = 4, *, smallest_crop: float = 0.9, noise: float = 0.02, seed: int = 0
    ) -> None:
        """smallest_crop: the least share of each side that a look shows; noise: standard deviation, of 0..1.

        Raises BadConfig for values that cannot work.
        """
        if looks < 1:
            raise BadConfig(f"a smoothed reward needs at least 1 look, got {looks}")
        if not 0 < smallest_crop <= 1:
            raise BadConfig(f"smallest_crop must be above 0 and at most 1, got {smallest_crop}")
        if not 0 <= noise < 1:
            raise BadConfig(f"the noise of a look must be at least 0 and below 1, got {noise}")
        self.reward, self.looks = reward, looks
        self.smallest_crop, self.noise, self.seed = smallest_crop, noise, seed
        self.differentiable = reward.differentiable
        self._drawn: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        scores = [self.reward(self.look(images, number), prompts) for number in range(self.looks)]
        return torch.stack(scores).mean(dim=0)

    def look(self, images: Tensor, number: int) -> Tensor:
        """The images (B, 3, H, W) as look `number` shows them: (B, 3, h, w), in [0, 1]."""
        height, width = images.shape[-2:]
        share, down, right = torch.rand(3, generator=stream(self.seed, "smooth", number)).tolist()
        share = self.smallest_crop + (1 - self.smallest_crop) * share
        rows, columns = max(1, round(share * height)), max(1, round(share * width))
        top, left = round(down * (height - rows)), round(right * (width - columns))
        seen = images[..., top : top + rows, left : left + columns]
        return (seen + self._noise(number, rows, columns).to(seen)).clamp(0, 1)

    def _noise(self, number: int, rows: int, columns: int) -> Tensor:
        key = (number, rows, columns)
        if key not in self._drawn:
            # Of other sizes none is kept.
            self._drawn = {old: value for old, value in self._drawn.items() if old[0] != number}
            rng = stream(self.seed, "smooth", number, "noise")
            self._drawn[key] = self.noise * torch.randn(3, rows, columns, generator=rng)
        return self._drawn[key]
