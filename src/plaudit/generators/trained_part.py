"""Which part of a frozen denoiser a method trains: a LoRA on its attention (Hu et al. 2022), or all of it.

A LoRA starts as nothing: until the first update the denoiser draws what it drew before.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from plaudit.core.errors import BadConfig
from plaudit.core.random_streams import stream

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
"""the projections that RLCM's and DDPO's released code patch"""
LORA_FILE = "pytorch_lora_weights.safetensors"
"""the name under which diffusers finds a LoRA in a folder"""


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


def save_lora(denoiser: Any, folder: Path) -> Path:
    """Write the LoRA into the folder as diffusers reads it; the file.

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
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers, safe_serialization=True)
    return folder / LORA_FILE
