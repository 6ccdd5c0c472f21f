"""What keeps trained weights near the pretrained ones: decay towards them, and a limit to how far they drift.

Rewards alone lead a generator out of what its pretrained weights know (R0, Luo et al. 2025, figure 11). The pull is
apart from the optimiser, as AdamW's decay is, but towards the start and not towards 0: theta <- theta - rate * (theta -
theta_0). The drift is ||theta - theta_0|| / ||theta_0||.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from plaudit.generators.denoising import Denoising, Frozen, denoising_of
from plaudit.generators.trained_part import ATTENTION, FEED_FORWARD, LowRank, add_lora, lora_layers, train_all


class Anchor(Protocol):
    """The start that trained weights are held to."""

    def shrink(self, factor: float) -> None:
        """Multiply what the weights have moved by a factor in [0, 1]."""
        ...

    def drift(self) -> float:
        """How far the weights have moved, as a share of the start's own norm."""
        ...


class WeightAnchor:
    """Of weights that are trained themselves."""

    def __init__(self, parameters: Sequence[nn.Parameter], start: Sequence[Tensor]) -> None:
        """`start`: tensors shaped like the parameters, kept and never changed."""
        self.parameters, self.start = list(parameters), list(start)
        self._norm = _norm(self.start)

    def shrink(self, factor: float) -> None:
        """Multiply what the weights have moved by a factor."""
        with torch.no_grad():
            for parameter, start in zip(self.parameters, self.start, strict=True):
                parameter.lerp_(start.to(parameter.dtype), 1 - factor)

    def drift(self) -> float:
        """||theta - theta_0|| / ||theta_0||."""
        with torch.no_grad():
            pairs = zip(self.parameters, self.start, strict=True)
            return _norm([parameter - start for parameter, start in pairs]) / max(self._norm, 1e-12)


class LoraAnchor:
    """Of a LoRA, whose start is to change nothing. To shrink it is to shrink one factor of each product."""

    def __init__(self, layers: Sequence[LowRank]) -> None:
        self.layers = list(layers)
        self._norm = _norm([layer.start for layer in layers])

    def shrink(self, factor: float) -> None:
        """Multiply every layer's change by a factor, exactly."""
        with torch.no_grad():
            for layer in self.layers:
                layer.up.mul_(factor)

    def drift(self) -> float:
        """The norm of all changes over that of the layers' own weights."""
        squares = torch.stack([layer.squared_norm() for layer in self.layers])
        return float(squares.sum().sqrt()) / max(self._norm, 1e-12)


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a training began with."""

    frozen: Denoising
    """the denoiser as it was pretrained"""
    anchor: Anchor
    """holds the trained weights to it"""


def begin(generator: Any, denoising: Denoising, *, rank: int, alpha: float, seed: int) -> Start:
    """Make a LoRA of this rank trainable, or every weight at rank 0; the network as it was, and the hold to it.

    `denoising` is the generator's own. All weights are kept twice, a LoRA is switched off instead.
    """
    network: Any = denoising.denoiser
    if rank:
        add_lora(network, rank=rank, alpha=alpha, seed=seed, targets=ATTENTION + FEED_FORWARD)
        return Start(frozen=Frozen(denoising), anchor=LoraAnchor(lora_layers(network)))
    before = copy.deepcopy(network).requires_grad_(False)
    train_all(network)
    anchor = WeightAnchor(list(network.parameters()), list(before.parameters()))
    return Start(frozen=denoising_of(generator, denoiser=before), anchor=anchor)


def hold(anchor: Anchor, *, rate: float, limit: float) -> float:
    """One step of decay at `rate` (0: none), then back to the drift `limit` (0: none) if it is beyond; the drift."""
    if rate > 0:
        anchor.shrink(max(0.0, 1 - rate))
    drift = anchor.drift()
    if limit > 0 and drift > limit:
        anchor.shrink(limit / drift)
        drift = limit
    return drift


def _norm(tensors: Sequence[Tensor]) -> float:
    return float(torch.stack([tensor.detach().float().square().sum() for tensor in tensors]).sum().sqrt())
