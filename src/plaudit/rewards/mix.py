"""The weighted sum of rewards, which is a reward itself."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.rewards.normalised import Normalised
from plaudit.rewards.reward import Reward


class WeightedSum:
    """A reward that is the weighted sum of others; keeps the parts for logs and for one backward per part.

    Scores of parts are raw: normalised ones too are logged as their papers report them, and normalised in the sum.
    """

    def __init__(
        self,
        parts: Mapping[str, tuple[float, Reward]],
        *,
        scales: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        """`scales`: where a part's raw scores usually lie, for those of which it is known.

        Raises BadConfig if there is no part, or a weight is not a finite number.
        """
        if not parts:
            raise BadConfig("a sum of rewards needs at least one reward")
        for name, (weight, _) in parts.items():
            if not math.isfinite(weight):
                raise BadConfig(f"the weight of reward {name!r} must be a finite number, got {weight}")
        self.parts, self.scales = dict(parts), dict(scales or {})
        self.differentiable = all(reward.differentiable for _, reward in self.parts.values())

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """The sum (B,), attached to the graph of `images` if every part is differentiable."""
        scores = [weight * reward(images, prompts) for weight, reward in self.parts.values()]
        return torch.stack(scores).sum(dim=0)

    def score_parts(self, images: Tensor, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Each part's own scores (B,), raw: without its weight."""
        return {name: reward(images, prompts) for name, (_, reward) in self.raw_parts().items()}

    def raw_parts(self) -> dict[str, tuple[float, Reward]]:
        """Each part's raw reward, and how much the sum rises with its score."""
        return {
            name: (weight / part.std, part.reward) if isinstance(part, Normalised) else (weight, part)
            for name, (weight, part) in self.parts.items()
        }

    def total(self, scores: Mapping[str, Tensor], groups: Tensor | None = None) -> Tensor:
        """The sum (B,) that raw scores of every part amount to; `groups` (B,) says which prompt each is of."""
        found = []
        for name, (weight, part) in self.parts.items():
            normal = part.scaled(scores[name], groups) if isinstance(part, Normalised) else scores[name]
            found.append(weight * normal)
        return torch.stack(found).sum(dim=0)

    def see(self, scores: Mapping[str, Tensor]) -> None:
        """Let normalised parts learn from raw scores: all of an update's, of all processes."""
        for name, part in self._normalised().items():
            part.see(scores[name])

    def fresh(self) -> "WeightedSum":
        """The same sum with normalised parts as at the start, which stay: one whose numbers can be compared."""
        normal = self._normalised()
        parts = {name: (w, normal[name].fresh() if name in normal else part) for name, (w, part) in self.parts.items()}
        return WeightedSum(parts, scales=self.scales)

    def by_group(self) -> list[str]:
        """The parts that compare images of a prompt, which only a training can."""
        return [name for name, part in self._normalised().items() if part.by == "group"]

    def state(self) -> dict[str, Tensor]:
        """What normalised parts have seen, as tensors."""
        states = {name: part.state() for name, part in self._normalised().items()}
        return {f"{name}.{key}": value for name, state in states.items() for key, value in state.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from such a state."""
        for name, part in self._normalised().items():
            part.load({key: state[f"{name}.{key}"] for key in part.state()})

    def _normalised(self) -> dict[str, Normalised]:
        return {name: part for name, (_, part) in self.parts.items() if isinstance(part, Normalised)}


def as_sum(reward: Reward) -> WeightedSum:
    """The reward as a sum: itself if it is one, else a sum of it alone, under the name "reward"."""
    return reward if isinstance(reward, WeightedSum) else WeightedSum({"reward": (1.0, reward)})
