"""Latent consistency models (Luo et al. 2023): a clean image in one step, a better one in a few.

Each step jumps to clean latents and mixes them with fresh noise for the next. That is a Gaussian policy whose spread is
the schedule's (RLCM, Oertell et al. 2024). Differs from RLCM's released code in the last step, whose noise no image
shows: here it draws nothing. LCM-Dreamshaper reads the guidance as an embedding; LCM-LoRA makes a consistency model
of any Stable Diffusion by a patch to its U-Net, without one.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn

from plaudit.core.errors import BadConfig
from plaudit.core.random_streams import stream
from plaudit.generators.generator import Transition
from plaudit.generators.lora import merge_lora
from plaudit.generators.parts import load_parts
from plaudit.generators.stable_diffusion import PARTS, StableDiffusion, TextStates
from plaudit.generators.step_policy import act, check_prediction, predict_clean, rows_of

Spacing = Literal["stride", "even"]
"""of the times among those the model was distilled at: in equal strides from the top, as LCM's and RLCM's own code, or
evenly over all of them, as diffusers; they differ where the steps do not divide the times"""

SIGMA_DATA = 0.5
"""of the boundary scalings (Song et al. 2023, section 3)"""


class LatentConsistency:
    """A consistency model over latents. Keeps both the NoiseGenerator's and the StepPolicy's contract.

    `step` draws fresh noise and leaves the drawing to its caller. `sample` must be a map of the starting noise alone,
    so it mixes in that noise again, its numbers in another fixed order at every step: standard normal like fresh
    noise, and without the grain that the same noise at the same place leaves. In one step nothing is mixed in.
    """

    def __init__(
        self, parts: dict[str, Any], *, steps: int = 4, guidance: float | None = 8.0, spacing: Spacing = "stride"
    ) -> None:
        """`parts` by the names of Stable Diffusion's. Guidance is None for a U-Net without a guidance embedding.

        Raises BadConfig if the parts are not a consistency model's, or for settings it cannot have.
        """
        scheduler = parts["scheduler"]
        if type(scheduler).__name__ != "LCMScheduler":
            raise BadConfig(f"a latent consistency model needs an LCMScheduler, not {type(scheduler).__name__}")
        self.times = sampling_times(steps, spacing, scheduler.config)
        # Reads prompts and decodes latents; the steps are ours.
        self._shell = StableDiffusion(parts)
        self.denoiser: nn.Module = self._shell.unet
        self.device, self.noise_shape = self._shell.device, self._shell.noise_shape
        self.vae, self.decoding, self.text_encoders = parts["vae"], self._shell.decoding, self._shell.text_encoders
        self.num_steps, self.guidance, self.spacing = steps, guidance, spacing
        self._kind: str = scheduler.config.prediction_type
        self._set_schedule(scheduler)
        self._guidance_state = _embedding_for(self._shell.unet, guidance)
        self._orders: list[Tensor] = []

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        steps: int = 4,
        guidance: float = 8.0,
        spacing: Spacing = "stride",
    ) -> Self:
        """The model of a LatentConsistencyModelPipeline folder, frozen, in float32 on the CPU unless told otherwise.

        Raises BadConfig if the folder does not hold one.
        """
        parts = load_parts(Path(folder), PARTS, device=device, dtype=dtype)
        return cls(parts, steps=steps, guidance=guidance, spacing=spacing)

    @classmethod
    def from_lora(
        cls,
        folder: str | Path,
        lora: str | Path,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        steps: int = 4,
        spacing: Spacing = "stride",
    ) -> Self:
        """The model that an LCM-LoRA's file (safetensors) makes of a StableDiffusionPipeline folder.

        The patch is merged into the U-Net's weights, so that a trained one can be laid on top. Raises BadConfig if
        the folder does not hold such a pipeline, or the file does not fit its U-Net.
        """
        from diffusers import LCMScheduler

        parts = load_parts(Path(folder), PARTS, device=device, dtype=dtype)
        merge_lora(parts["unet"], Path(lora))
        parts["scheduler"] = LCMScheduler.from_config(parts["scheduler"].config)
        return cls(parts, steps=steps, guidance=None, spacing=spacing)

    def use_checkpointing(self, enabled: bool = True) -> None:
        """Recompute activations of U-Net and decoder in the backward pass: less memory, about a third more time."""
        self._shell.use_checkpointing(enabled)

    def encode(self, prompts: Sequence[str]) -> TextStates:
        """The text encoder's states; equal prompts are encoded once."""
        return self._shell.encode(prompts)

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], float32, of clean latents."""
        return self._shell.decode(latents)

    def step(self, latents: Tensor, index: Tensor, condition: Any) -> Transition:
        """From `latents` (B, *noise_shape) at steps `index` (B,): clean latents, mixed with the next time's noise."""
        latents, states = latents.float(), condition.states
        embedding = self._guidance_state
        prediction = self.denoiser(
            latents.to(states.dtype),
            self._times[index],
            encoder_hidden_states=states,
            timestep_cond=None if embedding is None else embedding.to(states.dtype).expand(len(states), -1),
        ).sample.float()
        clean = predict_clean(self._kind, prediction, latents, self._alpha_bars[index])
        clean = rows_of(self._out[index], latents) * clean + rows_of(self._skip[index], latents) * latents
        return Transition(mean=rows_of(self._signal[index], latents) * clean, spread=self._spread[index])

    def sample(self, noise: Tensor, condition: Any) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] from noise (B, *noise_shape), given rows of `encode`'s result."""
        latents = noise.float()
        for step in range(self.num_steps):
            index = torch.full((len(noise),), step, device=noise.device)
            latents = act(self.step(latents, index, condition), self.reordered(noise.float(), step))
        return self.decode(latents)

    def reordered(self, noise: Tensor, step: int) -> Tensor:
        """The noise (B, *noise_shape) that `sample` mixes in after a step: the start's own, in that step's order."""
        while len(self._orders) <= step:
            order = torch.randperm(noise[0].numel(), generator=stream("order of noise", len(self._orders)))
            self._orders.append(order.to(noise.device))
        return noise.flatten(1)[:, self._orders[step]].view_as(noise)

    def _set_schedule(self, scheduler: Any) -> None:
        """Each step's numbers, (H,) on the device, so that rows at different steps are looked up together."""
        times = torch.tensor(self.times)
        alpha_bars = scheduler.alphas_cumprod.double()[times]
        check_prediction(self._kind, float(alpha_bars[0]))
        # After the last step nothing is mixed in: all signal.
        following = torch.cat([alpha_bars[1:], alpha_bars.new_ones(1)])
        scaled = times.double() * scheduler.config.timestep_scaling
        skip = SIGMA_DATA**2 / (scaled**2 + SIGMA_DATA**2)
        out = scaled / (scaled**2 + SIGMA_DATA**2).sqrt()
        numbers = (alpha_bars, following.sqrt(), (1 - following).sqrt(), skip, out)
        placed = [number.float().to(self.device) for number in numbers]
        self._alpha_bars, self._signal, self._spread, self._skip, self._out = placed
        self._times = times.to(self.device)


