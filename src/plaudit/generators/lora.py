"""Published LoRA files (Hu et al. 2022), merged into the weights that they patch."""

import json
import math
import re
from pathlib import Path
from typing import Any

from torch import nn

from plaudit.core.errors import BadConfig
from plaudit.generators.trained_part import TRANSFORMER_FOLDER, UNET_FOLDER, pipeline_part

_LAYER = re.compile(
    r"(unet|transformer)\.(?P<layer>.+?)"
    r"(\.processor\.(?P<projection>to_q|to_k|to_v|to_out)_lora|\.lora)"
    r"[._](?P<side>A|B|down|up)\.weight"
)
"""a tensor's name as diffusers has it: new, as it came from kohya, or as it was before there was peft"""

_WORDS = {UNET_FOLDER: "U-Net", TRANSFORMER_FOLDER: "transformer"}


def merge_lora(denoiser: Any, file: Path, *, scale: float = 1.0) -> None:
    """Add a LoRA's patch, `scale` times, to the weights of a U-Net or of Stable Diffusion 3's transformer.

    Afterwards the network knows of no LoRA.

    Reads safetensors with diffusers' own keys, or those of kohya's trainer, as LCM-LoRA is published. A text
    encoder's part is left out. Raises BadConfig if the file cannot be read or does not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not math.isfinite(scale):
        raise BadConfig(f"a LoRA's scale must be a finite number, got {scale}")
    try:
        weights, told = load_file(file), _told(file)
    except (OSError, SafetensorError) as error:
        raise BadConfig(f"{file} is not a LoRA's safetensors file: {error}") from error
    part = pipeline_part(denoiser)
    weights, alphas = _as_diffusers_has_it(denoiser, weights)
    if not any(name.startswith(f"{part}.") for name in weights):
        raise BadConfig(f"{file} holds no LoRA of a {_WORDS[part]}")
    _check_fit(denoiser, weights, file)
    try:
        denoiser.load_lora_adapter(weights, prefix=part, network_alphas=alphas, metadata=told)
    except (RuntimeError, ValueError) as error:
        raise BadConfig(f"{file} does not fit this {_WORDS[part]}: {str(error).splitlines()[-1].strip()}") from error
    denoiser.fuse_lora(lora_scale=scale)
    denoiser.unload_lora()


def _as_diffusers_has_it(denoiser: Any, weights: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The tensors by diffusers' names, and each layer's alpha if it is beside them."""
    from diffusers import StableDiffusion3Pipeline, StableDiffusionPipeline

    if pipeline_part(denoiser) == UNET_FOLDER:
        found: tuple[dict[str, Any], dict[str, Any] | None] = StableDiffusionPipeline.lora_state_dict(
            weights, unet_config=denoiser.config
        )
        return found
    return StableDiffusion3Pipeline.lora_state_dict(weights), None


def _check_fit(denoiser: Any, weights: dict[str, Any], file: Path) -> None:
    """Raises BadConfig unless every layer that is patched is there, in the patch's size.

    The library would pass over layers that are not there, and print a page about those of another size.
    """
    kind = _WORDS[pipeline_part(denoiser)]
    layers = dict(denoiser.named_modules())
    for name, value in weights.items():
        found = _LAYER.fullmatch(name)
        if found is None:
            continue
        place = found["layer"] + (f".{found['projection']}" if found["projection"] else "")
        layer = layers.get(place + ".0") if found["projection"] == "to_out" else layers.get(place)
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            raise BadConfig(f"{file} does not fit this {kind}, which has no layer {place}; it is another model's LoRA")
        down = found["side"] in ("A", "down")
        has, wants = layer.weight.shape[int(down)], value.shape[int(down)]
        if has != wants:
            raise BadConfig(
                f"{file} does not fit this {kind}, whose layer {place} {'reads' if down else 'writes'} {has} numbers "
                f"and not {wants}; it is another model's LoRA"
            )


def _told(file: Path) -> dict[str, Any] | None:
    """Rank and alpha, where diffusers has written them beside the weights."""
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        told = (opened.metadata() or {}).get("lora_adapter_metadata")
    return json.loads(told) if told else None
