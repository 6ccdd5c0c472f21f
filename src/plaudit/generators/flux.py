"""FLUX.1's family (Black Forest Labs 2024): a transformer that flows from noise to latents, told by CLIP and T5.

The noise and the image are the ends of straight lines, x = (1 - sigma) image + sigma noise, and the transformer
predicts their direction, noise - image. Like stable_diffusion.py, this borrows a folder's parts and owns the loop.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.generators.conditions import PooledStates, read_each_once
from plaudit.generators.decoding import Decoding
from plaudit.generators.lean_decoder import make_lean
from plaudit.generators.parts import load_parts
from plaudit.generators.recomputing import set_checkpointing

PARTS = ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2", "transformer", "vae", "scheduler")
ENCODERS = ("text_encoder", "text_encoder_2")
PATCH = 2
"""a token is this many latents wide and high"""
LATENT_SIZE = 64
"""ReNO's setting, 512 pixels; the pipeline's own, 1024 pixels, costs four times as much"""
T5_LENGTH = {False: 256, True: 512}
"""tokens of the prompt, by whether the model has a guidance embedding: what FLUX.1-schnell and -dev were made for"""


class Flux:
    """A generator of the FLUX.1 family. Keeps the NoiseGenerator contract.

    The noise is packed, (tokens, channels of a token): what the transformer reads, and what ReNO's released code
    optimises. A picture of noise holds the same numbers in another order, which neither its norm nor a gradient
    step knows.
    """

    def __init__(
        self, parts: dict[str, Any], *, steps: int = 1, guidance: float = 1.0, image_size: int | None = None
    ) -> None:
        """`parts` by the names in PARTS. `guidance` is told to models with a guidance embedding (FLUX.1-dev: 3.5).

        `image_size`: pixels, a multiple of two latents; 64 latents unless given. Raises BadConfig if the settings
        cannot work.
        """
        self.tokenizers = (parts["tokenizer"], parts["tokenizer_2"])
        self.clip, self.t5 = parts["text_encoder"], parts["text_encoder_2"]
        self.transformer, self.vae = parts["transformer"], parts["vae"]
        for model in (self.clip, self.t5, self.transformer, self.vae):
            model.eval().requires_grad_(False)
        make_lean(self.vae.decoder)
        self.denoiser, self.decoding, self.text_encoders = self.transformer, Decoding(), (self.clip, self.t5)
        self.guidance: float | None = _read_guidance(self.transformer, guidance)
        self.device: torch.device = next(self.transformer.parameters()).device
        self.side = _tokens_a_side(self.vae, image_size)
        self.noise_shape: tuple[int, ...] = (self.side**2, int(self.transformer.config.in_channels))
        self.sigmas = _read_sigmas(parts["scheduler"], steps, self.side**2)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        steps: int = 1,
        guidance: float = 1.0,
        image_size: int | None = None,
    ) -> Self:
        """The generator of a FluxPipeline folder, frozen, in float32 on the CPU unless told otherwise.

        Raises BadConfig if the folder does not hold one.
        """
        parts = load_parts(Path(folder), PARTS, device=device, dtype=dtype)
        return cls(parts, steps=steps, guidance=guidance, image_size=image_size)

    def use_checkpointing(self, enabled: bool = True) -> None:
        """Recompute activations of transformer and decoder in the backward pass: less memory, about a third more
        time.
        """
        set_checkpointing(enabled, self.transformer, self.vae)

    def encode(self, prompts: Sequence[str]) -> PooledStates:
        """T5's states and CLIP's summary of the prompts; equal prompts are encoded once."""
        return read_each_once(prompts, self._read)

    def sample(self, noise: Tensor, condition: Any) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] from noise (B, *noise_shape), given rows of `encode`'s result."""
        return self.decode(self.sample_latents(noise, condition))

    def sample_latents(self, noise: Tensor, condition: Any) -> Tensor:
        """Clean latents (B, *noise_shape), float32, packed, as the transformer knows them (shifted and scaled)."""
        latents = noise.float()
        for sigma, following in itertools.pairwise(self.sigmas):
            latents = latents + (following - sigma) * self._predict(latents, sigma, condition)
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], float32, of packed latents."""
        # A token holds its channels' squares one after the other, row by row.
        squares = latents.transpose(1, 2).unflatten(2, (self.side, self.side))
        return self.decoding.decode(self.vae, F.pixel_shuffle(squares, PATCH))

    def _predict(self, latents: Tensor, sigma: float, condition: PooledStates) -> Tensor:
        """The direction from image to noise (B, *noise_shape), float32."""
        count = len(latents)
        prediction: Tensor = self.transformer(
            latents.to(condition.states.dtype),
            timestep=latents.new_full((count,), sigma),
            guidance=None if self.guidance is None else latents.new_full((count,), self.guidance),
            pooled_projections=condition.pooled,
            encoder_hidden_states=condition.states,
            txt_ids=latents.new_zeros(condition.states.shape[1], 3),
            img_ids=self._places(latents),
        ).sample
        return prediction.float()

    def _places(self, latents: Tensor) -> Tensor:
        """Each image token's (0, row, column), as the rotary embedding reads it."""
        rows = torch.arange(self.side, device=latents.device)
        row, column = torch.meshgrid(rows, rows, indexing="ij")
        return torch.stack([torch.zeros_like(row), row, column], dim=-1).flatten(0, 1).to(latents.dtype)

    def _read(self, prompts: Sequence[str]) -> PooledStates:
        clip, t5 = self.tokenizers
        lengths = (clip.model_max_length, T5_LENGTH[self.guidance is not None])
        # No padding masks: the published models were trained on the padded states.
        words, pieces = (
            tokenizer(list(prompts), padding="max_length", truncation=True, max_length=length, return_tensors="pt")[
                "input_ids"
            ].to(self.device)
            for tokenizer, length in zip((clip, t5), lengths, strict=True)
        )
        with torch.no_grad():
            pooled, states = self.clip(words).pooler_output, self.t5(pieces).last_hidden_state
        return PooledStates(states=states.to(self.transformer.dtype), pooled=pooled.to(self.transformer.dtype))


