"""Cells: an experiment's smallest pieces, each computed once, kept on disk, shared between claims.

A cell is one variant of the method on a chunk of a suite's prompts with one seed. Its file is named after all
that decides its content, weights included, so that a cell is never mistaken for another; a damaged file counts
as absent. An experiment that was stopped goes on with the cells it lacks.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from plaudit.claims.fingerprint import fingerprint
from plaudit.core.whole_files import write_whole
from plaudit.generators.generator import Condition, NoiseGenerator
from plaudit.methods.records import Step
from plaudit.methods.reno import RenoConfig, optimise_noise
from plaudit.methods.search import SearchConfig, best_of_n
from plaudit.rewards.mix import WeightedSum
from plaudit.runs.files import read_json, write_json
from plaudit.runs.provenance import png_bytes
from plaudit.suites.pocket_eval import PocketSuite


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to search for a noise."""

    name: str
    method: Literal["reno", "best-of-n"] = "reno"
    rewards: tuple[str, ...]
    """those that are optimised, with their weights in the bench's sum"""
    looks: int
    """images drawn for each image kept"""
    checkpoints: tuple[int, ...]
    """steps at which the best image so far is judged; the first is 0"""
    lr_factor: float = 1.0
    """times the usual step size"""
    prior_weight: float = 0.01


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A variant at work on some prompts with one seed."""

    variant: Variant
    seed: int
    prompts: tuple[int, ...]
    """places in the suite"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one image."""

    prompt: int
    """place in the suite"""
    right: tuple[bool, ...]
    """the judge's word on the best image so far, at each checkpoint"""
    before: dict[str, float]
    """raw scores of the first image under every reward, those that were left out too"""
    after: dict[str, float]
    """of the best image"""
    best_step: int
    deviation: float
    """the norm penalty of the best image's noise above its least value"""
    last_deviation: float
    skipped: int


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """A finished cell."""

    outcomes: tuple[Outcome, ...]
    search_seconds: float
    """spent searching, without judging"""
    seconds: float
    """spent in all"""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all cells share."""

    generator: NoiseGenerator
    rewards: WeightedSum
    """all rewards, with the weights a sum of some of them takes"""
    suite: PocketSuite
    sources: Mapping[str, Any]
    """names, revisions and checksums of the model and the rewards"""


class EncodesOnce:
    """A generator that remembers the last prompts it encoded: every cell brings the whole suite's."""

    def __init__(self, generator: NoiseGenerator) -> None:
        self._generator = generator
        self.noise_shape, self.device = generator.noise_shape, generator.device
        self._prompts: tuple[str, ...] = ()
        self._condition: Condition | None = None

    def encode(self, prompts: Sequence[str]) -> Condition:
        if self._condition is None or tuple(prompts) != self._prompts:
            self._prompts, self._condition = tuple(prompts), self._generator.encode(prompts)
        return self._condition

    def sample(self, noise: Tensor, condition: Condition) -> Tensor:
        return self._generator.sample(noise, condition)


def run_cell(bench: Bench, cell: Cell) -> tuple[CellResult, Tensor]:
    """The result, and a sheet of its pictures: (3, 2 H, P W), first images over best images."""
    started = time.monotonic()
    watch = _Watch(bench, cell)
    for step in steps_of(bench, cell):
        watch.see(step)
    outcomes, sheet = watch.outcomes(), watch.sheet()
    taken = time.monotonic() - started
    return CellResult(outcomes=outcomes, search_seconds=watch.search_seconds, seconds=taken), sheet


def steps_of(bench: Bench, cell: Cell) -> Any:
    """The steps of the cell's one batch. A prompt's noise is that of its place in the whole suite."""
    variant, texts = cell.variant, bench.suite.texts()
    parts = {name: bench.rewards.parts[name] for name in variant.rewards}
    size = len(cell.prompts)
    if variant.method == "best-of-n":
        search = SearchConfig(forwards=variant.looks, seed=cell.seed, batch_size=size)
        return best_of_n(bench.generator, WeightedSum(parts), texts, search, only=cell.prompts)
    usual = RenoConfig().lr_for(int(torch.Size(bench.generator.noise_shape).numel()))
    config = RenoConfig(
        steps=variant.looks,
        lr=usual * variant.lr_factor,
        prior_weight=variant.prior_weight,
        seed=cell.seed,
        batch_size=size,
    )
    return optimise_noise(bench.generator, WeightedSum(parts), texts, config, only=cell.prompts)


