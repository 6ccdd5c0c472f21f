"""What published recipes change about Stable Diffusion XL's folder: the U-Net, the autoencoder, the sampler."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from plaudit.core.errors import BadConfig


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What a published recipe changes about the folder it builds on; nothing unless told."""

    unet: Path | None = None
    """a safetensors file with all weights of another U-Net, under the names of the folder's own"""
    vae: Path | None = None
    """the folder of another autoencoder"""
    lcm_time: int | None = None
    """take one step of the LCM scheduler from this time, 0 to 999, in place of the folder's scheduler"""


def load_unet(
    file: Path, folder: Path, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> Any:
    """The U-Net that the folder's config.json describes, with the file's weights.

    Raises BadConfig if the file does not hold all of them, and no others.
    """
    from diffusers import UNet2DConditionModel
    from safetensors import SafetensorError, safe_open

    # Without weights of its own: drawing billions of them takes longer than reading them.
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(str(folder), local_files_only=True))
    try:
        with safe_open(file, "pt", device=str(device or "cpu")) as stored:
            weights = {name: stored.get_tensor(name).to(dtype or torch.float32) for name in stored.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise BadConfig(f"{file} cannot be read as safetensors: {error}") from error
    expected = {(name, weight.shape) for name, weight in unet.state_dict().items()}
    given = {(name, weight.shape) for name, weight in weights.items()}
    wrong = sorted({name for name, _ in expected ^ given})
    if wrong:
        raise BadConfig(f"{file} is not for the U-Net of {folder}: {len(wrong)} weights differ, such as {wrong[0]}")
    unet.load_state_dict(weights, assign=True)
    return unet


def load_autoencoder(
    folder: Path, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> Any:
    """The AutoencoderKL of a folder of its own. Raises BadConfig if it holds none."""
    from diffusers import AutoencoderKL

    try:
        vae = AutoencoderKL.from_pretrained(
            str(folder), torch_dtype=dtype or torch.float32, use_safetensors=True, local_files_only=True
        )
    except OSError as error:
        raise BadConfig(f"{folder} holds no autoencoder: {str(error).splitlines()[0]}") from error
    return vae.to(device)


def one_lcm_step(scheduler: Any, time: int, steps: int) -> Any:
    """The LCM scheduler on the betas of the folder's. Raises BadConfig if `time` is not the time of a single step."""
    from diffusers import LCMScheduler

    last = int(scheduler.config.num_train_timesteps) - 1
    if steps != 1 or not 0 <= time <= last:
        raise BadConfig(f"lcm_time is the time of a single step, 0 to {last}; got {time} with {steps} steps")
    return LCMScheduler.from_config(scheduler.config)
