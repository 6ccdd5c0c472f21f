"""How far a reward's gradient reaches back through a sampler's steps, and which step's picture is judged.

One setting names the field's ways, for a sampler of K steps, counted from 0 (pure noise) to K - 1:

    one         a random step's clean prediction is judged, and all before it detached (R0+; Luo et al. 2025)
    all         the last picture, through all K steps (R0; DRaFT, Clark et al. 2023)
    last:N      the last picture, through the last N steps (DRaFT-K)
    noised:N    the last picture noised N times over, each through the last step alone (DRaFT-LV)
    tail        the last picture, through a random number of last steps (AlignProp's randomised truncation, Prabhudesai
                et al. 2023)
    late:N      like one, but of the last N steps alone (ReFL, Xu et al. 2023)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.core.random_streams import stream

COUNTED = ("last", "noised", "late")
RANDOM = ("one", "tail", "late")
KINDS = ("one", "all", "tail", *COUNTED)


@dataclass(frozen=True, kw_only=True)
class Truncation:
    """One of the ways above."""

    kind: str
    count: int = 1
    """the N of those that have one"""

    @property
    def noisings(self) -> int:
        """How many pictures are judged for each that is drawn."""
        return self.count if self.kind == "noised" else 1

    def reach(self, steps: int, keys: Sequence[tuple[int | str, ...]]) -> tuple[Tensor, Tensor]:
        """The first step with a gradient and the step that is judged, both (B,) integers, an image each.

        What is random is drawn from each image's own stream.
        """
        last = torch.full((len(keys),), steps - 1)
        if self.kind == "all":
            return torch.zeros_like(last), last
        if self.kind == "last":
            return (last - self.count + 1).clamp_min(0), last
        if self.kind == "noised":
            return last, last
        lowest = max(0, steps - self.count) if self.kind == "late" else 0
        drawn = torch.stack([torch.randint(lowest, steps, (), generator=stream(*key, "reach")) for key in keys])
        return drawn, (last if self.kind == "tail" else drawn)


def read_truncation(text: str) -> Truncation:
    """What `one`, `all`, `tail`, `last:N`, `noised:N` or `late:N` says. Raises BadConfig for anything else."""
    kind, colon, number = text.partition(":")
    known = "one, all, tail, last:N, noised:N or late:N"
    if kind not in KINDS:
        raise BadConfig(f"a truncation is {known}, got {text!r}")
    if kind in COUNTED:
        if not number.isdecimal() or int(number) < 1:
            raise BadConfig(f"the truncation {kind} needs a number of at least 1, as in {kind}:1, got {text!r}")
        return Truncation(kind=kind, count=int(number))
    if colon:
        raise BadConfig(f"the truncation {kind} takes no number, got {text!r}")
    return Truncation(kind=kind)
