"""A policy of H Gaussian steps whose mean is a learned shift, and a reward that wants grey of a certain brightness."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from plaudit.generators.generator import Transition


@dataclass(frozen=True)
class Wishes:
    """One number per prompt."""

    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Any) -> "Wishes":
        return Wishes(self.values[rows])


class ToyPolicy:
    """From latents x at step k to 0.5 x + shift[k], with spread 0.3; the last step draws nothing."""

    noise_shape = (4,)

    def __init__(self, steps: int = 3) -> None:
        self.device, self.num_steps = torch.device("cpu"), steps
        self.denoiser = nn.ParameterList([nn.Parameter(torch.zeros(steps, 4))])
        self.spreads = torch.tensor([0.3] * (steps - 1) + [0.0])

    def encode(self, prompts: Sequence[str]) -> Wishes:
        return Wishes(torch.tensor([float(len(prompt)) for prompt in prompts]))

    def step(self, latents: Tensor, index: Tensor, condition: Any) -> Transition:
        return Transition(mean=0.5 * latents + self.denoiser[0][index], spread=self.spreads[index])

    def decode(self, latents: Tensor) -> Tensor:
        grey = latents.mean(dim=1).sigmoid()
        return grey.view(-1, 1, 1, 1).expand(-1, 3, 2, 2)


class Bright:
    """Wants white."""

    differentiable = False

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return images.mean(dim=(1, 2, 3)).float()
