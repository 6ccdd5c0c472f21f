"""The contract of rewards. To add one, write a class that keeps it and a row in table.py."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Reward(Protocol):
    """Scores images against prompts. Higher is better, always.

    images   (B, 3, H, W), floating point, in [0, 1], any H and W, on any device
    prompts  B strings
    returns  (B,) float32, finite, on the images' device; attached to the graph of `images` if `differentiable`

    A row's score depends on its own image and prompt only. A reward resizes and normalises for itself, moves its
    model to the images' device, and encodes each distinct prompt once (it caches prompt features).
    """

    differentiable: bool

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor: ...
