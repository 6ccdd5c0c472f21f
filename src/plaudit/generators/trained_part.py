"""Which part of a frozen denoiser a method trains: a LoRA on its attention (Hu et al. 2022), or all of it.

A LoRA starts as nothing: until the first update the denoiser draws what it drew before.
"""

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn

from plaudit.core.errors import BadConfig
from plaudit.core.random_streams import stream
from plaudit.core.whole_files import write_whole

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
"""the projections that RLCM's and DDPO's released code patch"""
FEED_FORWARD = ("ff.net.0.proj", "ff.net.2")
"""the two layers of every transformer block's feed-forward part"""
LORA_FILE = "pytorch_lora_weights.safetensors"
"""the name under which diffusers finds a LoRA in a folder"""
UNET_FOLDER, TRANSFORMER_FOLDER = "unet", "transformer"
"""of a pipeline, with all weights of its denoiser"""
TOKEN_WEIGHTS = "transformer.safetensors"
"""all weights of the transformer of a model that draws token by token"""
ADAPTER_FILE = "adapter_model.safetensors"
"""the name under which peft finds a LoRA in a folder: one over a model that draws token by token"""
SCHEDULER_FOLDER = "scheduler"
"""of a pipeline, with the settings of its sampler"""


@dataclass(frozen=True, kw_only=True)
class LowRank:
    """A layer's trained change: scale * up @ down (Hu et al. 2022)."""

    down: nn.Parameter
    """(r, ...)"""
    up: nn.Parameter
    """(out, r, ...)"""
    scale: float
    start: Tensor
    """the layer's own weight"""

    def squared_norm(self) -> Tensor:
        """||scale * up @ down||_F^2, without building the product: the sum of (up^T up) * (down down^T)."""
        down, up = self.down.detach().float().flatten(1), self.up.detach().float().flatten(1)
        # Where the product cancels, rounding can leave less than nothing.
        return self.scale**2 * ((up.T @ up) * (down @ down.T)).sum().clamp_min(0)


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
    from diffusers import StableDiffusion3Pipeline, StableDiffusionPipeline
    from peft.utils import get_peft_model_state_dict

    config = denoiser.peft_config["default"]
    scale = config.lora_alpha / config.r
    layers = {
        name: (value.detach().cpu() * (scale if "lora_B" in name else 1.0)).contiguous()
        for name, value in get_peft_model_state_dict(denoiser).items()
    }
    with _beside(folder / LORA_FILE) as part:
        if pipeline_part(denoiser) == UNET_FOLDER:
            StableDiffusionPipeline.save_lora_weights(part, unet_lora_layers=layers, safe_serialization=True)
        else:
            StableDiffusion3Pipeline.save_lora_weights(part, transformer_lora_layers=layers, safe_serialization=True)
        os.replace(part / LORA_FILE, folder / LORA_FILE)
    return folder / LORA_FILE


def save_all(denoiser: Any, folder: Path) -> Path:
    """Write every weight into the folder, as the `unet` or `transformer` of a diffusers pipeline; that folder below it.

    diffusers reads it with `UNet2DConditionModel.from_pretrained(folder, subfolder="unet")`, and alike.
    """
    return _save_whole(denoiser, folder / pipeline_part(denoiser))


def save_trained(network: Any, folder: Path) -> Path:
    """Write what was trained into the folder, each kind as whoever loads it looks for it; its place there."""
    if has_lora(network):
        if isinstance(network, ModelMixin):
            return save_lora(network, folder)
        from plaudit.generators.adapters import save_adapter

        return save_adapter(network, folder)
    return save_all(network, folder) if isinstance(network, ModelMixin) else save_tokens(network, folder)


def save_tokens(transformer: nn.Module, folder: Path) -> Path:
    """Write every weight of a token model's transformer into the folder, whole or not at all; the file.

    Raises OSError if the disk is full.
    """
    weights = {name: weight.detach().cpu().contiguous() for name, weight in transformer.state_dict().items()}
    write_whole(folder / TOKEN_WEIGHTS, save(weights))
    return folder / TOKEN_WEIGHTS


def save_sampler(generator: Any, folder: Path) -> Path:
    """Write the settings of a scheduler that takes few steps from pure noise at any times, as a pipeline's."""
    from diffusers import EulerDiscreteScheduler

    scheduler = generator.scheduler
    if pipeline_part(generator.denoiser) == UNET_FOLDER:
        scheduler = EulerDiscreteScheduler.from_config(scheduler.config, timestep_spacing="trailing")
    return _save_whole(scheduler, folder / SCHEDULER_FOLDER)


def pipeline_part(denoiser: Any) -> str:
    """What a diffusers pipeline calls such a network: unet or transformer."""
    from diffusers import UNet2DConditionModel

    return UNET_FOLDER if isinstance(denoiser, UNet2DConditionModel) else TRANSFORMER_FOLDER


def lora_layers(denoiser: Any) -> list[LowRank]:
    """The layers of the LoRA that lies over the denoiser, each with the weight that it changes."""
    from peft.tuners.lora import LoraLayer

    return [
        LowRank(
            down=layer.lora_A["default"].weight, up=layer.lora_B["default"].weight, scale=layer.scaling["default"],
            start=layer.get_base_layer().weight,
        )
        for layer in denoiser.modules()
        if isinstance(layer, LoraLayer)
    ]  # fmt: skip


def _save_whole(part_of_pipeline: Any, place: Path) -> Path:
    """A part of a pipeline in its folder, which is there whole or as it was."""
    kept = {"safe_serialization": True} if isinstance(part_of_pipeline, nn.Module) else {}
    with _beside(place) as part:
        part_of_pipeline.save_pretrained(part / place.name, **kept)
        if place.exists():
            shutil.rmtree(place)
        os.replace(part / place.name, place)
    return place


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
