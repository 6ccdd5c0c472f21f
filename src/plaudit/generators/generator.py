"""The contracts of generators. A model offers what it can do; a method asks for what it needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class NoiseGenerator(Protocol):
    """Turns noise into images by a map that gradients can pass, image by image.

    A batch's row depends on its own noise and prompt only. `sample` never decides about gradients: they reach the
    noise and no parameter.
    """

    noise_shape: tuple[int, ...]
    """one image's noise, without the batch"""
    device: torch.device

    def encode(self, prompts: Sequence[str]) -> "Condition":
        """The prompts' conditions, made once per run."""
        ...

    def sample(self, noise: Tensor, condition: "Condition") -> Tensor:
        """Images (B, 3, H, W) in [0, 1] from standard normal noise (B, *noise_shape), float32."""
        ...


@dataclass(frozen=True, kw_only=True)
class Transition:
    """Where a sampler's step goes: a Gaussian over the next latents, one per row."""

    mean: Tensor
    """(B, *noise_shape), float32"""
    spread: Tensor
    """(B,), float32, the standard deviation of every number of a row; 0: nothing is drawn, the step goes to the mean"""


@runtime_checkable
class StepPolicy(Protocol):
    """Draws an image in a few Gaussian steps, whose probabilities a policy gradient can follow.

    A row's transition depends on its own latents, step and prompt only, so that steps and images of a batch may be
    mixed. `step` never decides about gradients: they reach the latents, and whatever part of `denoiser` is trained.
    """

    noise_shape: tuple[int, ...]
    device: torch.device
    num_steps: int
    denoiser: nn.Module
    """the network that takes the steps: the one to train"""

    def encode(self, prompts: Sequence[str]) -> "Condition":
        """The prompts' conditions, made once per run."""
        ...

    def step(self, latents: Tensor, index: Tensor, condition: "Condition") -> Transition:
        """The transition from `latents` (B, *noise_shape) at steps `index` (B,), integers in 0 to num_steps - 1.

        Step 0 starts from standard normal noise; the last step's mean is the clean latents.
        """
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] of clean latents."""
        ...


class Condition(Protocol):
    """What `encode` returns: B prompts as the model reads them. Opaque but for this."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any) -> "Condition":
        """Some of the rows, chosen by a slice, a list of indices or an index tensor."""
        ...
