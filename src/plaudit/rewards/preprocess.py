"""From an image in [0, 1] to what a vision tower reads, with gradients: resize, centre crop, normalise."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
"""per-channel mean of CLIP's training images (Radford et al. 2021, released code); BLIP uses the same"""
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """What one vision tower expects."""

    size: int
    """side of the square it reads, in pixels"""
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    def __call__(self, images: Tensor) -> Tensor:
        """Pixels (B, 3, size, size), normalised, float32, from images (B, 3, H, W) in [0, 1]."""
        return normalise(fit_square(images.float(), self.size), self.mean, self.std)


def fit_square(images: Tensor, size: int) -> Tensor:
    """The short side resized to `size` (antialiased bicubic), then the centre square: (B, 3, size, size).

    An image of that size already is returned as it is. Bicubic overshoot beyond [0, 1] is kept, as published
    rewards do.
    """
    height, width = images.shape[-2:]
    if min(height, width) != size:
        scale = size / min(height, width)
        shape = [max(size, int(height * scale)), max(size, int(width * scale))]
        images = F.interpolate(images, shape, mode="bicubic", antialias=True, align_corners=False)
        height, width = shape
    top, left = round((height - size) / 2), round((width - size) / 2)
    return images[..., top : top + size, left : left + size]


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Each channel less its mean, over its standard deviation."""
    shift = torch.tensor(mean, dtype=images.dtype, device=images.device).view(-1, 1, 1)
    spread = torch.tensor(std, dtype=images.dtype, device=images.device).view(-1, 1, 1)
    return (images - shift) / spread
