"""From an image in [0, 1] to what a vision tower reads, with gradients: resize, make it square, normalise.

The published rewards do this with torchvision or with transformers, each with its own idea of half a pixel. Here it is
plain torch, the same on every machine. Their path over bytes (Pillow rounds to whole bytes after each direction) is
less than half a byte away on average.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
"""per-channel mean of CLIP's training images (Radford et al. 2021, released code); BLIP uses the same"""
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

Fit = Literal["crop", "crop-down", "pad"]
"""how any image becomes a square

"crop": the short side fits and the centre is kept; half a pixel of margin is rounded to even, as torchvision does.
"crop-down": the same, but half a pixel is rounded down, as transformers' image processors do.
"pad": the long side fits and the rest is black, half of it before and half after, as HPSv2 does.
"""


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """What one vision tower expects."""

    size: int
    """side of the square it reads, in pixels"""
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    fit: Fit = "crop"

    def __call__(self, images: Tensor) -> Tensor:
        """Pixels (B, 3, size, size), normalised, float32, from images (B, 3, H, W) in [0, 1]."""
        images = images.float()
        square = pad_square(images, self.size) if self.fit == "pad" else fit_square(images, self.size, fit=self.fit)
        return normalise(square, self.mean, self.std)


def fit_square(images: Tensor, size: int, *, fit: Fit = "crop") -> Tensor:
    """The short side resized to `size` (antialiased bicubic), then the centre square: (B, 3, size, size).

    An image of that size already is returned as it is. Bicubic overshoot beyond [0, 1] is kept, as published
    rewards do.
    """
    height, width = images.shape[-2:]
    short = min(height, width)
    if short != size:
        # In whole numbers: 224 / 37 * 74 is a hair less than 448.
        images = resize(images, size * height // short, size * width // short)
        height, width = images.shape[-2:]
    top, left = (_half(margin, fit=fit) for margin in (height - size, width - size))
    return images[..., top : top + size, left : left + size]


def pad_square(images: Tensor, size: int) -> Tensor:
    """The long side resized to `size` (antialiased bicubic), black around the rest: (B, 3, size, size)."""
    height, width = images.shape[-2:]
    long = max(height, width)
    if long != size:
        # Extremely long images keep at least one row of pixels.
        images = resize(images, max(1, round(size * height / long)), max(1, round(size * width / long)))
        height, width = images.shape[-2:]
    above, left = (size - height) // 2, (size - width) // 2
    return F.pad(images, (left, size - width - left, above, size - height - above))


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Images (B, 3, height, width), antialiased bicubic."""
    return F.interpolate(images, (height, width), mode="bicubic", antialias=True, align_corners=False)


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Each channel less its mean, over its standard deviation."""
    shift = torch.tensor(mean, dtype=images.dtype, device=images.device).view(-1, 1, 1)
    spread = torch.tensor(std, dtype=images.dtype, device=images.device).view(-1, 1, 1)
    return (images - shift) / spread


def _half(margin: int, *, fit: Fit) -> int:
    return margin // 2 if fit == "crop-down" else round(margin / 2)
