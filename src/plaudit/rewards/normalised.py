"""A reward in units of its own spread, (r - mean) / std, so that weights of different rewards mean the same.

Mean and spread never change within a call, as an image's score is to depend on its image and prompt alone: a training
shows all scores of an update, of all processes, with `see`, and they hold from then on. Before the first, and where
nothing trains, they are those of the reward's typical scale. Normalising by group (each prompt's images against each
other) needs the whole group at once and exists only where a training has it, in `scaled` with `groups`.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.rewards.reward import Reward
from plaudit.rewards.specs import Normalisation

HORIZON = 10_000
"""scores that the running mean remembers: older ones fade"""
EPS = 1e-6
ENDS = ("amin", "amax")


class Normalised:
    """A reward, normalised. Affine in the raw score, so that gradients only change their length."""

    def __init__(
        self, reward: Reward, *, by: Normalisation = "running", scale: tuple[float, float] | None = None
    ) -> None:
        """`scale` is where raw scores usually lie: the start has its middle for mean and a quarter of it for std.

        Without one, the start is mean 0 and std 1.
        """
        low, high = scale or (-2.0, 2.0)
        if not low < high:
            raise BadConfig(f"a reward's scale goes from low to high, got {scale}")
        self.reward, self.by = reward, by
        self.differentiable = reward.differentiable
        self._start = ((low + high) / 2, (high - low) / 4)
        self._count, self._mean, self._squares = 0.0, 0.0, 0.0

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return self.scaled(self.reward(images, prompts))

    @property
    def mean(self) -> float:
        return self._mean if self._seen_enough else self._start[0]

    @property
    def std(self) -> float:
        return math.sqrt(self._squares / self._count) if self._seen_enough else self._start[1]

    @property
    def _seen_enough(self) -> bool:
        """Whether what was seen has a spread to divide by."""
        return self._count > 1 and self._squares / self._count > EPS**2

    def scaled(self, scores: Tensor, groups: Tensor | None = None) -> Tensor:
        """Raw scores (N,) normalised; `groups` (N,) says which belong together, for normalising by group."""
        if self.by == "group" and groups is not None:
            return by_group(scores, groups)
        return (scores - self.mean) / self.std

    def see(self, scores: Tensor) -> None:
        """Learn from raw scores (N,), all finite."""
        values = scores.detach().cpu().double()
        count, mean = len(values), float(values.mean())
        squares, gap = float((values - mean).square().sum()), mean - self._mean
        # Two sets' sums of squares join exactly (Chan et al. 1979); what is older than the horizon weighs less.
        old = min(self._count, max(0.0, float(HORIZON - count)))
        fade = old / self._count if self._count else 0.0
        self._squares = self._squares * fade + squares + gap**2 * old * count / (old + count)
        self._mean += gap * count / (old + count)
        self._count = old + count

    def fresh(self) -> "Normalised":
        """The same reward with mean and spread as at the start, which stay."""
        mean, std = self._start
        return Normalised(self.reward, scale=(mean - 2 * std, mean + 2 * std))

    def state(self) -> dict[str, Tensor]:
        """What was seen, as tensors."""
        return {"seen": torch.tensor([self._count, self._mean, self._squares], dtype=torch.float64)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from such a state."""
        self._count, self._mean, self._squares = state["seen"].tolist()


def by_group(scores: Tensor, groups: Tensor) -> Tensor:
    """Each score (N,) against mean and spread of its own group; 0 in a group of one or of equals."""
    _, place = groups.to(scores.device).unique(return_inverse=True)
    count = torch.bincount(place).to(scores)
    mean = torch.zeros_like(count).index_add(0, place, scores) / count
    # The mean of equals may be off by a rounding, and their spread be no more than that.
    low, high = (torch.zeros_like(count).scatter_reduce(0, place, scores, it, include_self=False) for it in ENDS)
    away = (scores - mean[place]).masked_fill((low == high)[place], 0.0)
    std = (torch.zeros_like(count).index_add(0, place, away.square()) / count).sqrt()
    return away / (std[place] + EPS)
