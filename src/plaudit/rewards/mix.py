"""The weighted sum of rewards, which is a reward itself."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.rewards.reward import Reward


class WeightedSum:
    """A reward that is the weighted sum of others; keeps the parts for logs and for one backward per part."""

    def __init__(self, parts: Mapping[str, tuple[float, Reward]]) -> None:
        """Raises BadConfig if there is no part, or a weight is not a finite number."""
        if not parts:
            raise BadConfig("a sum of rewards needs at least one reward")
        for name, (weight, _) in parts.items():
            if not math.isfinite(weight):
                raise BadConfig(f"the weight of reward {name!r} must be a finite number, got {weight}")
        self.parts = dict(parts)
        self.differentiable = all(reward.differentiable for _, reward in self.parts.values())

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """The sum (B,), attached to the graph of `images` if every part is differentiable."""
        scores = [weight * reward(images, prompts) for weight, reward in self.parts.values()]
        return torch.stack(scores).sum(dim=0)

    def score_parts(self, images: Tensor, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Each part's own scores (B,), raw: without its weight."""
        return {name: reward(images, prompts) for name, (_, reward) in self.parts.items()}

    def total(self, scores: Mapping[str, Tensor]) -> Tensor:
        """The sum (B,) that raw scores of every part amount to."""
        return torch.stack([weight * scores[name] for name, (weight, _) in self.parts.items()]).sum(dim=0)


def as_sum(reward: Reward) -> WeightedSum:
    """The reward as a sum: itself if it is one, else a sum of it alone, under the name "reward"."""
    return reward if isinstance(reward, WeightedSum) else WeightedSum({"reward": (1.0, reward)})
