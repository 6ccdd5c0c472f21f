"""What importance ratios told while an update was learned from: sums over its actions, on any number of processes."""

import torch
from torch import Tensor

from plaudit.core.team import Team


class RatioSums:
    """Sums over the actions of one update."""

    def __init__(self) -> None:
        self.count, self.outside = 0, 0
        self.squares, self.divergence, self.norm = 0.0, 0.0, 0.0

    def see(self, moved: Tensor, divergence: Tensor) -> None:
        """Log-ratios (B,) in nats and divergences (B,) of B actions."""
        self.count += len(moved)
        self.squares += float(moved.square().sum())
        self.divergence += float(divergence.sum())

    def means(self, team: Team, device: torch.device) -> dict[str, float]:
        """Over all processes."""
        sums = torch.tensor([self.count, self.divergence, self.squares, self.outside], device=device)
        team.add([sums])
        count, divergence, squares, outside = sums.tolist()
        return {
            "kl": divergence / count,
            "moved": 0.5 * squares / count,
            "clipped": outside / count,
            "gradient_norm": self.norm,
        }
