"""What a run may do to need less memory, and presets by the size of a GPU's memory. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Literal, get_args

from plaudit.core.errors import BadConfig

Offload = Literal["text", "blocks"]
"""what waits on the CPU between its uses: the text encoders, or with them the denoiser's and autoencoder's blocks"""

Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class MemorySettings:
    """How to trade time for memory. All keep gradients exact but `tiling` and `tiny_decoder`, which change images."""

    checkpointing: bool = True
    """recompute activations of denoiser and decoder in the backward pass"""
    slicing: bool = False
    """decode image by image inside a batch, each one's activations recomputed"""
    tiling: int | None = None
    """decode in overlapping tiles of this many pixels a side; larger images are then slightly different"""
    tiny_decoder: str | None = None
    """folder of an AutoencoderTiny that decodes where gradients are wanted; the full decoder draws what is kept"""
    offload: Offload | None = None
    """what waits on the CPU between its uses: text (encoders), or blocks (of all networks)"""
    dtype: Precision | None = None
    """the networks' precision, chosen when they are loaded; left out: the device's own"""

    def __post_init__(self) -> None:
        if self.tiling is not None and self.tiling < 1:
            raise BadConfig(f"tiling is the side of a tile in pixels, at least 1, got {self.tiling}")
        for name, known in (("offload", get_args(Offload)), ("dtype", get_args(Precision))):
            given = getattr(self, name)
            if given is not None and given not in known:
                raise BadConfig(f"{name} must be {', '.join(known)} or left out, got {given!r}")


PRESETS = {
    8: MemorySettings(slicing=True, tiling=512, offload="blocks"),
    16: MemorySettings(slicing=True, tiling=512, offload="text"),
    24: MemorySettings(slicing=True, offload="text"),
    48: MemorySettings(slicing=True, offload="text"),
    80: MemorySettings(),
}
"""by a GPU's memory in gigabytes"""


def for_gigabytes(gigabytes: float) -> MemorySettings:
    """The preset of the largest card that has no more memory. Raises BadConfig below the smallest."""
    fitting = [size for size in PRESETS if size <= gigabytes]
    if not fitting:
        raise BadConfig(f"the presets are for {', '.join(map(str, PRESETS))} GB of memory, got {gigabytes:g} GB")
    return PRESETS[max(fitting)]
