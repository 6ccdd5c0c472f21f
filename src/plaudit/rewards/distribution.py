"""The contract of distribution rewards: they score pictures together, by what each does for all of them."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor

from plaudit.core.team import Team


@runtime_checkable
class DistributionReward(Protocol):
    """Scores a batch as a whole, and remembers what earlier batches looked like.

    A picture's score depends on all others of the batch, on whichever process they are. Scores are to be compared
    within the batch only: their zero and their scale mean nothing across updates.
    """

    def score(self, images: Tensor, *, team: Team | None = None) -> Tensor:
        """Scores (B,) float32, higher is better, of this process's share (B, 3, H, W) of the batch; then it is
        remembered.

        Every process takes part, each with at least one image, and gets what one process would get for the whole
        batch. Raises BadConfig for features that are not finite, and then remembers nothing of the batch.
        """
        ...

    def tell(self) -> dict[str, float]:
        """What there is to say of the pictures so far, for logs: such as their FID by the training's own net."""
        ...

    def state(self) -> dict[str, Tensor]:
        """All it remembers, as tensors for a checkpoint."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        ...
