"""Which prompts come next: rounds of all of them, each in an order of its own."""

import torch
from torch import Tensor

from plaudit.core.random_streams import stream


def in_rounds(places: Tensor, count: int, *, seed: int) -> Tensor:
    """The prompts (P,), of `count`, at these places (P,) of an endless row of rounds."""
    orders = {
        lap: torch.randperm(count, generator=stream(seed, "prompts", lap))
        for lap in (places // count).unique().tolist()
    }
    return torch.stack([orders[place // count][place % count] for place in places.tolist()])


def rows_of(groups: Tensor, size: int) -> Tensor:
    """The images (P size,) of groups (P,), each of so many images of one prompt."""
    return (groups[:, None] * size + torch.arange(size)).flatten()
