"""What every trainer does with gradients: add them up, clip them, step, and average what was learned.

Nothing here knows a method: it sees parameters and their gradients. Gradients may have been accumulated in any number
of backward passes, and on any number of processes.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from plaudit.core.errors import BadConfig
from plaudit.core.team import Team

Decay = Literal["constant", "linear", "cosine"]
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How weights follow their gradients."""

    updates: int
    """over which the rate decays"""
    lr: float
    weight_decay: float = 0.0
    """AdamW's"""
    grad_clip: float = 5.0
    """largest norm of all gradients together"""
    warmup: int = 0
    """updates with a smaller rate than lr, before the first with all of it"""
    decay: Decay = "constant"
    """of the rate, from lr to its share `decay_to`, which the update after the last would have"""
    decay_to: float = 0.0
    ema: float = 0.0
    """how much of the running average an update leaves; 0: no average is kept"""

    def __post_init__(self) -> None:
        for name in ("lr", "grad_clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise BadConfig(f"{name} must be a positive number, got {getattr(self, name)}")
        if not 0 <= self.weight_decay < math.inf:
            raise BadConfig(f"weight_decay must be at least 0, got {self.weight_decay}")
        if self.warmup < 0:
            raise BadConfig(f"warmup must be at least 0 updates, got {self.warmup}")
        if self.decay not in ("constant", "linear", "cosine"):
            raise BadConfig(f"decay is constant, linear or cosine, got {self.decay!r}")
        if not 0 <= self.decay_to <= 1:
            raise BadConfig(f"decay_to is a share of lr between 0 and 1, got {self.decay_to}")
        if not 0 <= self.ema < 1:
            raise BadConfig(f"ema must be at least 0 (no average) and below 1, got {self.ema}")

    def rate(self, update: int) -> float:
        """The learning rate of update number `update`, 0 for the first: no more than the number decides it."""
        if update < self.warmup:
            return self.lr * (update + 1) / (self.warmup + 1)
        place = min(1.0, (update - self.warmup) / max(1, self.updates - self.warmup))
        if self.decay == "linear":
            return self.lr * (1 - (1 - self.decay_to) * place)
        if self.decay == "cosine":
            return self.lr * (self.decay_to + (1 - self.decay_to) * (1 + math.cos(math.pi * place)) / 2)
        return self.lr


class Learner:
    """Parameters in training. For each update: `begin`; `clear`, backward passes and `step` as often as wanted; `end`.

    The running average of the weights (`ema`) begins at the weights as they are given. After n updates it keeps
    min(ema, (1 + n) / (10 + n)) of itself, so that the start is soon forgotten.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], settings: Learning, *, team: Team | None = None) -> None:
        self.parameters, self.settings, self.team = list(parameters), settings, team or Team()
        # With PyTorch's betas, 0.9 and 0.999, as ReasonGen-R1's released script has them for its second stage. For its
        # lessons it has 0.9 and 0.95: ours (plan_sft) differ in that, and remember squared gradients for longer.
        self.optimiser = torch.optim.AdamW(self.parameters, lr=settings.lr, weight_decay=settings.weight_decay)
        self.average = [p.detach().clone() for p in self.parameters] if settings.ema else []
        self._told = False

    def begin(self, update: int) -> None:
        """Take the rate of update number `update`, 0 for the first."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.rate(update)

    @property
    def rate(self) -> float:
        """The one that steps are taken with."""
        return float(self.optimiser.param_groups[0]["lr"])

    def clear(self) -> None:
        """Forget the gradients."""
        self.optimiser.zero_grad(set_to_none=False)

    def step(self) -> float:
        """One step along the sum of all processes' gradients; their norm before the clip.

        A norm that is not finite moves nothing, which is said the first time.
        """
        self.team.add(self._gradients())
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.grad_clip)
        if bool(torch.isfinite(norm)):
            self.optimiser.step()
        else:
            self._tell_of_a_skipped_step()
        return float(norm)

    def end(self, update: int) -> None:
        """Take the weights into the average after update number `update`."""
        kept = min(self.settings.ema, (2 + update) / (11 + update))
        with torch.no_grad():
            for mean, parameter in zip(self.average, self.parameters, strict=False):
                mean.lerp_(parameter, 1 - kept)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """While entered, the weights are their average, if one is kept: for looks and for what is handed out."""
        kept = [parameter.detach().clone() for parameter in self.parameters] if self.average else []
        self._put(self.average)
        try:
            yield
        finally:
            self._put(kept)

    def state(self) -> dict[str, Tensor]:
        """Weights, optimiser and average, as tensors; not copied."""
        tensors: dict[str, Tensor] = {}
        for i, parameter in enumerate(self.parameters):
            tensors[f"weight.{i}"] = parameter.detach()
            for name, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"adam.{i}.{name}"] = value
        return tensors | {f"average.{i}": mean for i, mean in enumerate(self.average)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from such a state."""
        self._put([state[f"weight.{i}"] for i in range(len(self.parameters))])
        for i, mean in enumerate(self.average):
            mean.copy_(state[f"average.{i}"])
        for i, parameter in enumerate(self.parameters):
            kept = {name.split(".", 2)[2]: value for name, value in state.items() if name.startswith(f"adam.{i}.")}
            if kept:
                self.optimiser.state[parameter] = {
                    name: value.clone() if name == "step" else value.to(parameter.device, copy=True)
                    for name, value in kept.items()
                }

    def _put(self, weights: Sequence[Tensor]) -> None:
        """These in place of the weights; none: as they are."""
        with torch.no_grad():
            for parameter, value in zip(self.parameters, weights, strict=False):
                parameter.copy_(value)

    def _tell_of_a_skipped_step(self) -> None:
        """Logged, which reaches stderr by itself: the command line hides Python's warnings."""
        if not self._told and self.team.leads:
            LOG.warning(
                "plaudit: a gradient is not finite, so this step moves no weight; more such steps are not told again"
            )
        self._told = True

    def _gradients(self) -> list[Tensor]:
        """Every parameter's gradient; zeros where this process had nothing to learn from."""
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]
