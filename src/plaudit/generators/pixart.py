"""PixArt-alpha's family (Chen et al. 2023): a T5 text encoder, a transformer over latents, an autoencoder.

PixArt-alpha-DMD, distilled to one step (Yin et al. 2024; pixart_student.py fetches it), and PixArt-alpha itself in
many guided steps. Like stable_diffusion.py, this borrows a folder's parts and owns the loop. The transformer also
predicts a variance, which no sampler here wants: those channels are dropped.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.generators.conditions import MaskedStates, guide, read_each_once
from plaudit.generators.decoding import Decoding
from plaudit.generators.lean_decoder import make_lean
from plaudit.generators.parts import load_parts
from plaudit.generators.recomputing import set_checkpointing
from plaudit.generators.stable_diffusion import check_settings

PARTS = ("tokenizer", "text_encoder", "transformer", "vae", "scheduler")
MAX_TOKENS = 120
STUDENT_TIME = 400
"""where PixArt-alpha-DMD starts its one step, of 0 to 999, in ReNO's released code; its folder does not say"""


class PixArtAlpha:
    """A generator of the PixArt-alpha family. Keeps the NoiseGenerator contract.

    A folder with a DDPM scheduler is a student like PixArt-alpha-DMD: one step from STUDENT_TIME, whose result is the
    predicted clean latents. Every other scheduler takes its own times.
    """

    def __init__(self, parts: dict[str, Any], *, steps: int = 1, guidance: float = 1.0) -> None:
        """`parts` by the names in PARTS. Guidance 1 runs the transformer once per step, else twice (CFG).

        Raises BadConfig if the scheduler would draw noise of its own.
        """
        self.scheduler, self.time = _deterministic(parts["scheduler"], steps)
        check_settings(self.scheduler, steps, guidance)
        self.tokenizer, self.text_encoder = parts["tokenizer"], parts["text_encoder"]
        self.transformer, self.vae = parts["transformer"], parts["vae"]
        for model in (self.text_encoder, self.transformer, self.vae):
            model.eval().requires_grad_(False)
        make_lean(self.vae.decoder)
        self.denoiser, self.decoding, self.text_encoders = self.transformer, Decoding(), (self.text_encoder,)
        self.steps, self.guidance = steps, guidance
        self.device: torch.device = next(self.transformer.parameters()).device
        size = int(self.transformer.config.sample_size)
        self.noise_shape: tuple[int, ...] = (int(self.transformer.config.in_channels), size, size)
        self.image_size = size * 2 ** (len(self.vae.config.block_out_channels) - 1)
        self._empty: MaskedStates | None = None

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
        """The generator of a PixArtAlphaPipeline folder, frozen, in float32 on the CPU unless told otherwise.

        Raises BadConfig if the folder does not hold one.
        """
        parts = load_parts(Path(folder), PARTS, device=device, dtype=dtype)
        return cls(parts, steps=steps, guidance=guidance)

    def use_checkpointing(self, enabled: bool = True) -> None:
        """Recompute activations of transformer and decoder in the backward pass: less memory, about a third more
        time.
        """
        set_checkpointing(enabled, self.transformer, self.vae)

    def encode(self, prompts: Sequence[str]) -> MaskedStates:
        """T5's states of the prompts in lower case, and which of them are padding; equal prompts are encoded once."""
        return read_each_once(prompts, self._read)

    def sample(self, noise: Tensor, condition: Any) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] from noise (B, *noise_shape), given rows of `encode`'s result."""
        return self.decode(self.sample_latents(noise, condition))

    def sample_latents(self, noise: Tensor, condition: Any) -> Tensor:
        """Clean latents (B, *noise_shape), float32, as the transformer knows them (scaled)."""
        scheduler = self.scheduler
        if self.guidance != 1.0:
            condition = self._beside_empty(condition)
        # Times and sigmas stay on the CPU: schedulers look them up by value, which would wait for a GPU.
        scheduler.set_timesteps(self.steps)
        if self.time is not None:
            scheduler.timesteps = torch.tensor([self.time])
        latents = noise.float() * scheduler.init_noise_sigma
        for time in scheduler.timesteps:
            prediction = self._predict(scheduler.scale_model_input(latents, time), time, condition)
            stepped = scheduler.step(prediction, time, latents, return_dict=False)
            # The last value is the predicted clean latents where the scheduler tells them: a single step's result.
            latents = stepped[-1] if self.steps == 1 else stepped[0]
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], float32, of scaled latents."""
        return self.decoding.decode(self.vae, latents)

    def _predict(self, latents: Tensor, time: Tensor, condition: MaskedStates) -> Tensor:
        """The transformer's prediction (B, *noise_shape), float32, guided away from the empty prompt's."""
        if self.guidance != 1.0:
            latents = torch.cat([latents, latents])
        prediction = self.transformer(
            latents.to(condition.states.dtype),
            timestep=time.to(latents.device).expand(len(latents)),
            encoder_hidden_states=condition.states,
            encoder_attention_mask=condition.mask,
            added_cond_kwargs=self._told_size(condition.states),
        ).sample.float()
        prediction = prediction[:, : latents.shape[1]]
        return prediction if self.guidance == 1.0 else guide(prediction, self.guidance)

    def _told_size(self, states: Tensor) -> dict[str, Tensor | None]:
        """What the models of 1024 pixels are told: height and width, and their ratio."""
        if not self.transformer.use_additional_conditions:
            return {"resolution": None, "aspect_ratio": None}
        count = len(states)
        size = states.new_full((count, 2), float(self.image_size))
        return {"resolution": size, "aspect_ratio": states.new_ones((count, 1))}

    def _beside_empty(self, given: MaskedStates) -> MaskedStates:
        """The empty prompt for each row, then the rows."""
        if self._empty is None:
            self._empty = self._read([""])
        states = self._empty.states.expand(len(given), -1, -1)
        mask = self._empty.mask.expand(len(given), -1)
        return MaskedStates(states=torch.cat([states, given.states]), mask=torch.cat([mask, given.mask]))

    def _read(self, prompts: Sequence[str]) -> MaskedStates:
        # Lower case, as the published pipeline reads them.
        lowered = [prompt.lower().strip() for prompt in prompts]
        read = self.tokenizer(
            lowered,
            padding="max_length",
            truncation=True,
            max_length=min(MAX_TOKENS, self.tokenizer.model_max_length),
            return_tensors="pt",
        ).to(self.device)
        with torch.no_grad():
            states = self.text_encoder(read["input_ids"], attention_mask=read["attention_mask"]).last_hidden_state
        return MaskedStates(states=states.to(self.transformer.dtype), mask=read["attention_mask"])


def _deterministic(scheduler: Any, steps: int) -> tuple[Any, int | None]:
    """The scheduler to step with, and the time of its single step unless that is its own.

    A DDPM scheduler draws noise even where only its clean prediction is wanted. DDIM's is the same, from the same
    alpha-bars and with the same clipping, and draws nothing.
    """
    from diffusers import DDIMScheduler, DDPMScheduler

    if steps != 1 or not isinstance(scheduler, DDPMScheduler):
        return scheduler, None
    times = int(scheduler.config.num_train_timesteps)
    if times <= STUDENT_TIME:
        raise BadConfig(f"one step starts at time {STUDENT_TIME}, and the folder's scheduler has {times} times only")
    return DDIMScheduler.from_config(scheduler.config), STUDENT_TIME
