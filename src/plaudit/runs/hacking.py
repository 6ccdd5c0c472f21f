"""When a training has begun to please its reward at the cost of what the reward stands for (reward hacking).

Read from the log alone, so that a training that was stopped and goes on decides what it would have decided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

REWARD, HELD_OUT = "look_reward", "look_held_out"


@dataclass(frozen=True, kw_only=True)
class Hacked:
    """The looks at which the two rewards had parted."""

    update: int
    """done when it was clear"""
    looks: int
    """in a row that said so"""
    best_update: int
    """done at the look with the highest held-out reward"""
    held_out: tuple[float, float]
    """at that look, and at the last"""
    reward: tuple[float, float]

    def __str__(self) -> str:
        looks = "a look" if self.looks == 1 else f"{self.looks} looks in a row"
        return (
            f"stopped after {self.update} updates: for {looks} the held-out reward was lower than after "
            f"{self.best_update} updates ({self.held_out[0]:.4g} -> {self.held_out[1]:.4g}), and the trained one "
            f"higher ({self.reward[0]:.4g} -> {self.reward[1]:.4g})"
        )


def find_hacking(lines: Sequence[Mapping[str, Any]], *, patience: int, margin: float = 0.0) -> Hacked | None:
    """The first moment at which a training's log shows hacking; None if there is none.

    The best look is the one with the highest held-out reward so far, the first of equals. A later look speaks against
    the training if its held-out reward is lower than the best look's by more than `margin`, in that reward's own
    units, while its trained reward is higher than the best look's. `patience` such looks in a row are hacking; a look
    that does not speak against it begins the count anew.
    """
    best: Mapping[str, Any] | None = None
    against = 0
    for line in lines:
        if line.get(REWARD) is None or line.get(HELD_OUT) is None:
            continue
        if best is None or line[HELD_OUT] > best[HELD_OUT]:
            best, against = line, 0
            continue
        parted = best[HELD_OUT] - line[HELD_OUT] > margin and line[REWARD] > best[REWARD]
        against = against + 1 if parted else 0
        if against == patience:
            return Hacked(
                update=line["update"],
                looks=against,
                best_update=best["update"],
                held_out=(best[HELD_OUT], line[HELD_OUT]),
                reward=(best[REWARD], line[REWARD]),
            )
    return None