def _read_guidance(transformer: Any, guidance: float) -> float | None:
    """What the transformer is told, None if it has no guidance embedding."""
    if not guidance >= 0:
        raise BadConfig(f"guidance must be at least 0, got {guidance}")
    if transformer.config.guidance_embeds:
        return guidance
    if guidance not in (0.0, 1.0):
        raise BadConfig(f"this FLUX model was made to run unguided: guidance must be 1 (or 0), got {guidance}")
    return None


def _tokens_a_side(vae: Any, image_size: int | None) -> int:
    pixels = PATCH * 2 ** (len(vae.config.block_out_channels) - 1)
    if image_size is None:
        return LATENT_SIZE // PATCH
    if image_size < pixels or image_size % pixels:
        raise BadConfig(f"image_size must be a multiple of {pixels} pixels, got {image_size}")
    return image_size // pixels


def _read_sigmas(scheduler: Any, steps: int, tokens: int) -> list[float]:
    """The times to step through, from 1 to 0, shifted towards noise as far as the scheduler says for so many tokens."""
    config = scheduler.config
    name = type(scheduler).__name__
    if name != "FlowMatchEulerDiscreteScheduler" or config.stochastic_sampling:
        raise BadConfig(f"FLUX is sampled by a FlowMatchEulerDiscreteScheduler that draws nothing, got {name}")
    if steps < 1:
        raise BadConfig(f"a generator needs at least 1 step, got {steps}")
    # Linear in the number of tokens, between the two numbers that the scheduler's shifts are given for.
    slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
    shift = config.base_shift + slope * (tokens - config.base_image_seq_len)
    scheduler.set_timesteps(sigmas=[1 - step / steps for step in range(steps)], mu=shift)
    found: list[float] = scheduler.sigmas.tolist()
    return found
