"""Stable Diffusion XL's family (Podell et al. 2023): two CLIP text encoders and a U-Net that is told the image's size.

SDXL itself in many guided steps, and the models distilled from it: SDXL-Turbo (Sauer et al. 2023) is a folder of its
own; Hyper-SDXL (Ren et al. 2024) is SDXL's folder with another U-Net, and one step of another sampler at a time of
its own (`Changes`). Like stable_diffusion.py, this borrows a folder's parts and owns the loop.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.generators.conditions import PooledStates, beside, guide, read_clip, read_each_once
from plaudit.generators.decoding import Decoding
from plaudit.generators.lean_decoder import make_lean
from plaudit.generators.parts import load_parts, read_index
from plaudit.generators.recomputing import set_checkpointing
from plaudit.generators.sdxl_changes import Changes, load_autoencoder, load_unet, one_lcm_step
from plaudit.generators.stable_diffusion import check_settings

PARTS = ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2", "unet", "vae", "scheduler")


class StableDiffusionXL:
    """A generator of the SDXL family. Keeps the NoiseGenerator contract.

    Original size, target size and image size are one, and nothing is cropped, as in the pipelines' defaults.
    """

    def __init__(
        self,
        parts: dict[str, Any],
        *,
        steps: int = 1,
        guidance: float = 1.0,
        lcm_time: int | None = None,
        empty_is_zero: bool = True,
    ) -> None:
        """`parts` by the names in PARTS. Guidance 1 runs the U-Net once per step, else twice (CFG).

        `empty_is_zero`: guidance goes away from zeros, not from the encoded empty prompt.
        Raises BadConfig if the scheduler would draw noise of its own, or for a U-Net that wants the guidance told.
        """
        if lcm_time is not None:
            parts = {**parts, "scheduler": one_lcm_step(parts["scheduler"], lcm_time, steps)}
        check_settings(parts["scheduler"], steps, guidance)
        if parts["unet"].config.time_cond_proj_dim is not None:
            raise BadConfig("this U-Net is a latent consistency model, which is told its guidance; SDXL's is not")
        self.encoders = [(parts[f"tokenizer{tail}"], parts[f"text_encoder{tail}"]) for tail in ("", "_2")]
        self.unet, self.vae, self.scheduler = parts["unet"], parts["vae"], parts["scheduler"]
        for model in (*(encoder for _, encoder in self.encoders), self.unet, self.vae):
            model.eval().requires_grad_(False)
        make_lean(self.vae.decoder)
        self.denoiser, self.decoding = self.unet, Decoding()
        self.text_encoders = tuple(encoder for _, encoder in self.encoders)
        self.steps, self.guidance, self.lcm_time = steps, guidance, lcm_time
        self.device: torch.device = next(self.unet.parameters()).device
        size = int(self.unet.config.sample_size)
        self.noise_shape: tuple[int, ...] = (int(self.unet.config.in_channels), size, size)
        pixels = size * 2 ** (len(self.vae.config.block_out_channels) - 1)
        # Height and width of the original, top and left of the crop, height and width wanted.
        self._sizes = torch.tensor([pixels, pixels, 0, 0, pixels, pixels], dtype=torch.float32, device=self.device)
        self._empty_is_zero = empty_is_zero
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
        changes: Changes | None = None,
    ) -> Self:
        """The generator of a StableDiffusionXLPipeline folder, frozen, in float32 on the CPU unless told otherwise.

        The folder need not hold what `changes` replaces. Raises BadConfig if it does not hold the rest.
        """
        folder, changes = Path(folder), changes or Changes()
        replaced = [name for name, place in (("unet", changes.unet), ("vae", changes.vae)) if place is not None]
        parts = load_parts(folder, [name for name in PARTS if name not in replaced], device=device, dtype=dtype)
        if changes.unet is not None:
            parts["unet"] = load_unet(changes.unet, folder / "unet", device=device, dtype=dtype)
        if changes.vae is not None:
            parts["vae"] = load_autoencoder(changes.vae, device=device, dtype=dtype)
        if dtype is torch.float16 and parts["vae"].config.force_upcast:
            # SDXL's own decoder overflows in float16.
            parts["vae"].float()
        empty_is_zero = bool(read_index(folder).get("force_zeros_for_empty_prompt", True))
        return cls(parts, steps=steps, guidance=guidance, lcm_time=changes.lcm_time, empty_is_zero=empty_is_zero)

    def use_checkpointing(self, enabled: bool = True) -> None:
        """Recompute activations of U-Net and decoder in the backward pass: less memory, about a third more time."""
        set_checkpointing(enabled, self.unet, self.vae)

    def encode(self, prompts: Sequence[str]) -> PooledStates:
        """Both encoders' states, side by side, and the second one's summary; equal prompts are encoded once."""
        return read_each_once(prompts, self._read)

    def sample(self, noise: Tensor, condition: Any) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] from noise (B, *noise_shape), given rows of `encode`'s result."""
        return self.decode(self.sample_latents(noise, condition))

    def sample_latents(self, noise: Tensor, condition: Any) -> Tensor:
        """Clean latents (B, *noise_shape), float32, as the U-Net knows them (scaled)."""
        scheduler = self.scheduler
        if self.guidance != 1.0:
            condition = beside(self._empty_prompt(), condition)
        # Times and sigmas stay on the CPU: schedulers look them up by value, which would wait for a GPU.
        scheduler.set_timesteps(self.steps)
        if self.lcm_time is not None:
            # Given to set_timesteps, it would be warned of at every call: it is not where the schedule starts.
            scheduler.timesteps = torch.tensor([self.lcm_time])
        latents = noise.float() * scheduler.init_noise_sigma
        for time in scheduler.timesteps:
            prediction = self._predict(scheduler.scale_model_input(latents, time), time, condition)
            latents = scheduler.step(prediction, time, latents).prev_sample
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], float32, of scaled latents."""
        return self.decoding.decode(self.vae, latents)

    def _predict(self, latents: Tensor, time: Tensor, condition: PooledStates) -> Tensor:
        """The U-Net's prediction (B, *noise_shape), float32, guided away from the empty prompt's."""
        if self.guidance != 1.0:
            latents = torch.cat([latents, latents])
        added = {"text_embeds": condition.pooled, "time_ids": self._sizes.expand(len(latents), -1)}
        prediction: Tensor = self.unet(
            latents.to(condition.states.dtype),
            time.to(latents.device),
            encoder_hidden_states=condition.states,
            added_cond_kwargs=added,
        ).sample.float()
        return prediction if self.guidance == 1.0 else guide(prediction, self.guidance)

    def _empty_prompt(self) -> PooledStates:
        if self._empty is None:
            read = self._read([""])
            zero = PooledStates(states=torch.zeros_like(read.states), pooled=torch.zeros_like(read.pooled))
            self._empty = zero if self._empty_is_zero else read
        return self._empty

    def _read(self, prompts: Sequence[str]) -> PooledStates:
        (first, _), (second, pooled) = [
            read_clip(tokenizer, encoder, prompts, self.device) for tokenizer, encoder in self.encoders
        ]
        states = torch.cat([first, second], dim=-1)
        return PooledStates(states=states.to(self.unet.dtype), pooled=pooled.to(self.unet.dtype))


def load_recipe(
    folder: Path,
    *,
    steps: int,
    guidance: float,
    changes: Mapping[str, Any],
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> StableDiffusionXL:
    """A row's generator: a published folder and what the recipe changes about it, as `Changes` takes it."""
    generator = StableDiffusionXL.from_pretrained(
        folder, device=device, dtype=dtype, steps=steps, guidance=guidance, changes=Changes(**changes)
    )
    generator.use_checkpointing()
    return generator
