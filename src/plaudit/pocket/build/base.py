"""pocket-base: a text-to-image diffusion model in Stable Diffusion's format, trained from nothing on scenes.

A U-Net of 4.3 million parameters predicts v (Salimans & Ho 2022) on 8 x 8 latents under a cosine schedule whose
last step is pure noise (Lin et al. 2023), so that one step from noise is as well defined as many. A tenth of the
prompts is left out for classifier-free guidance.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from plaudit.core.devices import fast_autocast
from plaudit.pocket.build.loop import Draws, Plan, Progress, Trainee, draws_for, train
from plaudit.pocket.build.text import WIDTH, tokenise
from plaudit.pocket.build.vae import LATENT_CHANNELS
from plaudit.pocket.prompts import describe
from plaudit.pocket.render import render
from plaudit.pocket.scenes import Scene, draw_scene

PLAN = Plan(steps=28_300, batch=64, lr=1.5e-3, warmup=200, ema=0.999, decay=0.3)
POOL = 98_304
"""scenes encoded before training; prompts are drawn anew each time"""
NO_PROMPT = 0.1


def new_unet(*, guidance_embedding: int | None = None) -> UNet2DConditionModel:
    """The untrained denoiser; it may be told the guidance, as an embedding of so many numbers."""
    return UNet2DConditionModel(
        sample_size=8, in_channels=LATENT_CHANNELS, out_channels=LATENT_CHANNELS, layers_per_block=1,
        block_out_channels=(96, 128), down_block_types=("CrossAttnDownBlock2D",) * 2, mid_block_type=None,
        up_block_types=("CrossAttnUpBlock2D",) * 2, cross_attention_dim=WIDTH, attention_head_dim=4,
        norm_num_groups=16, time_cond_proj_dim=guidance_embedding,
    )  # fmt: skip


def with_plain_attention(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """The same network with attention as two matrix products: on a CPU in bfloat16 it trains 1.8 times as fast."""
    if unet.device.type == "cpu":
        unet.set_attn_processor(AttnProcessor())
    return unet


def training_times(draws: Draws, count: int) -> Tensor:
    """Times (B,) in 0 to 999, three times as many in the middle as at the ends.

    At the ends most of the loss is beyond any model: the noise in clean latents, the places in pure noise.
    One time comes from each of B equal stretches, so that the loss of a batch varies less.
    """
    even = (torch.arange(count) + draws.uniform(count)) / count
    return (1000 * (even + torch.sin(2 * torch.pi * even) / (4 * torch.pi))).long().clamp(0, 999)


def new_scheduler() -> DDIMScheduler:
    """DDIM over 1000 cosine steps, the last of them pure noise."""
    return DDIMScheduler(
        num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction",
        rescale_betas_zero_snr=True, timestep_spacing="trailing", set_alpha_to_one=True, clip_sample=False,
        steps_offset=1,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Scenes with their latents, (N, 8, 8, 8) float16, scaled to unit spread."""

    scenes: Sequence[Scene]
    latents: Tensor


def encode_pool(vae: AutoencoderKL, file: Path, device: torch.device, *, size: int = POOL) -> Iterator[int | Pool]:
    """Draw and encode the scenes; yields how many are done, then the pool. Kept in `file` for a restart."""
    rng = draws_for("pocket-pool", 0).numpy
    scenes = [draw_scene(rng) for _ in range(size)]
    if file.exists():
        yield Pool(scenes=scenes, latents=torch.from_numpy(np.load(file)))
        return
    latents = torch.empty(size, LATENT_CHANNELS, 8, 8, dtype=torch.float16)
    vae.to(device).eval()
    for start in range(0, size, 256):
        images = render(scenes[start : start + 256]).to(device) * 2 - 1
        with torch.no_grad(), fast_autocast(device):
            mean = vae.encode(images).latent_dist.mean.float() * vae.config.scaling_factor
        latents[start : start + 256] = mean.half().cpu()
        yield min(size, start + 256)
    np.save(file, latents.numpy())
    yield Pool(scenes=scenes, latents=latents)


class Batches:
    """Random latents of the pool with fresh prompts, as the text encoder reads them."""

    def __init__(self, pool: Pool, encoder: CLIPTextModel, tokenizer: CLIPTokenizer, device: torch.device) -> None:
        self.pool, self.encoder, self.tokenizer, self.device = pool, encoder, tokenizer, device

    def draw(self, draws: Draws, count: int, *, no_prompt: float = 0.0) -> tuple[Tensor, Tensor]:
        """Latents (B, 8, 8, 8) and text states (B, 32, 128)."""
        rows = draws.numpy.integers(len(self.pool.scenes), size=count)
        latents = self.pool.latents[torch.from_numpy(rows)].float().to(self.device)
        return latents, self.read(self.prompts(rows, draws, no_prompt))

    def prompts(self, rows: Iterable[int], draws: Draws, no_prompt: float) -> list[str]:
        texts = [describe(self.pool.scenes[row], draws.numpy)[0] for row in rows]
        return ["" if draws.numpy.random() < no_prompt else text for text in texts]

    def read(self, prompts: Sequence[str]) -> Tensor:
        with torch.no_grad():
            return self.encoder(tokenise(self.tokenizer, prompts).to(self.device)).last_hidden_state


def train_base(unet: UNet2DConditionModel, batches: Batches, state: Path, *, plan: Plan = PLAN) -> Iterator[Progress]:
    """Train the denoiser; afterwards its weights are the average."""
    device = batches.device
    with_plain_attention(unet.to(device).train())
    trainee = Trainee({"unet": unet}, plan)
    alphas = new_scheduler().alphas_cumprod.to(device)

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        latents, states = batches.draw(draws, plan.batch, no_prompt=NO_PROMPT)
        noise = draws.normal(*latents.shape).to(device)
        times = training_times(draws, plan.batch).to(device)
        signal, spread = (
            alphas[times].sqrt()[:, None, None, None],
            (1 - alphas[times]).sqrt()[:, None, None, None],
        )
        with fast_autocast(device):
            prediction = unet(signal * latents + spread * noise, times, encoder_hidden_states=states).sample
        loss = (prediction.float() - (signal * noise - spread * latents)).square().mean()
        return loss, {}

    yield from train("pocket-base", trainee, loss_of, state)
    trainee.use_average()
    unet.eval().requires_grad_(False)
