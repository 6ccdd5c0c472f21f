"""Keeping a policy's entropy where it should be: a coefficient of the entropy in the loss, which follows the error.

Without it a policy gradient makes a policy ever surer, and its pictures alike; with a fixed bonus the entropy runs away
in the other direction. LOO-FID's released code (Baran et al. 2026) scales a scheduled bonus by the error, ReasonGen-R1
(Zhang et al. 2025) walks a signed coefficient sinh(psi) by Adam. Ours is a PI controller on psi: the error itself and
its sum over the updates, so that it answers at once and leaves no error behind.
"""

import math

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig


class EntropyController:
    """A signed coefficient: above 0 entropy is a cost, below 0 a good. Fed once per update, with the mean of all."""

    def __init__(self, *, target: float, rate: float, limit: float, at_once: float = 10.0) -> None:
        """`target` in nats; `rate`: how much psi moves in an update per nat of error; `limit`: the coefficient's size.

        `at_once`: how many updates' worth of its error psi answers directly. Raises BadConfig for what cannot be.
        """
        if not 0 < target < math.inf:
            raise BadConfig(f"the entropy's target must be a positive number of nats, got {target}")
        for name, value in (("rate", rate), ("limit", limit), ("at_once", at_once)):
            if not 0 <= value < math.inf:
                raise BadConfig(f"the entropy controller's {name} must be at least 0, got {value}")
        self.target, self.rate, self.limit, self.at_once = target, rate, limit, at_once
        self._sum, self._error = 0.0, 0.0

    @property
    def coefficient(self) -> float:
        """Of the entropy (nats, mean over tokens) in a loss that is minimised."""
        return self._cut(self._sum + self.rate * self.at_once * self._error)

    def see(self, entropy: float) -> None:
        """The entropy of the update that is over, nats; it decides the next one's coefficient."""
        if not math.isfinite(entropy):
            raise ValueError(f"an entropy is a finite number, got {entropy}")
        self._error = entropy - self.target
        # At the limit the sum does not grow on: it would have to shrink again before anything changed.
        self._sum = math.asinh(self._cut(self._sum + self.rate * self._error))

    def state(self) -> dict[str, Tensor]:
        """All it remembers, as tensors for a checkpoint."""
        return {"memory": torch.tensor([self._sum, self._error], dtype=torch.float64)}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        self._sum, self._error = state["memory"].tolist()

    def _cut(self, psi: float) -> float:
        return max(-self.limit, min(self.limit, math.sinh(psi)))
