"""When an image has been optimised enough: it stands still, or it improves at a held-out reward's cost."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from plaudit.methods.records import Step

GUARD_WINDOW = 5
"""steps that the guard averages over, so that one lucky step decides nothing"""


class EarlyStop:
    """Decides which images stop early. Costs nothing, and waits for no GPU, if no stop was asked for."""

    def __init__(self, *, patience: int | None, guard: bool) -> None:
        """`patience`: steps without a new best; `guard`: watch the held-out reward too."""
        self._patience, self._guard = patience, guard
        self._best: Tensor | None = None
        self._since: Tensor | None = None
        self._history: list[tuple[Tensor, Tensor]] = []
        self._peak: tuple[Tensor, Tensor, Tensor] | None = None
        self._start: Tensor | None = None
        self._stop: Tensor | None = None

    def see(self, step: Step) -> Step:
        """Take a step into account; with the guard, the step comes back with what may count as best."""
        self._stop = None
        if self._patience is not None:
            self._stop = self._no_longer_improving(step.total, self._patience)
        if self._guard and step.held_out is not None:
            fallen = self._held_out_has_fallen(step.total, step.held_out)
            self._stop = fallen if self._stop is None else self._stop | fallen
            assert self._start is not None
            return replace(step, eligible=step.held_out >= self._start)
        return step

    def places_to_keep(self) -> list[int] | None:
        """The places of the images that go on, or None if all do."""
        if self._stop is None or not bool(self._stop.any()):
            return None
        return [place for place, stop in enumerate(self._stop.tolist()) if not stop]

    def keep(self, places: Sequence[int]) -> "EarlyStop":
        at = list(places)
        if self._best is not None and self._since is not None:
            self._best, self._since = self._best[at], self._since[at]
        self._history = [(total[at], held_out[at]) for total, held_out in self._history]
        if self._peak is not None:
            first, held_out, total = self._peak
            self._peak = (first[at], held_out[at], total[at])
        if self._start is not None:
            self._start = self._start[at]
        return self

    def _no_longer_improving(self, total: Tensor, patience: int) -> Tensor:
        total = torch.where(torch.isfinite(total), total, -math.inf)
        if self._best is None or self._since is None:
            self._best, self._since = total, torch.zeros_like(total)
            return torch.zeros_like(total, dtype=torch.bool)
        self._since = torch.where(total > self._best, 0.0, self._since + 1)
        self._best = torch.maximum(self._best, total)
        return self._since >= patience

    def _held_out_has_fallen(self, total: Tensor, held_out: Tensor) -> Tensor:
        """Whether more than half of what the held-out reward gained at its best is lost, while the total
        rose.

        Both are means over GUARD_WINDOW steps.
        """
        if self._start is None:
            self._start = held_out
        self._history = [*self._history[-(GUARD_WINDOW - 1) :], (total, held_out)]
        if len(self._history) < GUARD_WINDOW:
            return torch.zeros_like(total, dtype=torch.bool)
        total = torch.stack([one for one, _ in self._history]).mean(dim=0)
        held_out = torch.stack([one for _, one in self._history]).mean(dim=0)
        if self._peak is None:
            self._peak = (held_out, held_out, total)
        first, peak, total_at_peak = self._peak
        fallen = (held_out < (first + peak) / 2) & (total > total_at_peak)
        higher = held_out > peak
        self._peak = (
            first, torch.where(higher, held_out, peak), torch.where(higher, total, total_at_peak)
        )  # fmt: skip
        return fallen
