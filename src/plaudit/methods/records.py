"""What methods that search for noise yield, step by step, and what is kept of it: each image's best."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from plaudit.methods.losses import where_row


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of one batch of images. Tensors are detached and stay on the generator's device."""

    index: int
    """from 0, anew for each batch"""
    steps: int
    """how many there will be unless images stop early; an estimate where the budget is time"""
    rows: tuple[int, ...]
    """length B, the images' places in the whole run: prompt index x images per prompt + image index"""
    images: Tensor
    """(B, 3, H, W), in [0, 1]"""
    total: Tensor
    """(B,), the weighted reward, without the penalty"""
    parts: dict[str, Tensor]
    """(B,) each, the raw scores"""
    held_out: Tensor | None
    """(B,), the score of a reward that is watched and not followed"""
    noise: Tensor
    """(B, *noise_shape), what made these images"""
    norm: Tensor
    """(B,), the noise's norm"""
    deviation: Tensor
    """(B,), the norm penalty above its least value: 0 on the Gaussian shell"""
    skipped: Tensor
    """(B,) integers, updates skipped so far because the gradient was not finite"""
    seconds: float = 0.0
    """spent on this batch so far"""
    eligible: Tensor | None = None
    """(B,) bool, which images may count as best; None: all"""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one image. Tensors are on the CPU."""

    row: int
    prompt: str
    prompt_index: int
    image_index: int
    first_image: Tensor
    """(3, H, W), from the noise it started with"""
    image: Tensor
    """(3, H, W), the best by total"""
    noise: Tensor
    """(*noise_shape), what made it"""
    first_noise: Tensor
    """(*noise_shape), what made the first image"""
    first_total: float
    total: float
    first_parts: dict[str, float]
    parts: dict[str, float]
    best_step: int
    trace: tuple[float, ...]
    """the total at each step"""
    parts_trace: dict[str, tuple[float, ...]]
    held_out_trace: tuple[float, ...]
    """empty if nothing was held out"""
    skipped: int
    seconds: float
    """its even share of its batch's time"""
    strip: tuple[tuple[int, Tensor], ...]
    """the image at some steps: (step, (3, H, W) uint8)"""


def timed(steps: Iterator[Step]) -> Iterator[Step]:
    """The same steps with `seconds` filled in: what making them took, without what their watcher took in
    between.
    """
    spent = 0.0
    while True:
        started = time.monotonic()
        step = next(steps, None)
        spent += time.monotonic() - started
        if step is None:
            return
        yield replace(step, seconds=spent)


class CountsImages(Protocol):
    """The config of any method that makes several images per prompt."""

    @property
    def images_per_prompt(self) -> int: ...


class BestSoFar:
    """Watches steps and keeps each image's first and best. Nothing waits for a GPU until `results`."""

    def __init__(self, prompts: Sequence[str], config: CountsImages) -> None:
        self._prompts = tuple(prompts)
        self._images_per_prompt = config.images_per_prompt
        self._batch: _Batch | None = None
        self._done: list[Result] = []

    def see(self, step: Step) -> None:
        """Take a step into account; a step of index 0 starts a new batch."""
        if step.index == 0 or self._batch is None:
            self._finish()
            self._batch = _Batch(step)
        self._batch.see(step)

    def results(self) -> list[Result]:
        """What became of each image seen so far, by row. May be asked at any time."""
        running = self._results_of(self._batch) if self._batch else []
        return sorted([*self._done, *running], key=lambda result: result.row)

    def _finish(self) -> None:
        if self._batch is not None:
            self._done.extend(self._results_of(self._batch))
            self._batch = None

    def _results_of(self, batch: "_Batch") -> list[Result]:
        traces = batch.traces()
        first = batch.first
        best_image, best_noise = batch.best_image.cpu(), batch.best_noise.cpu()
        best_step, first_image = batch.best_step.tolist(), first.images.cpu()
        first_noise = first.noise.cpu()
        results = []
        for place, row in enumerate(first.rows):
            prompt_index, image_index = divmod(row, self._images_per_prompt)
            trace = traces[row]
            results.append(
                Result(
                    row=row,
                    prompt=self._prompts[prompt_index],
                    prompt_index=prompt_index,
                    image_index=image_index,
                    first_image=first_image[place],
                    image=best_image[place],
                    noise=best_noise[place],
                    first_noise=first_noise[place],
                    first_total=trace.total[0],
                    total=trace.total[best_step[place]],
                    first_parts={name: values[0] for name, values in trace.parts.items()},
                    parts={name: values[best_step[place]] for name, values in trace.parts.items()},
                    best_step=best_step[place],
                    trace=tuple(trace.total),
                    parts_trace={name: tuple(values) for name, values in trace.parts.items()},
                    held_out_trace=tuple(trace.held_out),
                    skipped=trace.skipped,
                    seconds=trace.seconds / len(first.rows),
                    strip=tuple(batch.strips[row]),
                )
            )
        return results


