"""A LoRA over a model that draws token by token, in peft's layout: adapter_config.json, adapter_model.safetensors.

Names are those of the whole published network, so that peft lays the folder over transformers' own model too.
"""

import json
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.core.whole_files import write_whole
from plaudit.generators.trained_part import ADAPTER_FILE

CONFIG_FILE = "adapter_config.json"
PREFIX = "base_model.model."
"""peft's, before the names of the network below"""
DOWN, UP = ".lora_A.weight", ".lora_B.weight"


@runtime_checkable
class Published(Protocol):
    """A network that is a part of a published one."""

    def published_name(self, name: str) -> str:
        """A weight's name in the whole network, of its name here."""
        ...


def save_adapter(transformer: Any, folder: Path) -> Path:
    """Write the LoRA over a `Published` transformer into the folder as peft reads it; the file.

    Raises OSError if the disk is full.
    """
    from peft.utils import get_peft_model_state_dict

    config = transformer.peft_config["default"]
    layers = {
        PREFIX + transformer.published_name(name): weight.detach().cpu().contiguous()
        for name, weight in get_peft_model_state_dict(transformer).items()
    }
    # Layers by their whole names: the same short ones are in towers that are not trained.
    targets = sorted({name.removeprefix(PREFIX).removesuffix(DOWN).removesuffix(UP) for name in layers})
    said = {
        "peft_type": "LORA", "r": config.r, "lora_alpha": config.lora_alpha, "target_modules": targets, "bias": "none",
        "inference_mode": True,
    }  # fmt: skip
    write_whole(folder / ADAPTER_FILE, save(layers))
    write_whole(folder / CONFIG_FILE, (json.dumps(said, indent=2) + "\n").encode())
    return folder / ADAPTER_FILE


def merge_adapter(transformer: Any, file: Path, *, scale: float = 1.0) -> None:
    """Add a saved LoRA to a transformer's weights, `scale` times. Raises BadConfig if it is not one for this model."""
    strength = scale * _strength(file.parent / CONFIG_FILE)
    try:
        layers = load_file(file)
    except (SafetensorError, OSError) as error:
        raise BadConfig(f"{file} is damaged or cut short: {error}") from error
    weights = {}
    if isinstance(transformer, Published):
        own: Any = transformer
        weights = {own.published_name(name): weight for name, weight in own.named_parameters()}
    changed = [name for name in sorted(layers) if name.endswith(DOWN)]
    if len(layers) != 2 * len(changed) or not changed:
        raise BadConfig(f"{file} holds no LoRA: its weights are not pairs of lora_A and lora_B")
    for name in changed:
        change = _change(layers, name)
        weight = weights.get(name.removeprefix(PREFIX).removesuffix(DOWN) + ".weight")
        if weight is None or change is None or weight.shape != change.shape:
            raise BadConfig(f"{file} does not fit this model: it changes {name}, which is not here in that shape")
        with torch.no_grad():
            weight += (strength * change).to(weight)


def _change(layers: dict[str, Tensor], name: str) -> Tensor | None:
    """up @ down, float32; None if the file has no such pair."""
    down, up = layers[name], layers.get(name.removesuffix(DOWN) + UP)
    if up is None or down.ndim != 2 or up.ndim != 2 or up.shape[1] != down.shape[0]:
        return None
    return up.float() @ down.float()


def _strength(file: Path) -> float:
    """Alpha over rank."""
    try:
        said: Any = json.loads(file.read_text(encoding="utf-8"))
        return float(said["lora_alpha"]) / int(said["r"])
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise BadConfig(f"{file} is missing or damaged: it must say the LoRA's r and lora_alpha") from error
