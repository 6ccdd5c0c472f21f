"""A denoiser with weights of its own at every noise level, which remembers how it was called; and its training."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from methods.toy_policy import Bright, Wishes
from torch import Tensor, nn
from toys import Colour, Texture

from plaudit.core.team import Team
from plaudit.generators.denoising import Level, shifted
from plaudit.methods.anchor import Start, WeightAnchor
from plaudit.methods.r0 import R0, R0Config, Update
from plaudit.rewards.mix import WeightedSum
from plaudit.rewards.reward import Reward

PLACES = 12
"""levels between clean and pure noise, so that grids of 1, 2, 3, 4, 6 and 12 steps meet weights of their own"""
PROMPTS = ("a", "bb", "ccc", "dddd")


class ToyDenoising:
    """A flow whose clean latents are tanh(latents / 2 + weight[level] + the prompt's number). A Denoising."""

    noise_shape = (3, 2, 2)
    variance_preserving = False

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.denoiser = nn.ParameterList([nn.Parameter(torch.zeros(PLACES + 1, 12))])
        self.calls: list[tuple[bool, list[int]]] = []
        """whether gradients were on, and every row's level"""

    @property
    def weight(self) -> nn.Parameter:
        return self.denoiser[0]

    def encode(self, prompts: Sequence[str]) -> Wishes:
        return Wishes(torch.tensor([len(prompt) / 10 for prompt in prompts]))

    def grid(self, num_steps: int, shift: float = 1.0, start: float = 1.0) -> Level:
        return self.level_at(start * shifted(1 - torch.arange(num_steps) / num_steps, shift))

    def level_at(self, place: Tensor) -> Level:
        return Level(time=(place * PLACES).round().long(), signal=1 - place, noise=place)

    def clean(self, latents: Tensor, level: Level, condition: Any) -> Tensor:
        self.calls.append((torch.is_grad_enabled(), level.time.tolist()))
        shift = self.weight[level.time] + condition.values[:, None]
        return torch.tanh(latents / 2 + shift.view(-1, *self.noise_shape))

    def decode(self, latents: Tensor) -> Tensor:
        return torch.sigmoid(latents + 0.3 * latents.roll(1, dims=1)).repeat_interleave(2, dim=-1)


def toy_training(
    config: R0Config,
    reward: WeightedSum | Reward,
    *,
    denoising: ToyDenoising | None = None,
    prompts: Sequence[str] = PROMPTS,
    team: Team | None = None,
) -> R0:
    denoising = denoising or ToyDenoising()
    parameters = list(denoising.denoiser.parameters())
    anchor = WeightAnchor(parameters, [p.detach().clone() for p in parameters])
    return R0(denoising, reward, prompts, config, start=Start(frozen=ToyDenoising(), anchor=anchor), team=team)


def weights_of(one: R0) -> Tensor:
    return one.learner.parameters[0].detach().clone()


SMALL = R0Config(updates=3, images_per_update=5, lr=0.02, batch_size=4)
REWARDS: dict[str, tuple[float, Reward]] = {
    "colour": (2.0, Colour()),
    "texture": (1.0, Texture()),
    "blue": (-1.0, Colour(2)),
}


class Brightness(Bright):
    """Wants white, and says where it is."""

    differentiable = True


class Times:
    """A reward, so many times."""

    differentiable = True

    def __init__(self, reward: Reward, factor: float) -> None:
        self.reward, self.factor = reward, factor

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return self.factor * self.reward(images, prompts)


def rewards(*, factor: float = 1.0) -> WeightedSum:
    return WeightedSum({name: (weight, Times(part, factor)) for name, (weight, part) in REWARDS.items()})


def trained(config: R0Config = SMALL, reward: WeightedSum | Reward | None = None) -> tuple[R0, list[Update]]:
    one = toy_training(config, reward or rewards())
    return one, list(one.updates())


def gradient_of(config: R0Config, reward: WeightedSum | Reward | None = None) -> Tensor:
    """What the first update follows."""
    denoising = ToyDenoising()
    one = toy_training(replace(config, grad_clip=1e9), reward or rewards(), denoising=denoising)
    one.learner.optimiser.step = lambda: None
    next(one.updates())
    assert denoising.weight.grad is not None
    return denoising.weight.grad.clone()
