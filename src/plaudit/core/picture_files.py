"""Reading picture files of every kind as one kind, with a sentence for each way in which that fails."""

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import BadConfig

if TYPE_CHECKING:
    from torch import Tensor

_SEE_THROUGH = ("LA", "P", "PA", "RGBA")
"""Pillow's modes that may be; a palette's colours may each be"""
_WHITES = (1, 255, 65535)
_DAMAGED_EXIF = (SyntaxError, ValueError, KeyError, TypeError, struct.error)


def read_image(path: Path) -> "Tensor":
    """The picture in a file, (3, H, W) float32 in [0, 1], of 8 bits a channel, as `as_seen` has it.

    Raises BadConfig if the file holds no picture, or one that `as_seen` cannot read.
    """
    import numpy as np
    import torch

    with open_picture(path) as picture:
        pixels = np.asarray(as_seen(picture, origin=repr(str(path))), dtype=np.float32) / 255
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def as_seen(picture: Any, *, origin: str) -> Any:
    """A Pillow picture as people see it, in mode RGB. `origin` is what an error calls it.

    A photograph is turned as its camera noted, and what is transparent lies over white. White is 65535 in greys of
    16 bits. Those of 32, whole numbers or fractions, do not say what it is: there it is the first of 1, 255 and 65535
    that none is above. Raises BadConfig for greys of 32 bits that are negative, not finite or above 65535.
    """
    seen = _upright(picture)
    return _over_white(_in_8_bits(seen, origin) if seen.mode.startswith(("I", "F")) else seen)


def open_picture(path: Path) -> Any:
    """The file as Pillow has it, with its pixels read. Raises BadConfig if it holds no picture."""
    from PIL import Image, UnidentifiedImageError

    try:
        picture = Image.open(path)
        picture.load()
    except FileNotFoundError as error:
        raise BadConfig(f"there is no file {str(path)!r}") from error
    except (UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadConfig(f"{str(path)!r} is not an image that can be read") from error
    except OSError as error:
        reason = (error.strerror or "it is damaged or cut short").lower()
        raise BadConfig(f"cannot read the image {str(path)!r}: {reason}") from error
    return picture


def _upright(picture: Any) -> Any:
    """As the camera was held; as the pixels lie, if what it noted is damaged."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(picture)
    except _DAMAGED_EXIF:
        return picture


def _in_8_bits(picture: Any, origin: str) -> Any:
    import numpy as np
    from PIL import Image

    values = np.asarray(picture, dtype=np.float64)
    lowest, highest = values.min(), values.max()
    whites = (65535,) if picture.mode.startswith("I;16") else _WHITES
    white = next((white for white in whites if lowest >= 0 and highest <= white), None)
    if white is None:
        raise BadConfig(
            f"{origin} holds numbers from {lowest:g} to {highest:g}, which is no known range of greys; "
            "save it with 8 bits a channel"
        )
    return Image.fromarray(np.rint(values / white * 255).astype(np.uint8))


def _over_white(picture: Any) -> Any:
    from PIL import Image

    if picture.mode not in _SEE_THROUGH and "transparency" not in picture.info:
        return picture.convert("RGB")
    colours = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")
