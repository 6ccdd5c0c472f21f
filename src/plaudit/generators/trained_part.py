"""Which part of a frozen denoiser a method trains: a LoRA on its attention (Hu et al. 2022), or all of it.

A LoRA starts as nothing: until the first update the denoiser draws what it drew before.
"""

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from plaudit.core.errors import BadConfig
from plaudit.core.random_streams import stream

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
"""the projections that RLCM's and DDPO's released code patch"""
LORA_FILE = "pytorch_lora_weights.safetensors"
"""the name under which diffusers finds a LoRA in a folder"""
UNET_FOLDER = "unet"
"""of a pipeline, with all weights of its denoiser"""


def add_lora(
    denoiser: Any, *, rank: int = 16, alpha: float | None = None, seed: int = 0, targets: Sequence[str] = ATTENTION
) -> None:
    """Lay a trainable LoRA over a diffusers denoiser and freeze all else; alpha is twice the rank unless given.

    Raises BadConfig if nothing in it has such a name.
    """
    from peft import LoraConfig

    if rank < 1:
        raise BadConfig(f"a LoRA's rank must be at least 1, got {rank}")
    denoiser.requires_grad_(False)
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank if alpha is None else alpha, target_modules=list(targets),
        init_lora_weights="gaussian",
    )  # fmt: skip
    try:
        # The library draws from the global stream, which is put back as it was.
        with torch.random.fork_rng(devices=[]):
            torch.random.set_rng_state(stream(seed, "lora").get_state())
            denoiser.add_adapter(config)
    except ValueError as error:
        raise BadConfig(f"this denoiser has no layers named {', '.join(targets)} to lay a LoRA over") from error
    for parameter in denoiser.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def train_all(denoiser: nn.Module) -> None:
    """Train every weight, in float32."""
    denoiser.float().requires_grad_(True)


@contextmanager
def without_lora(denoiser: Any) -> Iterator[None]:
    """While entered, the denoiser is the one that training started from."""
    denoiser.disable_adapters()
    try:
        yield
    finally:
        denoiser.enable_adapters()


def has_lora(denoiser: Any) -> bool:
    """Whether a LoRA lies over the denoiser."""
    return bool(getattr(denoiser, "peft_config", None))


def save_lora(denoiser: Any, folder: Path) -> Path:
    """Write the LoRA into the folder as diffusers reads it; the file. Raises OSError if the disk is full.

    Alpha over rank is multiplied in, so that a reader who knows nothing of alpha gets the same pictures.
    """
    from diffusers import StableDiffusionPipeline
    from peft.utils import get_peft_model_state_dict

    config = denoiser.peft_config["default"]
    scale = config.lora_alpha / config.r
    layers = {
        name: (value.detach().cpu() * (scale if "lora_B" in name else 1.0)).contiguous()
        for name, value in get_peft_model_state_dict(denoiser).items()
    }
    with _beside(folder / LORA_FILE) as part:
        StableDiffusionPipeline.save_lora_weights(part, unet_lora_layers=layers, safe_serialization=True)
        os.replace(part / LORA_FILE, folder / LORA_FILE)
    return folder / LORA_FILE


def save_all(denoiser: Any, folder: Path) -> Path:
    """Write every weight into the folder, as the `unet` of a diffusers pipeline; that folder below it.

    diffusers reads it with `UNet2DConditionModel.from_pretrained(folder, subfolder="unet")`.
    """
    with _beside(folder / UNET_FOLDER) as part:
        denoiser.save_pretrained(part / UNET_FOLDER, safe_serialization=True)
        if (folder / UNET_FOLDER).exists():
            shutil.rmtree(folder / UNET_FOLDER)
        os.replace(part / UNET_FOLDER, folder / UNET_FOLDER)
    return folder / UNET_FOLDER


@contextmanager
def _beside(place: Path) -> Iterator[Path]:
    """A folder to write in before a move to `place`, gone afterwards. Raises OSError if the disk is full."""
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True, exist_ok=True)
        yield part
    except SafetensorError as error:
        # How the library tells of a full disk, too.
        raise OSError(errno.EIO, str(error), str(place)) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
