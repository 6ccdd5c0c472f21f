"""What learning from tokens tells of an update, and the sums that it is made from."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from plaudit.core.float64 import float64_device, precise
from plaudit.core.team import Team
from plaudit.generators.token_rollout import Scored


@dataclass(frozen=True, kw_only=True)
class Update:
    """What one update did; numbers are means over its images, or over their tokens."""

    index: int
    queries: int
    """images judged so far"""
    reward: float
    reward_spread: float
    parts: dict[str, float]
    distribution: dict[str, float]
    """how far all pictures so far are from what they should be, such as their FID by the training's own net"""
    equal_groups: float
    """the share of groups whose pictures all have the same reward, and so teach nothing"""
    entropy: float
    """as a share of the codebook's logarithm"""
    entropy_coefficient: float
    """that this update's loss had; below 0 it asks for more entropy"""
    kl: float
    """from the starting policy, nats per token; 0 unless it is asked for"""
    off_policy: float
    """mean size of the difference between a token's log-probability when drawn and when learned, nats: 0 on policy"""
    clipped: float
    """the share of ratios outside the clip"""
    gradient_norm: float
    """of the last step, before the clip"""
    rate: float
    seconds: float
    images: Tensor = field(repr=False)
    """(B, 3, H, W), what was judged; this process's share"""
    prompts: tuple[str, ...] = field(repr=False)

    def metrics(self) -> dict[str, float]:
        """The numbers, for logs."""
        names = (
            "queries", "reward", "reward_spread", "equal_groups", "entropy", "entropy_coefficient", "kl", "off_policy",
            "clipped", "gradient_norm", "rate", "seconds",
        )  # fmt: skip
        parts = {f"reward_{name}": value for name, value in self.parts.items()}
        return {name: getattr(self, name) for name in names} | parts | self.distribution


class TokenSums:
    """Sums over the tokens of one update, and over its ratios."""

    def __init__(self) -> None:
        self.norm = 0.0
        self._sums = torch.zeros(6, dtype=torch.float64)

    def see(self, found: Scored, divergence: Tensor, apart: Tensor) -> None:
        """Of b images: (b, T) each."""
        values = (found.entropies, divergence, apart.abs())
        self._sums[0] += found.entropies.numel()
        self._sums[1:4] += torch.stack([precise(value.detach()).sum().cpu() for value in values])

    def see_ratios(self, moved: Tensor, clip: float) -> None:
        """Log-ratios, of tokens or images."""
        self._sums[4] += moved.numel()
        self._sums[5] += float(((moved.detach().exp() - 1).abs() > clip).sum())

    def means(self, team: Team, device: torch.device) -> dict[str, float]:
        """Over all processes."""
        sums = self._sums.to(float64_device(device))
        team.add([sums])
        count, entropy, kl, off_policy, ratios, outside = sums.tolist()
        return {
            "entropy": entropy / count,
            "kl": kl / count,
            "off_policy": off_policy / count,
            "clipped": outside / ratios,
        }
