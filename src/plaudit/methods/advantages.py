"""How much better than expected a reward was: what a policy gradient weighs its actions with.

Shape letters: P prompts, G images per prompt, B images. All in float32.
"""

from collections import deque
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Spread = Literal["group", "update"]
"""what advantages are scaled by: a group's own spread, or that of all of an update's groups together"""
EPS = 1e-6
"""added to a spread before dividing by it"""


def batch_advantages(scores: Tensor) -> Tensor:
    """Each score (B,) against the mean and spread of all; 0 if all are the same."""
    scores = scores.float()
    return ((scores - scores.mean()) / (scores.std(correction=0) + EPS)).masked_fill(_equals(scores), 0.0)


def group_advantages(scores: Tensor, *, scaled: bool = True) -> Tensor:
    """Each score (P, G) against the mean of its prompt's others (leave one out; Kool et al. 2019).

    Scaled by the spread of its prompt's group, as in GRPO, unless told not to. Released GRPO code mostly takes the mean
    of the whole group and its spread with Bessel's correction: these are (G / (G - 1))^1.5 times those. A group whose
    scores are all the same says nothing and gets 0. A single image has no others: G must be at least 2.
    """
    scores = scores.float()
    group = scores.shape[1]
    if group < 2:
        raise ValueError(f"group advantages compare at least 2 images of a prompt, got {group}")
    away = (scores - scores.mean(dim=1, keepdim=True)).masked_fill(_equals(scores), 0.0)
    centred = away * group / (group - 1)
    return centred / (scores.std(dim=1, keepdim=True, correction=0) + EPS) if scaled else centred


def shared_scale(scores: Tensor) -> Tensor:
    """Each score (P, G) against its prompt's others, in the spread that all prompts' groups have together.

    So a group counts as much as is at stake in it: where all images are about as good, little is said (Liu et al. 2025,
    Dr. GRPO, who leave any scale away; one for all groups keeps the gradient's size whatever the rewards' scale).
    """
    centred = group_advantages(scores, scaled=False)
    return centred / (centred.square().mean().sqrt() + EPS)


class GroupScale:
    """Each score (P, G) against its prompt's others, in the group's own spread but never far below the usual one.

    For rewards whose spread within a group may be small by chance: dividing by it would make noise as loud as news. The
    usual spread is a running mean over updates, of which an update leaves `kept`; the least that is divided by is
    `floor` of it.
    """

    def __init__(self, *, floor: float = 0.1, kept: float = 0.9) -> None:
        self.floor, self.kept = floor, kept
        self._usual = 0.0

    def __call__(self, scores: Tensor) -> Tensor:
        """Advantages (P, G), float32; the scores' spread is remembered."""
        centred = group_advantages(scores, scaled=False)
        scores = scores.float()
        spread = scores.std(dim=1, keepdim=True, correction=0).masked_fill(_equals(scores), 0.0)
        mean = float(spread.mean())
        self._usual = self.kept * self._usual + (1 - self.kept) * mean if self._usual else mean
        return centred / (spread.clamp_min(self.floor * self._usual) + EPS)

    def state(self) -> dict[str, Tensor]:
        """All it remembers, as tensors for a checkpoint."""
        return {"usual": torch.tensor(self._usual, dtype=torch.float64)}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        self._usual = float(state["usual"])


class RunningAdvantages:
    """Each score against the recent scores of its own prompt (RLCM, Oertell et al. 2024; DDPO, Black et al. 2023).

    Every prompt keeps its last `size` scores, new ones first taken in. A prompt with fewer than `min_count` is
    compared with the batch instead. Spreads are taken without Bessel's correction, as in the released code.
    """

    def __init__(self, *, size: int, min_count: int) -> None:
        self.size, self.min_count = size, min_count
        self._kept: dict[int, deque[float]] = {}

    def __call__(self, scores: Tensor, prompts: Sequence[int]) -> Tensor:
        """Advantages (B,) of scores (B,) of the prompts with these numbers; the scores are remembered."""
        values = scores.cpu().double().tolist()
        for prompt, value in zip(prompts, values, strict=True):
            self._kept.setdefault(prompt, deque(maxlen=self.size)).append(value)
        batch = torch.tensor(values, dtype=torch.float64)
        found = []
        for prompt, value in zip(prompts, values, strict=True):
            kept = self._kept[prompt]
            known = batch if len(kept) < self.min_count else torch.tensor(list(kept), dtype=torch.float64)
            found.append((value - known.mean()) / (known.std(correction=0) + EPS))
        return torch.stack(found).float().to(scores.device)

    def state(self) -> dict[str, Tensor]:
        """All it remembers, as tensors for a checkpoint."""
        numbers = sorted(self._kept)
        return {
            "prompts": torch.tensor(numbers, dtype=torch.long),
            "counts": torch.tensor([len(self._kept[n]) for n in numbers], dtype=torch.long),
            "scores": torch.tensor([value for n in numbers for value in self._kept[n]], dtype=torch.float64),
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        parts = torch.split(state["scores"], state["counts"].tolist())
        self._kept = {
            number: deque(part.tolist(), maxlen=self.size)
            for number, part in zip(state["prompts"].tolist(), parts, strict=True)
        }


def _equals(scores: Tensor) -> Tensor:
    """Whether all of the last axis are the same, (..., 1): rounding may give them a mean beside them, and a spread."""
    return (scores == scores[..., :1]).all(dim=-1, keepdim=True)
