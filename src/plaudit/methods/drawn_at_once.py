"""How many images a training draws at once: without a gradient there is room for more than are learned from at once.

A step of a token model reads all weights for one token of every image, so that on a GPU many images take hardly longer
than few.
"""

from typing import Protocol

from plaudit.core.errors import BadConfig


class DrawsAtOnce(Protocol):
    """The config of any method that draws token by token."""

    @property
    def batch_size(self) -> int:
        """Images through the network at once when it learns."""
        ...

    @property
    def draw_batch_size(self) -> int:
        """Of images that are drawn; 0: as many as when it learns."""
        ...


def drawn_at_once(config: DrawsAtOnce, *, guided: bool) -> int:
    """Images to draw at once: half of `draw_batch_size` with guidance, which reads everything twice."""
    if config.draw_batch_size == 0:
        return config.batch_size
    return max(1, config.draw_batch_size // (2 if guided else 1))


def check_drawn_at_once(config: DrawsAtOnce) -> None:
    """Raises BadConfig for a number that cannot be."""
    if config.draw_batch_size < 0:
        raise BadConfig(f"draw_batch_size must be at least 0 (as many as batch_size), got {config.draw_batch_size}")
