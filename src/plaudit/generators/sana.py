"""SANA-Sprint's family (Chen et al. 2025): one to four steps of a consistency model that is told its guidance.

Gemma reads the prompt below an instruction; the autoencoder makes one latent of 32 x 32 pixels. The model is trained
as a flow, x = (1 - s) image + s noise with direction noise - image, and sampled on a circle, x = cos t image + sin t
noise: the same mixture but for its length, at s = sin t / (cos t + sin t). Like stable_diffusion.py, this borrows a
folder's parts and owns the loop.
"""

import inspect
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from plaudit.core.errors import BadConfig
from plaudit.generators.conditions import MaskedStates, read_each_once
from plaudit.generators.decoding import Decoding
from plaudit.generators.parts import load_parts
from plaudit.generators.recomputing import recomputed, set_checkpointing

PARTS = ("tokenizer", "text_encoder", "transformer", "vae", "scheduler")
MAX_TOKENS = 300
FIRST_TIME = 1.5708
"""pi / 2, pure noise, rounded as in the published pipeline's defaults, of which the next is another"""
SECOND_OF_TWO = 1.3


class SanaSprint:
    """A generator of the SANA-Sprint family. Keeps the NoiseGenerator contract.

    Between steps the published sampler draws fresh noise. Here that noise is part of an image's own: its first
    channels are where the image starts, and each further step takes the next ones. So several steps are deterministic
    in the noise too, and an optimiser may choose all of it.
    """

    def __init__(self, parts: dict[str, Any], *, steps: int = 1, guidance: float = 1.0) -> None:
        """`parts` by the names in PARTS. `guidance` is told to the transformer (published: 4.5) and costs nothing.

        Raises BadConfig if parts or settings cannot work.
        """
        _check_settings(parts["transformer"], parts["scheduler"], steps, guidance)
        self.tokenizer, self.text_encoder = parts["tokenizer"], parts["text_encoder"]
        self.transformer, self.vae = parts["transformer"], parts["vae"]
        for model in (self.text_encoder, self.transformer, self.vae):
            model.eval().requires_grad_(False)
        self.denoiser, self.decoding, self.text_encoders = self.transformer, Decoding(), (self.text_encoder,)
        # The instruction stands before the prompt, and padding behind it.
        self.tokenizer.padding_side = "right"
        self.instruction = _published_instruction()
        self.steps, self.guidance = steps, guidance
        self.device: torch.device = next(self.transformer.parameters()).device
        size, self.channels = int(self.transformer.config.sample_size), int(self.transformer.config.in_channels)
        self.noise_shape: tuple[int, ...] = (steps * self.channels, size, size)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        steps: int = 1,
        guidance: float = 1.0,
    ) -> Self:
        """The generator of a SanaSprintPipeline folder, frozen, in float32 on the CPU unless told otherwise.

        Raises BadConfig if the folder does not hold one.
        """
        parts = load_parts(Path(folder), PARTS, device=device, dtype=dtype)
        return cls(parts, steps=steps, guidance=guidance)

    def use_checkpointing(self, enabled: bool = True) -> None:
        """Recompute activations of transformer and decoder in the backward pass: less memory, about a third more
        time.
        """
        set_checkpointing(enabled, self.transformer)
        # diffusers offers none for this decoder.
        kind = _Recomputed if enabled else nn.Sequential
        self.vae.decoder.up_blocks = nn.ModuleList(kind(*block) for block in self.vae.decoder.up_blocks)

    def encode(self, prompts: Sequence[str]) -> MaskedStates:
        """Gemma's states of the prompts in lower case, and which are padding; equal prompts are encoded once."""
        return read_each_once(prompts, self._read)

    def sample(self, noise: Tensor, condition: Any) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] from noise (B, *noise_shape), given rows of `encode`'s result."""
        return self.decode(self.sample_latents(noise, condition))

    def sample_latents(self, noise: Tensor, condition: Any) -> Tensor:
        """Clean latents (B, channels, H / 32, W / 32), float32, as the transformer knows them (scaled)."""
        times, draws = _times(self.steps), noise.float().split(self.channels, dim=1)
        clean = self._predict_clean(draws[0], times[0], condition)
        for time, fresh in zip(times[1:], draws[1:], strict=True):
            clean = self._predict_clean(math.cos(time) * clean + math.sin(time) * fresh, time, condition)
        return clean

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], float32, of scaled latents."""
        return self.decoding.decode(self.vae, latents)

    def _predict_clean(self, latents: Tensor, time: float, condition: MaskedStates) -> Tensor:
        """Where the direction at `time` leads, float32: image = x - s direction, on the flow's scale."""
        length, count = math.cos(time) + math.sin(time), len(latents)
        share, dtype = math.sin(time) / length, condition.states.dtype
        told = self.guidance * self.transformer.config.guidance_embeds_scale
        direction = self.transformer(
            (latents / length).to(dtype),
            encoder_hidden_states=condition.states,
            encoder_attention_mask=condition.mask,
            guidance=latents.new_full((count,), told),
            timestep=latents.new_full((count,), share),
        ).sample
        return latents / length - share * direction.float()

    def _read(self, prompts: Sequence[str]) -> MaskedStates:
        texts = [self.instruction + prompt.lower().strip() for prompt in prompts]
        # The published pipeline's length, which leaves the prompt one token less than are kept below.
        length = len(self.tokenizer.encode(self.instruction)) + MAX_TOKENS - 2
        read = self.tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt").to(
            self.device
        )
        with torch.no_grad():
            states = self.text_encoder(read["input_ids"], attention_mask=read["attention_mask"]).last_hidden_state
        # The first token and those behind the instruction, which has done its work inside Gemma.
        kept = [0, *range(1 - MAX_TOKENS, 0)]
        return MaskedStates(states=states[:, kept].to(self.transformer.dtype), mask=read["attention_mask"][:, kept])


class _Recomputed(nn.Sequential):
    """Layers that keep no activations for the backward pass but their own inputs."""

    def forward(self, input: Tensor) -> Tensor:
        for layer in self:
            learns = torch.is_grad_enabled() and input.requires_grad
            input = recomputed(layer, input) if learns else layer(input)
        return input


def _times(steps: int) -> list[float]:
    """Where the steps start, on the circle from pi / 2 to 0: evenly, but for two."""
    if steps == 2:
        return [FIRST_TIME, SECOND_OF_TWO]
    return [FIRST_TIME * (1 - step / steps) for step in range(steps)]


def _published_instruction() -> str:
    """What stands before every prompt: the published pipeline's default, from the installed diffusers."""
    from diffusers import SanaSprintPipeline

    lines: list[str] = inspect.signature(SanaSprintPipeline.__call__).parameters["complex_human_instruction"].default
    return "\n".join(lines)


def _check_settings(transformer: Any, scheduler: Any, steps: int, guidance: float) -> None:
    if steps < 1:
        raise BadConfig(f"a generator needs at least 1 step, got {steps}")
    if not guidance >= 0:
        raise BadConfig(f"guidance must be at least 0, got {guidance}")
    name = type(scheduler).__name__
    if name != "SCMScheduler" or scheduler.config.prediction_type != "trigflow":
        raise BadConfig(f"SANA-Sprint is sampled by a trigflow SCMScheduler, and the folder has a {name}")
    if not transformer.config.guidance_embeds:
        raise BadConfig("the folder's transformer has no guidance embedding, so it is not SANA-Sprint's")
