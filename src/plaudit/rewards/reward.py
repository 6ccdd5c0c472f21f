"""The contracts of rewards. To add one, write a class that keeps the first and a row in table.py."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from plaudit.core.team import Team


@runtime_checkable
class Reward(Protocol):
    """Scores images against prompts. Higher is better, always.

    images   (B, 3, H, W), floating point, in [0, 1], any H and W, on any device
    prompts  B strings
    returns  (B,) float32, finite, on the images' device; attached to the graph of `images` if `differentiable`

    A row's score depends on its own image and prompt only. A reward resizes and normalises for itself, moves its
    model to the images' device, and encodes each distinct prompt once (it caches prompt features).
    """

    differentiable: bool

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor: ...


@runtime_checkable
class DistributionReward(Protocol):
    """Scores all images of a batch jointly: what each does to the set of all that was made. Higher is better.

    images   (B, 3, H, W), floating point, in [0, 1], any H and W: this process's part, which may be empty
    prompts  B strings
    team     the processes that each hand in a part at the same time; None is this one alone
    returns  (B,) float32, finite, on the images' device; no gradient

    A row's score depends on the images of all processes and on what was scored before; not on their order, nor on how
    they are spread over processes. Only differences between scores mean something. Scoring remembers the images once
    all scores are known: pictures that were drawn only to be looked at are not to be scored.
    """

    def __call__(self, images: Tensor, prompts: Sequence[str], team: Team | None = None) -> Tensor: ...

    def distance(self) -> float:
        """How far all that was scored so far is from what it should be; 0 is there. Only for watching a training."""
        ...

    def state(self) -> dict[str, Tensor]:
        """All that was remembered, for a checkpoint; from it the next scores are the same, bit for bit."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from such a state. Raises BadConfig if it does not fit."""
        ...
