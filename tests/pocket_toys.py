"""A generator that paints right and wrong scenes, and a reward that knows: the judge has something to read."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from plaudit.pocket.prompts import Request, parse
from plaudit.pocket.render import render
from plaudit.pocket.scenes import BACKGROUNDS, Scene, Thing

WHITE = torch.tensor(BACKGROUNDS["white"]).view(3, 1, 1) / 255
PLACES = {
    None: ((16.0, 32.0), (48.0, 32.0)), "left": ((16.0, 32.0), (48.0, 32.0)),
    "right": ((48.0, 32.0), (16.0, 32.0)), "above": ((32.0, 16.0), (32.0, 48.0)),
    "below": ((32.0, 48.0), (32.0, 16.0)),
}  # fmt: skip
QUARTERS = ((16.0, 16.0), (48.0, 16.0), (16.0, 48.0), (48.0, 48.0))


def scene_for(request: Request) -> Scene:
    """A scene that is all the request asks for."""
    first = request.wanted[0]
    if len(request.wanted) == 1:
        places = QUARTERS[: first.count]
        wanted = [first] * first.count
    else:
        places, wanted = PLACES[request.relation], list(request.wanted)
    things = tuple(
        Thing(shape=w.shape, colour=w.colour or "red", x=x, y=y, radius=11.0)
        for w, (x, y) in zip(wanted, places, strict=True)
    )
    return Scene(background=request.background or "white", things=things)


@functools.cache
def picture_for(prompt: str) -> Tensor:
    request = parse(prompt)
    assert request is not None
    return render([scene_for(request)])[0]


@dataclass(frozen=True)
class Pictures:
    """A condition: what each prompt asks for, (B, 3, 64, 64)."""

    images: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Any) -> "Pictures":
        return Pictures(self.images[rows])


class Revealer:
    """The sum of the noise (4, 1, 1) decides, in waves, how much of the right picture shows on an empty ground.

    Waves, so that a small move of the noise changes the picture, and none is out of the gradient's reach.
    """

    noise_shape = (4, 1, 1)

    def __init__(self, pace: float = 12.0) -> None:
        self.device = torch.device("cpu")
        self.pace = pace

    def encode(self, prompts: Sequence[str]) -> Pictures:
        return Pictures(torch.stack([picture_for(prompt) for prompt in prompts]))

    def sample(self, noise: Tensor, condition: Pictures) -> Tensor:
        shown = 0.5 + 0.5 * torch.sin(self.pace * noise.sum(dim=(1, 2, 3))).view(-1, 1, 1, 1)
        return shown * condition.images + (1 - shown) * WHITE


class Closeness:
    """Minus the distance to the right picture, with a bias that makes rewards differ."""

    differentiable = True

    def __init__(self, exponent: float = 2.0) -> None:
        self.exponent = exponent

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        wanted = torch.stack([picture_for(prompt) for prompt in prompts])
        distance = (images - wanted).abs().clamp(min=1e-6) ** self.exponent
        return -10 * distance.flatten(1).mean(dim=1)


class Emptiness:
    """Likes the empty ground: whoever follows it alone hacks."""

    differentiable = True

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return -10 * (images - WHITE).square().flatten(1).mean(dim=1)
