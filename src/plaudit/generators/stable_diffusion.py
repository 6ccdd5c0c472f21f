"""Stable Diffusion's family: a CLIP text encoder, a U-Net over latents, an autoencoder; one step or many.

Borrows a diffusers folder's parts and owns the sampling loop, so that gradients can pass (a pipeline's own
call is under no_grad). Deterministic: everything random about an image is in the noise it is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.generators.conditions import read_each_once
from plaudit.generators.decoding import Decoding
from plaudit.generators.lean_decoder import make_lean
from plaudit.generators.parts import load_parts
from plaudit.generators.recomputing import set_checkpointing

PARTS = ("tokenizer", "text_encoder", "unet", "vae", "scheduler")

DETERMINISTIC = ("DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler")
"""schedulers whose steps draw nothing and are differentiable as they are"""
WITH_HISTORY = ("PNDMScheduler", "DEISMultistepScheduler", "UniPCMultistepScheduler", "LMSDiscreteScheduler")
"""published schedulers in whose place DDIM's steps are taken"""
DETERMINISTIC_IN_ONE_STEP = ("EulerAncestralDiscreteScheduler", "LCMScheduler")
"""schedulers whose last step draws nothing, so that one step is deterministic"""


@dataclass(frozen=True, kw_only=True)
class TextStates:
    """B prompts as the U-Net reads them."""

    states: Tensor
    """(B, L, D)"""

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, rows: Any) -> "TextStates":
        return TextStates(states=self.states[rows])


class StableDiffusion:
    """A generator of the Stable Diffusion family. Keeps the NoiseGenerator contract.

    Images are decoded / 2 + 0.5, clamped to [0, 1] as ReNO's released code does, in optimisation too: where a
    pixel is beyond the range no gradient reaches it, and an optimiser cannot win reward from colours nobody
    can see.
    """

    def __init__(self, parts: dict[str, Any], *, steps: int = 1, guidance: float = 1.0) -> None:
        """`parts` by the names in PARTS. Guidance 1 runs the U-Net once per step, else twice (CFG).

        Raises BadConfig if the scheduler would draw noise of its own.
        """
        parts = {**parts, "scheduler": without_history(parts["scheduler"])}
        check_settings(parts["scheduler"], steps, guidance)
        self.tokenizer, self.text_encoder = parts["tokenizer"], parts["text_encoder"]
        self.unet, self.vae, self.scheduler = parts["unet"], parts["vae"], parts["scheduler"]
        for model in (self.text_encoder, self.unet, self.vae):
            model.eval().requires_grad_(False)
        if hasattr(self.vae, "decoder"):
            make_lean(self.vae.decoder)
        self.denoiser, self.decoding, self.text_encoders = self.unet, Decoding(), (self.text_encoder,)
        self.steps, self.guidance = steps, guidance
        self.device: torch.device = next(self.unet.parameters()).device
        size = int(self.unet.config.sample_size)
        self.noise_shape: tuple[int, ...] = (int(self.unet.config.in_channels), size, size)
        self._empty: Tensor | None = None

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
        """The generator of a StableDiffusionPipeline folder, frozen, in float32 on the CPU unless told
        otherwise.

        Raises BadConfig if the folder does not hold one.
        """
        parts = load_parts(Path(folder), PARTS, device=device, dtype=dtype)
        return cls(parts, steps=steps, guidance=guidance)

    def use_checkpointing(self, enabled: bool = True) -> None:
        """Recompute activations of U-Net and decoder in the backward pass: less memory, about a third more
        time.
        """
        set_checkpointing(enabled, self.unet, self.vae)

    def encode(self, prompts: Sequence[str]) -> TextStates:
        """The text encoder's states; equal prompts are encoded once."""
        return read_each_once(prompts, self._read)

    def sample(self, noise: Tensor, condition: Any) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] from noise (B, *noise_shape), given rows of `encode`'s result."""
        return self.decode(self.sample_latents(noise, condition))

    def sample_latents(self, noise: Tensor, condition: Any) -> Tensor:
        """Clean latents (B, *noise_shape), float32, as the U-Net knows them (scaled)."""
        scheduler = self.scheduler
        states: Tensor = condition.states
        if self.guidance != 1.0:
            states = torch.cat([self._empty_prompt().expand(len(states), -1, -1), states])
        # Times and sigmas stay on the CPU: schedulers look them up by value, which would wait for a GPU.
        scheduler.set_timesteps(self.steps)
        latents = noise.float() * scheduler.init_noise_sigma
        for time in scheduler.timesteps:
            prediction = self._predict(scheduler.scale_model_input(latents, time), time, states)
            latents = scheduler.step(prediction, time, latents).prev_sample
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], float32, of scaled latents."""
        return self.decoding.decode(self.vae, latents)

    def _predict(self, latents: Tensor, time: Tensor, states: Tensor) -> Tensor:
        """The U-Net's prediction (B, *noise_shape), float32, guided away from the empty prompt's."""
        if self.guidance != 1.0:
            latents = torch.cat([latents, latents])
        time = time.to(latents.device)
        prediction = self.unet(latents.to(states.dtype), time, encoder_hidden_states=states).sample.float()
        if self.guidance == 1.0:
            return prediction
        without, given = prediction.chunk(2)
        return without + self.guidance * (given - without)

    def _empty_prompt(self) -> Tensor:
        if self._empty is None:
            self._empty = self._read([""]).states
        return self._empty

    def _read(self, prompts: Sequence[str]) -> TextStates:
        read = self.tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=self.tokenizer.model_max_length,
            return_tensors="pt",
        )
        with torch.no_grad():
            # No padding mask: Stable Diffusion was trained on the padded states.
            states: Tensor = self.text_encoder(read["input_ids"].to(self.device)).last_hidden_state
        return TextStates(states=states.to(self.unet.dtype))


def without_history(scheduler: Any) -> Any:
    """DDIM on the same schedule in place of a scheduler that looks back at steps before; any other as it is.

    What is published for Stable Diffusion 1.5 looks back, which gradients and policies cannot follow step by step.
    """
    from diffusers import DDIMScheduler

    if type(scheduler).__name__ not in WITH_HISTORY:
        return scheduler
    return DDIMScheduler.from_config(scheduler.config, clip_sample=False)


def check_settings(scheduler: Any, steps: int, guidance: float) -> None:
    """Raises BadConfig if the scheduler would draw noise of its own, or if steps or guidance cannot work."""
    if steps < 1:
        raise BadConfig(f"a generator needs at least 1 step, got {steps}")
    if not guidance >= 0:
        raise BadConfig(f"guidance must be at least 0 (1 is without), got {guidance}")
    name = type(scheduler).__name__
    if name in DETERMINISTIC or (steps == 1 and name in DETERMINISTIC_IN_ONE_STEP):
        return
    raise BadConfig(
        f"the scheduler {name} would draw its own noise in {steps} step{'s' * (steps > 1)}, "
        f"or has not been tried; use one of {', '.join(DETERMINISTIC)}, "
        f"or in one step also {', '.join(DETERMINISTIC_IN_ONE_STEP)}"
    )
