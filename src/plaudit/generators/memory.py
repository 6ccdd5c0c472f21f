"""The door to everything that saves memory: a generator, and settings that say how."""

from typing import Any, cast

import torch

from plaudit.core.devices import has_fast_bfloat16
from plaudit.core.errors import BadConfig
from plaudit.generators.decoding import LatentGenerator, slice_decoding, tile_decoding, use_tiny_decoder
from plaudit.generators.generator import NoiseGenerator
from plaudit.generators.memory_settings import MemorySettings
from plaudit.generators.offloading import (
    move_generator,
    offload_blocks,
    offload_text_encoders,
    offloaded_blocks,
    stop_offloading,
)
from plaudit.generators.table import load_generator


def load_within(
    name_or_folder: str, settings: MemorySettings, *, device: torch.device | str | None = None
) -> NoiseGenerator:
    """`load_generator`'s generator under the settings; what waits on the CPU was never on the device.

    Without a dtype in the settings: bfloat16 on a device that is not the CPU and multiplies it natively, else float32.
    Raises UnknownName or BadConfig as `load_generator` and `save_memory` do.
    """
    device = torch.device(device or "cpu")
    generator = load_generator(
        name_or_folder, device=None if settings.offload else device, dtype=precision_on(device, settings)
    )
    save_memory(generator, settings, device=device)
    return generator


def save_memory(generator: Any, settings: MemorySettings, *, device: torch.device | str | None = None) -> None:
    """Put the settings in force, all of them: what was switched on before and is not among them is switched off.

    `device`: where the generator shall work, unless it stays where it is; load one that does not fit there on the CPU.
    Build policies on a generator (DDIM) afterwards. Raises BadConfig for a generator without such networks, one that
    was loaded in another precision, or a tile or tiny decoder that does not fit it.
    """
    if not isinstance(generator, LatentGenerator):
        raise BadConfig(f"{type(generator).__name__} has no denoiser and autoencoder whose memory could be saved")
    _check_precision(generator, settings)
    slice_decoding(generator, settings.slicing)
    tile_decoding(generator, settings.tiling)
    use_tiny_decoder(generator, settings.tiny_decoder)
    if offloaded_blocks(generator):
        stop_offloading(generator)
    generator.use_checkpointing(settings.checkpointing)
    if settings.offload is not None:
        offload_text_encoders(generator)
    if settings.offload == "blocks":
        offload_blocks(generator)
    move_generator(generator, device or generator.device)


def precision_on(device: torch.device, settings: MemorySettings) -> torch.dtype:
    """The precision that the settings name, or else the device's own."""
    if settings.dtype is not None:
        return cast(torch.dtype, getattr(torch, settings.dtype))
    return torch.bfloat16 if device.type != "cpu" and has_fast_bfloat16(device) else torch.float32


def _check_precision(generator: LatentGenerator, settings: MemorySettings) -> None:
    if settings.dtype is None:
        return
    loaded = str(next(generator.denoiser.parameters()).dtype).removeprefix("torch.")
    if loaded != settings.dtype:
        raise BadConfig(
            f"the generator was loaded in {loaded}, and the settings want {settings.dtype}: the precision is chosen "
            f"when a generator is loaded, load_generator(..., dtype=torch.{settings.dtype})"
        )