class _Watch:
    """Keeps each image's best, and the judge's word on it at the checkpoints."""

    def __init__(self, bench: Bench, cell: Cell) -> None:
        self._bench, self._cell = bench, cell
        self._prompts = [bench.suite.prompts[index] for index in cell.prompts]
        self._right: list[list[bool]] = []
        self._stale = list(range(len(cell.prompts)))
        self.search_seconds = 0.0

    def see(self, step: Step) -> None:
        total = torch.where(torch.isfinite(step.total), step.total, -torch.inf)
        if step.index == 0:
            self._first, self._best = step.images, step.images.clone()
            self._total, self._deviation = total.clone(), step.deviation.clone()
            self._best_step = torch.zeros(len(total), dtype=torch.long, device=total.device)
        better = total > self._total
        self._total[better], self._best[better] = total[better], step.images[better]
        self._deviation[better], self._best_step[better] = step.deviation[better], step.index
        self._stale = sorted({*self._stale, *torch.nonzero(better).flatten().tolist()})
        self._last, self.search_seconds = step, step.seconds
        if step.index in self._cell.variant.checkpoints:
            self._judge()

    def outcomes(self) -> tuple[Outcome, ...]:
        texts = [prompt.text for prompt in self._prompts]
        with torch.no_grad():
            before = self._bench.rewards.score_parts(self._first, texts)
            after = self._bench.rewards.score_parts(self._best, texts)
        return tuple(
            Outcome(
                prompt=prompt,
                right=tuple(verdicts[place] for verdicts in self._right),
                before={name: float(scores[place]) for name, scores in before.items()},
                after={name: float(scores[place]) for name, scores in after.items()},
                best_step=int(self._best_step[place]),
                deviation=float(self._deviation[place]),
                last_deviation=float(self._last.deviation[place]),
                skipped=int(self._last.skipped[place]),
            )
            for place, prompt in enumerate(self._cell.prompts)
        )

    def sheet(self) -> Tensor:
        return torch.cat([torch.cat(list(images), dim=2) for images in (self._first, self._best)], dim=1)

    def _judge(self) -> None:
        """Judge the images that changed since the last checkpoint."""
        verdicts = list(self._right[-1]) if self._right else [False] * len(self._prompts)
        if self._stale:
            changed = [self._prompts[place] for place in self._stale]
            said = self._bench.suite.judge(self._best[self._stale], changed)
            for place, verdict in zip(self._stale, said, strict=True):
                verdicts[place] = bool(verdict.right)
        self._right.append(verdicts)
        self._stale = []


class CellStore:
    """Finished cells in a folder, one JSON file and one sheet of pictures each."""

    def __init__(self, folder: Path, bench: Bench) -> None:
        self.folder = folder
        weights = {name: weight for name, (weight, _) in bench.rewards.parts.items()}
        texts = [prompt.text for prompt in bench.suite.prompts]
        self._basis = {"sources": bench.sources, "weights": weights, "prompts": texts}

    def file(self, cell: Cell) -> Path:
        """Where the cell's result lies, or will."""
        content = asdict(cell)
        name = content["variant"].pop("name")
        return self.folder / f"{name}-s{cell.seed}-{self.fingerprint(content)}.json"

    def fingerprint(self, content: Any) -> str:
        """Ten hex digits of `content` together with the models, the weights and the suite."""
        return fingerprint([self._basis, content])

    def read(self, cell: Cell) -> CellResult | None:
        """The finished cell, None if there is none."""
        content = read_json(self.file(cell))
        if content is None:
            return None
        try:
            outcomes = tuple(
                Outcome(**{**outcome, "right": tuple(outcome["right"])}) for outcome in content["outcomes"]
            )
            return CellResult(**{**content, "outcomes": outcomes})
        except (KeyError, TypeError):
            return None

    def write(self, cell: Cell, result: CellResult, sheet: Tensor) -> None:
        """Keep it: pictures first, so that a finished cell has them."""
        write_whole(self.sheet(cell), png_bytes(sheet))
        write_json(self.file(cell), asdict(result))

    def sheet(self, cell: Cell) -> Path:
        """Where its pictures lie: first images over best images."""
        return self.file(cell).with_suffix(".png")
