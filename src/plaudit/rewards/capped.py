"""A cap on a reward, min(r, m): what scores above it gains nothing, so that nothing is gained by hacking on."""

from collections.abc import Sequence

from torch import Tensor

from plaudit.rewards.reward import Reward


class Capped:
    """min(score, maximum). Above the cap no gradient reaches the image: such an image has arrived."""

    def __init__(self, reward: Reward, maximum: float) -> None:
        """`maximum` is on the reward's raw scale."""
        self.reward, self.maximum = reward, maximum
        self.differentiable = reward.differentiable

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return self.reward(images, prompts).clamp(max=self.maximum)
