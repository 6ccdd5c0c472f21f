"""Pictures for training the reward models: renders, mildly spoilt renders, and what a generator's decoder makes.

A reward that has only seen clean renders says little about a generator's half-formed shapes, so a share of every
batch comes out of the autoencoder with noise in its latents.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from plaudit.core.devices import fast_autocast
from plaudit.pocket.build.loop import Draws, draws_for
from plaudit.pocket.render import render
from plaudit.pocket.scenes import Scene

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""CLIP's pixel statistics, which every published reward of the family uses"""

BLUR = 1.2
NOISE = 0.06
TONE = 0.08


def normalised(images: Tensor) -> Tensor:
    """Pixels in [0, 1] as the CLIP family reads them."""
    mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (MEAN, STD))
    return (images - mean) / std


def spoilt(images: Tensor, draws: Draws) -> Tensor:
    """The images with a random blur, noise, brightness and contrast each, (B, 3, H, W) in [0, 1]."""
    count = len(images)
    mix = draws.uniform(count, 1, 1, 1) * (draws.uniform(count, 1, 1, 1) < 0.6)
    images = images + mix * (_blurred(images) - images)
    tone = 1 + TONE * (2 * draws.uniform(count, 1, 1, 1) - 1)
    shift = TONE * (2 * draws.uniform(count, 1, 1, 1) - 1)
    noise = NOISE * draws.uniform(count, 1, 1, 1) * draws.normal(*images.shape)
    return (0.5 + (images - 0.5) * tone + shift + noise).clamp(0, 1)


def decoded_pool(
    vae: AutoencoderKL, scenes: Sequence[Scene], file: Path, device: torch.device, *, spread: float
) -> Iterator[int | Tensor]:
    """The scenes as the decoder draws them from noisy latents, (N, 3, 64, 64) bytes, kept in `file`.

    The noise of each picture is up to `spread` of the latents' own. Yields how many are done, then the pictures.
    """
    if file.exists():
        yield torch.from_numpy(np.load(file))
        return
    vae.to(device).eval()
    draws = draws_for(f"pocket-pictures-{file.stem}", 0)
    pictures = torch.empty(len(scenes), 3, 64, 64, dtype=torch.uint8)
    for start in range(0, len(scenes), 128):
        images = render(scenes[start : start + 128]).to(device) * 2 - 1
        with torch.no_grad(), fast_autocast(device):
            mean = vae.encode(images).latent_dist.mean
            size = draws.uniform(len(images), 1, 1, 1) * spread / vae.config.scaling_factor
            decoded = vae.decode(mean + (size * draws.normal(*mean.shape)).to(device)).sample
        pixels = (decoded.float() / 2 + 0.5).clamp(0, 1)
        pictures[start : start + 128] = (pixels * 255).round().byte().cpu()
        yield min(len(scenes), start + 128)
    np.save(file, pictures.numpy())
    yield pictures


def _blurred(images: Tensor) -> Tensor:
    offsets = torch.arange(-3.0, 4.0)
    kernel = torch.exp(-offsets.square() / (2 * BLUR**2))
    kernel = (kernel / kernel.sum()).view(1, 1, 1, 7).repeat(3, 1, 1, 1)
    padded = F.pad(images, (3, 3, 3, 3), mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.transpose(2, 3), groups=3)
