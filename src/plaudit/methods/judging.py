"""Rewards at work on the pictures of a batch, piece by piece; black boxes in threads while the next piece is drawn.

What a thread can gain is waiting: for a server, for an encoder outside Python. So only rewards without a gradient go
there; the others are networks like the one in training, and are asked where they always are. Either way every piece is
asked the same question, so that the scores are the same.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.core.team import Team
from plaudit.rewards.mix import WeightedSum
from plaudit.rewards.reward import Reward


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some images of a batch, and the scores that are already on their way."""

    images: Tensor = field(repr=False)
    """(B, 3, H, W)"""
    prompts: tuple[str, ...]
    asked: dict[str, "Future[Tensor]"] = field(default_factory=dict)
    """by the reward's name"""


class Jury:
    """A sum of rewards that is asked for raw scores; `threads` 0 asks one after the other."""

    def __init__(self, rewards: WeightedSum, *, threads: int = 0) -> None:
        self.rewards, self.threads = rewards, threads
        self._pool: ThreadPoolExecutor | None = None

    def hand_in(self, images: Tensor, prompts: Sequence[str]) -> Piece:
        """The images (B, 3, H, W), with black boxes at work on them if there are threads."""
        # In the layout that a part of the whole batch has: sums over another one are rounded otherwise.
        piece = Piece(images=images.contiguous(), prompts=tuple(prompts))
        if self.threads:
            self._pool = self._pool or ThreadPoolExecutor(self.threads, thread_name_prefix="reward")
            for name, (_, reward) in self.rewards.raw_parts().items():
                if not reward.differentiable:
                    piece.asked[name] = self._pool.submit(_ask, name, reward, piece)
        return piece

    def scores(self, pieces: Sequence[Piece]) -> dict[str, Tensor]:
        """Every reward's raw scores (N,), float32, of the pieces' images in their order.

        Raises BadConfig for a reward that cannot be reached, or whose answer is not a score for each image; what else
        a reward raises passes.
        """
        found = [
            {
                name: piece.asked[name].result() if name in piece.asked else _ask(name, reward, piece)
                for name, (_, reward) in self.rewards.raw_parts().items()
            }
            for piece in pieces
        ]
        return {name: torch.cat([one[name] for one in found]) for name in self.rewards.parts}

    def judge(
        self, pieces: Sequence[Piece], rows: Tensor, numbers: Tensor, *, prompts: Sequence[str], team: Team
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Totals (N,) and raw scores of all processes' images, of which the pieces are this one's.

        `rows` (B,): which of the N they are; `numbers` (N,): every image's prompt among the prompts. Raises BadConfig
        for a score that is not finite.
        """
        with team.together():
            own = self.scores(pieces)
        parts = {name: team.collect(values, rows, len(numbers)) for name, values in own.items()}
        check_finite(parts, lambda row: prompts[int(numbers[row])])
        self.rewards.see(parts)
        return self.rewards.total(parts, numbers), parts

    def dismiss(self) -> None:
        """Ask nothing more; what is already being answered is not waited for."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def check_finite(scores: Mapping[str, Tensor], prompt_of: Callable[[int], str]) -> None:
    """Raises BadConfig for a score that is not finite, with the prompt of its place among the scores (N,)."""
    for name, values in scores.items():
        bad = (~torch.isfinite(values)).nonzero().flatten().tolist()
        if bad:
            raise BadConfig(f"reward {name!r} is not finite for a picture of {prompt_of(bad[0])!r}")


def _ask(name: str, reward: Reward, piece: Piece) -> Tensor:
    """Scores (B,), float32. A thread starts with gradients on, so that they are switched off here."""
    if not piece.prompts:
        # Of a process that has no share of them; a reward need not know what to say of nothing.
        return torch.zeros(0, device=piece.images.device)
    try:
        with torch.no_grad():
            scores = reward(piece.images, piece.prompts)
    except OSError as error:
        # Connections and time-outs of every client are these, and a missing file too.
        reason = error.strerror or str(error) or type(error).__name__
        raise BadConfig(f"reward {name!r} could not be asked: {reason}") from error
    if scores.shape != (len(piece.prompts),):
        raise BadConfig(
            f"reward {name!r} must answer {len(piece.prompts)} images with as many scores, "
            f"got a tensor of shape {tuple(scores.shape)}"
        )
    return scores.float()
