"""A flow over two numbers whose data are known: a round heap for every prompt. Its clean predictor is exact."""

from collections.abc import Sequence
from typing import Any

import torch
from methods.toy_policy import Wishes
from torch import Tensor, nn

from plaudit.generators.denoising import Level, shifted

CENTRES = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
PROMPTS = ("right", "left", "up", "down")
SPREAD = 0.4
ANY = -1.0
"""the condition of the empty prompt, which says nothing of the heap"""


class Correction(nn.Module):
    """Two numbers, the level and the prompt to a change of the clean prediction; at the start none."""

    def __init__(self, seed: int = 0, width: int = 32) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.into = nn.Parameter(torch.randn(4, width, generator=rng) / 2)
        self.bias = nn.Parameter(torch.randn(width, generator=rng) / 2)
        self.out = nn.Parameter(torch.zeros(width, 2))

    def forward(self, latents: Tensor, level: Level, values: Tensor) -> Tensor:
        seen = torch.cat([latents / 4, level.noise[:, None], values[:, None]], dim=1)
        return torch.tanh(seen @ self.into + self.bias) @ self.out


class MixtureDenoising:
    """What is clean in (1 - s) x + s eps, for x from the prompt's heap or, without a prompt, from any. A
    Denoising."""

    noise_shape = (2,)
    variance_preserving = False

    def __init__(self, *, seed: int = 0) -> None:
        self.device = torch.device("cpu")
        self.denoiser = Correction(seed)

    def encode(self, prompts: Sequence[str]) -> Wishes:
        return Wishes(torch.tensor([PROMPTS.index(prompt) if prompt else ANY for prompt in prompts]).float())

    def grid(self, num_steps: int, shift: float = 1.0, start: float = 1.0) -> Level:
        return self.level_at(start * shifted(1 - torch.arange(num_steps) / num_steps, shift))

    def level_at(self, place: Tensor) -> Level:
        return Level(time=place, signal=1 - place, noise=place)

    def clean(self, latents: Tensor, level: Level, condition: Any) -> Tensor:
        exact = exact_clean(latents, level, condition.values)
        return exact + self.denoiser(latents, level, condition.values)

    def decode(self, latents: Tensor) -> Tensor:
        """Two pixels that say where the latents are, from -20 (0) to 20 (1); the third channel is black."""
        placed = torch.cat([latents / 40 + 0.5, torch.zeros(len(latents), 1)], dim=1)
        return placed.view(-1, 3, 1, 1)


def log_densities(latents: Tensor, level: Level) -> Tensor:
    """log p(x | heap) (B, 4) of noisy latents, but for a constant."""
    variance = level.signal[:, None] ** 2 * SPREAD**2 + level.noise[:, None] ** 2
    away = latents[:, None] - level.signal[:, None, None] * CENTRES
    return -away.square().sum(dim=2) / (2 * variance)


def exact_clean(latents: Tensor, level: Level, values: Tensor) -> Tensor:
    """The mean (B, 2) of the clean latents given the noisy ones and the prompt's heap, or ANY."""
    signal, noise = level.signal[:, None, None], level.noise[:, None, None]
    share = signal * SPREAD**2 / (signal**2 * SPREAD**2 + noise**2)
    of_each = CENTRES + share * (latents[:, None] - signal * CENTRES)
    chosen = torch.nn.functional.one_hot(values.long().clamp_min(0), len(CENTRES)).to(of_each)
    weights = torch.where(values[:, None] < 0, log_densities(latents, level).softmax(dim=1), chosen)
    return (weights[:, :, None] * of_each).sum(dim=1)
