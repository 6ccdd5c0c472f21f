"""The autoencoder of pocket-base and pocket-turbo: 64 x 64 pixels to 8 x 8 x 8 latents and back."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from plaudit.core.devices import fast_autocast
from plaudit.pocket.build.loop import Draws, Plan, Progress, Trainee, train
from plaudit.pocket.render import render
from plaudit.pocket.scenes import SIZE, Scene, draw_scene

LATENT_CHANNELS = 8
PLAN = Plan(steps=4000, batch=32, lr=1.5e-3, warmup=200, ema=0.998)
KL_WEIGHT = 1e-4
EDGE_WEIGHT = 4.0
"""how much more a pixel counts where neighbours differ: flat areas are most of a scene and are learnt first"""


def new_vae() -> AutoencoderKL:
    """The untrained autoencoder; 2.7 million parameters."""
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=LATENT_CHANNELS, layers_per_block=1, norm_num_groups=8,
        block_out_channels=(16, 32, 64, 128), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, sample_size=SIZE, scaling_factor=1.0,
    )  # fmt: skip


def loosened(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene with its things moved and resized, perhaps touching: what a half-trained generator draws."""
    things = [
        dataclasses.replace(
            t, x=float(rng.uniform(8, 56)), y=float(rng.uniform(8, 56)), radius=float(rng.uniform(7, 18))
        )
        for t in scene.things
    ]
    return Scene(background=scene.background, things=tuple(things))


def train_vae(vae: AutoencoderKL, state: Path, device: torch.device) -> Iterator[Progress]:
    """Train the autoencoder; afterwards its weights are the average and its scaling factor is set."""
    vae.to(device).train()
    trainee = Trainee({"vae": vae}, PLAN)

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        scenes = [draw_scene(draws.numpy) for _ in range(PLAN.batch)]
        scenes = [loosened(s, draws.numpy) if i % 4 == 0 else s for i, s in enumerate(scenes)]
        images = render(scenes).to(device) * 2 - 1
        with fast_autocast(device):
            posterior = vae.encode(images).latent_dist
            noise = draws.normal(*posterior.mean.shape).to(device)
            decoded = vae.decode(posterior.mean + posterior.std * noise).sample
        error = decoded.float() - images
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        return missed_pixels(error, images) + KL_WEIGHT * kl, {"mse": error.square().mean(), "kl": kl}

    yield from train("pocket-vae", trainee, loss_of, state)
    trainee.use_average()
    vae.eval().requires_grad_(False)
    vae.register_to_config(scaling_factor=round(1 / latent_spread(vae, device), 4))


def latent_spread(vae: AutoencoderKL, device: torch.device) -> float:
    """The standard deviation of latents over a thousand scenes."""
    rng = np.random.default_rng(1)
    images = render([draw_scene(rng) for _ in range(1024)]).to(device) * 2 - 1
    with torch.no_grad():
        latents = torch.cat([vae.encode(part).latent_dist.mean for part in images.split(128)])
    return float(latents.std())


def missed_pixels(error: Tensor, images: Tensor) -> Tensor:
    """The loss of what is painted `error` beside images (B, 3, H, W) in [-1, 1]; more where 3 x 3 pixels differ."""
    spread = F.max_pool2d(images, 3, 1, 1) + F.max_pool2d(-images, 3, 1, 1)
    weights = 1 + EDGE_WEIGHT * (spread.amax(dim=1, keepdim=True) > 0.2).float()
    return (weights * (error.square() + 0.1 * error.abs())).mean()