def sampling_times(steps: int, spacing: Spacing, config: Any) -> list[int]:
    """The times of so many steps, falling, of an LCMScheduler's config. Raises BadConfig if there are not so many."""
    if spacing not in get_args(Spacing):
        raise BadConfig(f"the spacing of the times is {' or '.join(get_args(Spacing))}, got {spacing!r}")
    count, last = config.original_inference_steps, config.num_train_timesteps
    if not 1 <= steps <= count:
        raise BadConfig(f"this consistency model takes 1 to {count} steps, got {steps}")
    distilled = [number * (last // count) - 1 for number in range(count, 0, -1)]
    stride = count // steps
    return [distilled[step * stride if spacing == "stride" else step * count // steps] for step in range(steps)]


def guidance_embedding(guidance: float, size: int) -> Tensor:
    """(1, size), float32: sines, then cosines, of 1000 (guidance - 1) at falling frequencies (Meng et al. 2023).

    Guidance counts as in classifier-free guidance, where 1 is none.
    """
    half = size // 2
    frequencies = torch.exp(torch.arange(half) * (-math.log(10000) / (half - 1)))
    angles = 1000.0 * (guidance - 1) * frequencies
    return torch.cat([angles.sin(), angles.cos(), angles.new_zeros(size % 2)])[None]


def _embedding_for(unet: Any, guidance: float | None) -> Tensor | None:
    """The guidance as the U-Net reads it, (1, size), float32 on its device; None if it reads none."""
    size = unet.config.time_cond_proj_dim
    if guidance is None:
        if size is not None:
            raise BadConfig("this consistency model's U-Net reads the guidance as an embedding; give one, such as 8")
        return None
    if size is None:
        raise BadConfig(
            f"this U-Net has no guidance embedding, so guidance {guidance:g} cannot reach it; a model made by an "
            "LCM-LoRA runs without (guidance None)"
        )
    if not guidance >= 1:
        raise BadConfig(f"a guidance embedding starts at 1 (none), got {guidance:g}")
    return guidance_embedding(guidance, size).to(unet.device)
