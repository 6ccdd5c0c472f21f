"""A many-step model drawn in few steps without guidance: what R0 trains, as a generator like any other.

The sampler is the ODE on the model's own grid of levels, from pure noise (DDIM, Song et al. 2021, at eta 0, and Euler's
method on a flow). Unlike a pipeline's own it may crowd its steps towards the noise, where a picture's layout is
decided: with a few equal strides the average of all layouts comes out.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from plaudit.generators.decoding import Decoding
from plaudit.generators.denoising import denoising_of, follow_ode
from plaudit.generators.generator import Condition


class FewSteps:
    """Keeps the NoiseGenerator's contract. The other model's parts stay where they are, and can be trained there."""

    guidance = 1.0

    def __init__(self, generator: Any, *, steps: int, shift: float = 1.0, start: float = 1.0) -> None:
        """`generator` is a Stable Diffusion 1, 2 or 3. Raises BadConfig for another, or a grid that cannot be."""
        self.generator, self.denoising = generator, denoising_of(generator)
        self.steps, self.grid = steps, self.denoising.grid(steps, shift, start)
        self.noise_shape, self.device = generator.noise_shape, generator.device
        self.denoiser: nn.Module = generator.denoiser
        self.vae, self.text_encoders = generator.vae, generator.text_encoders
        self.decoding: Decoding = generator.decoding

    def use_checkpointing(self, enabled: bool = True) -> None:
        """Recompute activations of denoiser and decoder in the backward pass: less memory, about a third more time."""
        self.generator.use_checkpointing(enabled)

    def encode(self, prompts: Sequence[str]) -> Condition:
        """The text encoders' states; equal prompts are encoded once."""
        found: Condition = self.generator.encode(prompts)
        return found

    def sample(self, noise: Tensor, condition: Any) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] from noise (B, *noise_shape), given rows of `encode`'s result."""
        return self.decode(self.sample_latents(noise, condition))

    def sample_latents(self, noise: Tensor, condition: Any) -> Tensor:
        """Clean latents (B, *noise_shape), float32, as the denoiser knows them (scaled)."""
        return follow_ode(self.denoising, noise, condition, self.grid)

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], float32, of scaled latents."""
        found: Tensor = self.generator.decode(latents)
        return found
