"""The size of an image's JPEG file: the field's simplest rewards without a gradient (DDPO, Black et al. 2023, 4.2).

Incompressibility is the size in kilobytes (1000 bytes) of the file at quality 95, compressibility minus that size.
"""

import io
from collections.abc import Sequence

import torch
from torch import Tensor

QUALITY = 95
KILOBYTE = 1000


class JpegSize:
    """The file size of an image in kB, times `sign`; blind to prompts. Pillow's encoder with its defaults (4:2:0)."""

    differentiable = False

    def __init__(self, sign: int = 1, *, quality: int = QUALITY) -> None:
        self.sign, self.quality = sign, quality

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        pixels = (images.detach().float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        sizes = [self.sign * file_size(image, self.quality) / KILOBYTE for image in pixels]
        return torch.tensor(sizes, dtype=torch.float32, device=images.device)


def file_size(pixels: object, quality: int) -> int:
    """The JPEG file's bytes of an (H, W, 3) uint8 array."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGB").save(buffer, "JPEG", quality=quality)  # type: ignore[arg-type]
    return buffer.tell()


def jpeg_size(*, sign: int, **_: object) -> JpegSize:
    """A table row's reward; it has no model, so that the device does not matter."""
    return JpegSize(sign)