@dataclass(kw_only=True)
class _Trace:
    """One image's numbers, step by step."""

    total: list[float]
    parts: dict[str, list[float]]
    held_out: list[float]
    skipped: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class _Numbers:
    """A step without its images."""

    rows: tuple[int, ...]
    total: Tensor
    parts: dict[str, Tensor]
    held_out: Tensor | None
    skipped: Tensor
    seconds: float


class _Batch:
    """The batch that is running; its images may drop out, never come back."""

    def __init__(self, first: Step) -> None:
        self.first = first
        self.best = _comparable(first).fill_(-math.inf)
        self.best_image, self.best_noise = first.images.clone(), first.noise.clone()
        self.best_step = torch.zeros(len(first.rows), dtype=torch.long, device=first.total.device)
        self.strips: dict[int, list[tuple[int, Tensor]]] = {row: [] for row in first.rows}
        self._numbers: list[_Numbers] = []

    def see(self, step: Step) -> None:
        place = {row: index for index, row in enumerate(self.first.rows)}
        at = torch.tensor([place[row] for row in step.rows], device=step.total.device)
        total = _comparable(step)
        better = total > self.best[at]
        self.best[at] = torch.where(better, total, self.best[at])
        self.best_image[at] = where_row(better, step.images, self.best_image[at])
        self.best_noise[at] = where_row(better, step.noise, self.best_noise[at])
        self.best_step[at] = torch.where(better, step.index, self.best_step[at])
        self._numbers.append(
            _Numbers(
                rows=step.rows, total=step.total, parts=step.parts, held_out=step.held_out,
                skipped=step.skipped, seconds=step.seconds,
            )
        )  # fmt: skip
        # 0, 1, 2, 4, 8, ...: most happens early.
        if step.index & (step.index - 1) == 0 or step.index == step.steps - 1:
            pictures = (step.images * 255).round().to(torch.uint8).cpu()
            for row, picture in zip(step.rows, pictures, strict=True):
                self.strips[row].append((step.index, picture))

    def traces(self) -> dict[int, _Trace]:
        """Each row's numbers."""
        names = list(self.first.parts)
        traces = {row: _Trace(total=[], parts={name: [] for name in names}, held_out=[]) for row in self.first.rows}
        for numbers in self._numbers:
            total, skipped = numbers.total.tolist(), numbers.skipped.tolist()
            parts = {name: scores.tolist() for name, scores in numbers.parts.items()}
            held_out = None if numbers.held_out is None else numbers.held_out.tolist()
            for place, row in enumerate(numbers.rows):
                trace = traces[row]
                trace.total.append(total[place])
                for name in names:
                    trace.parts[name].append(parts[name][place])
                if held_out is not None:
                    trace.held_out.append(held_out[place])
                trace.skipped, trace.seconds = skipped[place], numbers.seconds
        return traces


def _comparable(step: Step) -> Tensor:
    """The totals (B,), but lowest where one is not finite or may not be best."""
    valid = torch.isfinite(step.total)
    if step.eligible is not None:
        valid = valid & step.eligible
    return torch.where(valid, step.total, torch.full_like(step.total, -math.inf))
