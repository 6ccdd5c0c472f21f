"""Published LoRA files (Hu et al. 2022), merged into the weights that they patch."""

import json
from pathlib import Path
from typing import Any

from plaudit.core.errors import BadConfig


def merge_lora(unet: Any, file: Path) -> None:
    """Add a LoRA's patch to a diffusers U-Net's weights, in place; afterwards the U-Net knows of no LoRA.

    Reads safetensors with diffusers' own keys, or those of kohya's trainer, as LCM-LoRA is published. A text
    encoder's part is left out. Raises BadConfig if the file cannot be read or does not fit.
    """
    from diffusers import StableDiffusionPipeline
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights, told = load_file(file), _told(file)
    except (OSError, SafetensorError) as error:
        raise BadConfig(f"{file} is not a LoRA's safetensors file: {error}") from error
    weights, alphas = StableDiffusionPipeline.lora_state_dict(weights, unet_config=unet.config)
    if not any(name.startswith("unet.") for name in weights):
        raise BadConfig(f"{file} holds no LoRA of a U-Net")
    try:
        unet.load_lora_adapter(weights, prefix="unet", network_alphas=alphas, metadata=told)
    except (RuntimeError, ValueError) as error:
        raise BadConfig(f"{file} does not fit this U-Net: {str(error).splitlines()[-1].strip()}") from error
    unet.fuse_lora()
    unet.unload_lora()


def _told(file: Path) -> dict[str, Any] | None:
    """Rank and alpha, where diffusers has written them beside the weights."""
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        told = (opened.metadata() or {}).get("lora_adapter_metadata")
    return json.loads(told) if told else None
