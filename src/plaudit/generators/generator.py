"""The contracts of generators. A model offers what it can do; a method asks for what it needs."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


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


class Condition(Protocol):
    """What `encode` returns: B prompts as the model reads them. Opaque but for this."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any) -> "Condition":
        """Some of the rows, chosen by a slice, a list of indices or an index tensor."""
        ...
