"""Keeping a policy's entropy where it should be: a coefficient of the entropy in the loss, which follows the error.

Without it a policy gradient makes a policy ever surer, and its pictures alike; with a fixed bonus the entropy runs away
in the other direction. LOO-FID's released code (Baran et al. 2026) scales a scheduled bonus by the error, ReasonGen-R1
(Zhang et al. 2025) walks a signed coefficient sinh(psi) by Adam: WalkingController. Ours is a PI controller on psi: the
error itself and its sum over the updates, so that it answers at once and leaves no error behind.
"""

import math
from typing import Protocol

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig


class EntropyControl(Protocol):
    """A signed coefficient of the entropy (nats, mean over tokens) in a loss that is minimised."""

    @property
    def coefficient(self) -> float:
        """Above 0 entropy is a cost, below 0 a good."""
        ...

    def see(self, entropy: float) -> None:
        """The entropy that was, nats, over all processes; it decides the next coefficient."""
        ...

    def state(self) -> dict[str, Tensor]:
        """All it remembers, as tensors for a checkpoint."""
        ...

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        ...


class EntropyController:
    """A signed coefficient: above 0 entropy is a cost, below 0 a good. Fed once per update, with the mean of all."""

    def __init__(self, *, target: float, rate: float, limit: float, at_once: float = 10.0) -> None:
        """`target` in nats; `rate`: how much psi moves in an update per nat of error; `limit`: the coefficient's size.

        `at_once`: how many updates' worth of its error psi answers directly. Raises BadConfig for what cannot be.
        """
        _check(target, rate=rate, limit=limit, at_once=at_once)
        self.target, self.rate, self.limit, self.at_once = target, rate, limit, at_once
        self._sum, self._error = 0.0, 0.0

    @property
    def coefficient(self) -> float:
        """Of the entropy (nats, mean over tokens) in a loss that is minimised."""
        return self._cut(self._sum + self.rate * self.at_once * self._error)

    def see(self, entropy: float) -> None:
        """The entropy of the update that is over, nats; it decides the next one's coefficient."""
        self._error = _finite(entropy) - self.target
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


class WalkingController:
    """ReasonGen-R1's rule (its released code): psi, whose sinh is the coefficient, follows Adam on -sinh(psi) error.

    Adam makes steps of about `rate`, however large the error, so that a limit of 0.005 is some hundred steps away.
    Differs from the code: it is fed once per optimiser step with the mean over all processes, not once per
    micro-batch of two images with each process's own, so that at the same rate it walks much more slowly (8 times, with
    128 images a step on 8 processes); and a checkpoint keeps it.
    """

    BETAS, EPS = (0.9, 0.999), 1e-8
    """Adam's as published (Kingma and Ba 2015)"""

    def __init__(self, *, target: float, rate: float = 5e-5, limit: float = 5e-3) -> None:
        """`target` in nats. Raises BadConfig for what cannot be."""
        _check(target, rate=rate, limit=limit)
        self.target, self.rate, self.limit = target, rate, limit
        self._psi, self._mean, self._square, self._steps = 0.0, 0.0, 0.0, 0

    @property
    def coefficient(self) -> float:
        """Of the entropy (nats, mean over tokens) in a loss that is minimised."""
        return math.sinh(self._psi)

    def see(self, entropy: float) -> None:
        """The entropy of the step that is over, nats; it decides the next one's coefficient."""
        gradient = -math.cosh(self._psi) * (_finite(entropy) - self.target)
        first, second = self.BETAS
        self._steps += 1
        self._mean += (1 - first) * (gradient - self._mean)
        self._square += (1 - second) * (gradient**2 - self._square)
        mean = self._mean / (1 - first**self._steps)
        square = self._square / (1 - second**self._steps)
        psi = self._psi - self.rate * mean / (math.sqrt(square) + self.EPS)
        edge = math.asinh(self.limit)
        self._psi = max(-edge, min(edge, psi))

    def state(self) -> dict[str, Tensor]:
        """All it remembers, as tensors for a checkpoint."""
        return {"memory": torch.tensor([self._psi, self._mean, self._square, self._steps], dtype=torch.float64)}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        self._psi, self._mean, self._square, steps = state["memory"].tolist()
        self._steps = int(steps)


def _check(target: float, **sizes: float) -> None:
    if not 0 < target < math.inf:
        raise BadConfig(f"the entropy's target must be a positive number of nats, got {target}")
    for name, value in sizes.items():
        if not 0 <= value < math.inf:
            raise BadConfig(f"the entropy controller's {name} must be at least 0, got {value}")


def _finite(entropy: float) -> float:
    if not math.isfinite(entropy):
        raise ValueError(f"an entropy is a finite number, got {entropy}")
    return entropy
