"""Stable Diffusion 3's family (Esser et al. 2024): a transformer that flows from noise to latents, told by CLIP and T5.

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
from plaudit.generators.conditions import PooledStates, beside, guide, read_clip, read_each_once
from plaudit.generators.decoding import Decoding
from plaudit.generators.lean_decoder import make_lean
from plaudit.generators.parts import load_parts, read_index
from plaudit.generators.recomputing import set_checkpointing

PARTS = ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2", "transformer", "vae", "scheduler")
T5_PARTS = ("tokenizer_3", "text_encoder_3")
"""what a folder may leave out: the largest encoder, which helps most with long prompts and with writing"""
T5_LENGTH = 256


class StableDiffusion3:
    """A generator of the Stable Diffusion 3 family. Keeps the NoiseGenerator contract."""

    def __init__(
        self, parts: dict[str, Any], *, steps: int = 1, guidance: float = 1.0, sigmas: Sequence[float] | None = None
    ) -> None:
        """`parts` by the names in PARTS and, if there is a T5, T5_PARTS.

        Guidance 1 runs the transformer once per step, else twice (CFG). `sigmas`: where the steps start, before the
        scheduler's shift, falling from 1; unless given they are the pipeline's own, whose last step is very short.
        Raises BadConfig if the scheduler would draw noise of its own or the settings cannot work.
        """
        _check_scheduler(parts["scheduler"])
        _check_settings(steps, guidance, sigmas)
        self.clips = [(parts[f"tokenizer{tail}"], parts[f"text_encoder{tail}"]) for tail in ("", "_2")]
        self.tokenizer_3, self.text_encoder_3 = parts.get("tokenizer_3"), parts.get("text_encoder_3")
        self.transformer, self.vae, self.scheduler = parts["transformer"], parts["vae"], parts["scheduler"]
        encoders = (*(encoder for _, encoder in self.clips), self.text_encoder_3)
        for model in (*encoders, self.transformer, self.vae):
            if model is not None:
                model.eval().requires_grad_(False)
        make_lean(self.vae.decoder)
        self.denoiser, self.decoding = self.transformer, Decoding()
        self.text_encoders = tuple(model for model in encoders if model is not None)
        self.steps, self.guidance = steps, guidance
        self.sigmas = None if sigmas is None else list(sigmas)
        self.device: torch.device = next(self.transformer.parameters()).device
        size = int(self.transformer.config.sample_size)
        self.noise_shape: tuple[int, ...] = (int(self.transformer.config.in_channels), size, size)
        self._empty: PooledStates | None = None

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        steps: int = 1,
        guidance: float = 1.0,
        sigmas: Sequence[float] | None = None,
    ) -> Self:
        """The generator of a StableDiffusion3Pipeline folder, frozen, in float32 on the CPU unless told otherwise.

        Without T5 where model_index.json names none. Raises BadConfig if the folder does not hold the parts.
        """
        library, _ = read_index(Path(folder)).get("text_encoder_3") or (None, None)
        names = PARTS if library is None else (*PARTS, *T5_PARTS)
        parts = load_parts(Path(folder), names, device=device, dtype=dtype)
        return cls(parts, steps=steps, guidance=guidance, sigmas=sigmas)

    def use_checkpointing(self, enabled: bool = True) -> None:
        """Recompute activations of transformer and decoder in the backward pass: less memory, about a third more
        time.
        """
        set_checkpointing(enabled, self.transformer, self.vae)

    def encode(self, prompts: Sequence[str]) -> PooledStates:
        """The CLIPs' states side by side, followed by T5's; the CLIPs' summaries. Equal prompts are encoded once."""
        return read_each_once(prompts, self._read)

    def sample(self, noise: Tensor, condition: Any) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] from noise (B, *noise_shape), given rows of `encode`'s result."""
        return self.decode(self.sample_latents(noise, condition))

    def sample_latents(self, noise: Tensor, condition: Any) -> Tensor:
        """Clean latents (B, *noise_shape), float32, as the transformer knows them (shifted and scaled)."""
        if self.guidance != 1.0:
            condition = beside(self._empty_prompt(), condition)
        # Times and sigmas stay on the CPU: the scheduler looks them up by value, which would wait for a GPU.
        self.scheduler.set_timesteps(self.steps, sigmas=self.sigmas)
        latents = noise.float()
        for time in self.scheduler.timesteps:
            prediction = self._predict(latents, time, condition)
            latents = self.scheduler.step(prediction, time, latents).prev_sample
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], float32, of shifted and scaled latents."""
        return self.decoding.decode(self.vae, latents)

    def _predict(self, latents: Tensor, time: Tensor, condition: PooledStates) -> Tensor:
        """The transformer's velocity (B, *noise_shape), float32, guided away from the empty prompt's."""
        if self.guidance != 1.0:
            latents = torch.cat([latents, latents])
        prediction: Tensor = self.transformer(
            hidden_states=latents.to(condition.states.dtype),
            timestep=time.to(latents.device).expand(len(latents)),
            encoder_hidden_states=condition.states,
            pooled_projections=condition.pooled,
        ).sample.float()
        return prediction if self.guidance == 1.0 else guide(prediction, self.guidance)

    def _empty_prompt(self) -> PooledStates:
        if self._empty is None:
            self._empty = self._read([""])
        return self._empty

    def _read(self, prompts: Sequence[str]) -> PooledStates:
        clips = [read_clip(tokenizer, encoder, prompts, self.device) for tokenizer, encoder in self.clips]
        short = torch.cat([states for states, _ in clips], dim=-1)
        pooled = torch.cat([summary for _, summary in clips], dim=-1)
        long = self._read_t5(prompts)
        # The CLIPs' states are narrower than T5's, and are filled up with zeros.
        states = torch.cat([F.pad(short, (0, long.shape[-1] - short.shape[-1])), long.to(short.dtype)], dim=1)
        dtype = self.transformer.dtype
        return PooledStates(states=states.to(dtype), pooled=pooled.to(dtype))

    def _read_t5(self, prompts: Sequence[str]) -> Tensor:
        """T5's states, (B, T5_LENGTH, D); zeros without a T5, which the transformer has learned to do without."""
        if self.tokenizer_3 is None or self.text_encoder_3 is None:
            width = int(self.transformer.config.joint_attention_dim)
            return torch.zeros(len(prompts), T5_LENGTH, width, device=self.device)
        read = self.tokenizer_3(
            list(prompts), padding="max_length", truncation=True, max_length=T5_LENGTH, return_tensors="pt"
        )
        with torch.no_grad():
            # No padding mask: the published model was trained on the padded states.
            states: Tensor = self.text_encoder_3(read["input_ids"].to(self.device)).last_hidden_state
        return states


