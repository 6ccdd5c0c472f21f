"""What LOO-FID remembers of the pictures that were made: moments that fade, or the features of the last ones.

One batch is too few pictures to say what a model makes. Both memories are values: taking in a batch makes a new one, so
that whoever scores can commit it afterwards, or not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor

from plaudit.core.team import Team
from plaudit.rewards.feature_statistics import FeatureSet, Moments
from plaudit.rewards.frechet import Gaussian, Made, joined


class Memory(Protocol):
    """What was made so far."""

    @property
    def gaussian(self) -> Gaussian | None:
        """Mean and covariance of it; None if it is nothing."""
        ...

    def with_batch(self, features: Tensor, batch: Moments, team: Team) -> tuple["Memory", Made]:
        """The memory with a batch taken in, and what a sample of that is left out of.

        features   (B, D): this process's, on the device where all is computed
        batch      the moments of all processes' features, at least 2
        """
        ...

    def tensors(self) -> dict[str, Tensor]:
        """All of it, for a checkpoint."""
        ...

    def loaded(self, state: Mapping[str, Tensor]) -> "Memory":
        """The memory that gave these tensors. Raises KeyError if one is missing."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class FadingMemory:
    """Moments in which every batch before the last weighs `decay` times as much as the one after it.

    Without a start, weights are scaled to sum up to 1 from the first batch on, so that early means are of what was
    made and not of the zeros before it.
    """

    decay: float
    """in 0..1, less than 1; 0 remembers nothing"""
    weight: float = 0.0
    """of all that was seen, in 0..1: what the decayed weights sum up to"""
    gaussian: Gaussian | None = None

    @classmethod
    def starting(cls, decay: float, start: FeatureSet | None) -> Self:
        """Full of the pictures of `start`, or empty."""
        if start is None:
            return cls(decay=decay)
        moments = start.moments
        return cls(decay=decay, weight=1.0, gaussian=Gaussian(mean=moments.mean, covariance=moments.covariance))

    def with_batch(self, features: Tensor, batch: Moments, team: Team) -> tuple["FadingMemory", Made]:
        """The pool is the batch."""
        pool = Gaussian(mean=batch.mean, covariance=batch.scatter / batch.count)
        weight = self.decay * self.weight + 1 - self.decay
        share = (1 - self.decay) / weight if self.gaussian is not None else 1.0
        whole = pool if self.gaussian is None else joined(self.gaussian.to(pool.mean.device), pool, share)
        made = Made(whole=whole, pool=pool, weight=share / (batch.count - 1))
        return replace(self, weight=weight, gaussian=whole), made

    def tensors(self) -> dict[str, Tensor]:
        """Weight and moments; no moments before the first batch."""
        found = {"weight": torch.tensor(self.weight, dtype=torch.float64)}
        if self.gaussian is not None:
            found |= {"mean": self.gaussian.mean, "covariance": self.gaussian.covariance}
        return found

    def loaded(self, state: Mapping[str, Tensor]) -> "FadingMemory":
        """Raises KeyError for the state of another kind of memory."""
        weight = float(state["weight"])
        seen = Gaussian(mean=state["mean"], covariance=state["covariance"]) if weight > 0 else None
        return replace(self, weight=weight, gaussian=seen)


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowMemory:
    """The features of the last pictures, all of the same weight; the oldest batches go when there are too many.

    Batches go whole, so that neither the order in a batch nor the number of processes changes what is remembered.
    """

    size: int
    """pictures remembered at most; the last batch is always remembered"""
    features: Tensor
    """(T, D), oldest first"""
    counts: tuple[int, ...] = ()
    """pictures of each batch, oldest first"""

    @classmethod
    def starting(cls, size: int, dimensions: int, start: FeatureSet | None) -> Self:
        """With pictures from the sample of `start` in it, each as a batch of its own, or empty."""
        rows = torch.zeros(0, dimensions) if start is None else start.sample[-size:]
        return cls(size=size, features=rows, counts=(1,) * len(rows))

    @property
    def gaussian(self) -> Gaussian | None:
        """None for fewer than 2 pictures."""
        if len(self.features) < 2:
            return None
        moments = Moments.of(self.features)
        return Gaussian(mean=moments.mean, covariance=moments.scatter / moments.count)

    def with_batch(self, features: Tensor, batch: Moments, team: Team) -> tuple["WindowMemory", Made]:
        """The pool is all that is remembered, the batch included."""
        rows = torch.cat([self.features.to(features.device), all_rows(features, team)])
        counts = [*self.counts, batch.count]
        while len(counts) > 1 and sum(counts) > self.size:
            counts.pop(0)
        total = sum(counts)
        after = WindowMemory(size=self.size, features=rows[-total:], counts=tuple(counts))
        whole = after.gaussian
        assert whole is not None
        return after, Made(whole=whole, pool=whole, weight=1 / (total - 1))

    def tensors(self) -> dict[str, Tensor]:
        """Features and the sizes of batches."""
        return {"features": self.features, "counts": torch.tensor(self.counts, dtype=torch.int64)}

    def loaded(self, state: Mapping[str, Tensor]) -> "WindowMemory":
        """Raises KeyError for the state of another kind of memory."""
        return replace(self, features=state["features"], counts=tuple(state["counts"].tolist()))


def all_rows(part: Tensor, team: Team) -> Tensor:
    """The rows (B, ...) of all processes, one process after the other, whatever number each has."""
    own = torch.tensor([len(part)], device=part.device)
    counts = team.collect(own, torch.tensor([team.rank]), team.size).tolist()
    first = sum(counts[: team.rank])
    return team.collect(part, torch.arange(first, first + len(part)), sum(counts))