def _check_scheduler(scheduler: Any) -> None:
    """Raises BadConfig for a scheduler whose steps draw noise, or whose times depend on the image's size."""
    name = type(scheduler).__name__
    if name != "FlowMatchEulerDiscreteScheduler":
        raise BadConfig(f"Stable Diffusion 3 is sampled with the scheduler FlowMatchEulerDiscreteScheduler, got {name}")
    for setting in ("stochastic_sampling", "use_dynamic_shifting"):
        if getattr(scheduler.config, setting, False):
            raise BadConfig(f"the scheduler's {setting} is not supported; set it to false in scheduler_config.json")


def _check_settings(steps: int, guidance: float, sigmas: Sequence[float] | None) -> None:
    if steps < 1:
        raise BadConfig(f"a generator needs at least 1 step, got {steps}")
    if not guidance >= 0:
        raise BadConfig(f"guidance must be at least 0 (1 is without), got {guidance}")
    if sigmas is None:
        return
    if len(sigmas) != steps:
        raise BadConfig(f"sigmas say where each step starts: {steps} steps need as many, got {len(sigmas)}")
    falling = all(high > low for high, low in itertools.pairwise([*sigmas, 0.0]))
    if sigmas[0] != 1.0 or not falling:
        raise BadConfig(f"sigmas must fall from 1 and stay above 0, got {list(sigmas)}")
