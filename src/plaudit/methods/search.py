"""Searches for a good noise without gradients: the baselines of ReNO, and the way for rewards that have none.

`best_of_n` draws fresh noises and keeps each image's best: the "image selection" baseline of the ReNO paper,
with a budget in forwards or, for an honest comparison, in seconds. `evolve` is separable CMA-ES (Ros & Hansen
2008), one strategy per image, through the package cma; candidates are put on the shell where Gaussian noise
lies, so that the strategy chooses a direction and cannot win by noise that no Gaussian would give.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.core.float64 import precise
from plaudit.core.random_streams import stream
from plaudit.generators.generator import NoiseGenerator
from plaudit.methods.losses import least_penalty, norm_penalty, norms
from plaudit.methods.records import BestSoFar, Result, Step, timed
from plaudit.methods.rows import Rows, batches, check_only, check_prompts
from plaudit.rewards.mix import WeightedSum, as_sum
from plaudit.rewards.reward import Reward

__all__ = ["BestSoFar", "Result", "SearchConfig", "Step", "best_of_n", "evolve"]


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How long to search for a noise."""

    forwards: int = 50
    """images to draw and score for each image kept"""
    seconds: float | None = None
    """time for each image kept; if given, it is the budget and forwards is not"""
    seed: int = 0
    """of the noises, together with prompt and image number; the first is the one other methods start from"""
    images_per_prompt: int = 1
    """images to keep of each prompt"""
    batch_size: int = 16
    """images to draw at once; does not change the results, unless the budget is time"""
    noise_offset: int = 0
    """best-of-n only: number of the first noise, 0 being the one that other methods start from"""
    population: int = 8
    """evolve only: candidates per image and generation"""
    spread: float = 0.3
    """evolve only: how far candidates lie from the mean at first, as a share of the noise's own spread"""

    def __post_init__(self) -> None:
        for name in ("forwards", "images_per_prompt", "batch_size"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise BadConfig(f"seconds must be a positive number, got {self.seconds}")
        if self.noise_offset < 0:
            raise BadConfig(f"noise_offset must not be negative, got {self.noise_offset}")
        if self.population < 2:
            raise BadConfig(f"population must be at least 2 to compare anything, got {self.population}")
        if not 0 < self.spread < math.inf:
            raise BadConfig(f"spread must be a positive number, got {self.spread}")


def best_of_n(
    generator: NoiseGenerator,
    reward: WeightedSum | Reward,
    prompts: Sequence[str],
    config: SearchConfig,
    *,
    held_out: Reward | None = None,
    only: Sequence[int] | None = None,
) -> Iterator[Step]:
    """A step per fresh noise, the first the one ReNO starts from, unless `noise_offset` says otherwise.

    Raises BadConfig if there is no prompt.
    """
    check_prompts(prompts)
    check_only(only, prompts, config.images_per_prompt)
    scorer = _Scorer(generator, as_sum(reward), held_out)
    return _run(scorer, prompts, config, _draw, only)


def evolve(
    generator: NoiseGenerator,
    reward: WeightedSum | Reward,
    prompts: Sequence[str],
    config: SearchConfig,
    *,
    held_out: Reward | None = None,
    only: Sequence[int] | None = None,
) -> Iterator[Step]:
    """One step for the starting noise, then one per generation: each image's best candidate of that
    generation.

    Raises BadConfig if there is no prompt, or the budget does not pay for one generation.
    """
    check_prompts(prompts)
    check_only(only, prompts, config.images_per_prompt)
    if config.seconds is None and config.forwards <= config.population:
        raise BadConfig(
            f"{config.forwards} forwards pay for the start and no whole generation of {config.population}; "
            f"use at least {config.population + 1} forwards"
        )
    scorer = _Scorer(generator, as_sum(reward), held_out)
    return _run(scorer, prompts, config, _evolve, only)


@dataclass(frozen=True, kw_only=True)
class _Candidates:
    """Noises with their images and scores, detached."""

    noise: Tensor
    images: Tensor
    parts: dict[str, Tensor]
    total: Tensor

    def __getitem__(self, rows: Tensor) -> "_Candidates":
        return _Candidates(
            noise=self.noise[rows], images=self.images[rows], total=self.total[rows],
            parts={name: scores[rows] for name, scores in self.parts.items()},
        )  # fmt: skip


class _Scorer:
    """Noise to scores, without gradients."""

    def __init__(self, generator: NoiseGenerator, rewards: WeightedSum, held_out: Reward | None) -> None:
        self.generator, self.rewards, self.held_out = generator, rewards, held_out
        self.dimension = math.prod(generator.noise_shape)
        self.least_penalty = least_penalty(self.dimension)

    @torch.no_grad()
    def score(self, rows: Rows, noise: Tensor) -> _Candidates:
        images = self.generator.sample(noise, rows.condition)
        parts = self.rewards.score_parts(images, rows.prompts)
        return _Candidates(noise=noise, images=images, parts=parts, total=self.rewards.total(parts))

    @torch.no_grad()
    def record(self, rows: Rows, index: int, steps: int, found: _Candidates) -> Step:
        return Step(
            index=index,
            steps=steps,
            rows=rows.indices,
            images=found.images,
            total=found.total,
            parts=found.parts,
            held_out=None if self.held_out is None else self.held_out(found.images, rows.prompts),
            noise=found.noise,
            norm=norms(found.noise),
            deviation=norm_penalty(found.noise) - self.least_penalty,
            skipped=torch.zeros(len(rows), dtype=torch.long, device=found.total.device),
        )


class _Budget:
    """Whether another step is paid for: by the number of steps, or by the seconds spent searching."""

    def __init__(self, rows: Rows, config: SearchConfig, *, forwards_per_step: int = 1) -> None:
        self._seconds = None if config.seconds is None else config.seconds * len(rows)
        # The first step, the starting noise, always costs one forward.
        self._steps = 1 + (config.forwards - 1) // forwards_per_step
        self._spent = 0.0

    def spend(self, started: float, scores: Tensor) -> None:
        """Count the time since `started`, with the work on `scores` done."""
        if self._seconds is not None:
            scores.cpu()  # a GPU works behind our back; wait for it
            self._spent += time.monotonic() - started

    def steps(self, done: int) -> int:
        """All steps there will be, after `done` (at least 1) of them; estimated where time is the budget."""
        if self._seconds is None:
            return self._steps
        # A step is begun if at least half of it is likely to fit, so that on average the budget is met.
        return done + max(0, round((self._seconds - self._spent) / max(1e-9, self._spent / done)))


def _run(
    scorer: _Scorer, prompts: Sequence[str], config: SearchConfig, search: Any, only: Sequence[int] | None
) -> Iterator[Step]:
    runs = batches(
        scorer.generator, prompts, seed=config.seed, images_per_prompt=config.images_per_prompt,
        batch_size=config.batch_size, only=only,
    )  # fmt: skip
    return (step for rows in runs for step in timed(search(scorer, rows, config)))


def _draw(scorer: _Scorer, rows: Rows, config: SearchConfig) -> Iterator[Step]:
    """Best-of-n of one batch."""
    budget = _Budget(rows, config)
    index, steps = 0, 1
    while index < steps:
        started = time.monotonic()
        found = scorer.score(rows, rows.noise(scorer.generator, config.noise_offset + index))
        budget.spend(started, found.total)
        steps = budget.steps(index + 1)
        yield scorer.record(rows, index, steps, found)
        index += 1


def _evolve(scorer: _Scorer, rows: Rows, config: SearchConfig) -> Iterator[Step]:
    """CMA-ES of one batch, a strategy per image, their candidates drawn together."""
    budget = _Budget(rows, config, forwards_per_step=config.population)
    started = time.monotonic()
    start = rows.noise(scorer.generator)
    strategies = [_strategy(rows, place, start[place], config) for place in range(len(rows))]
    found = scorer.score(rows, start)
    budget.spend(started, found.total)
    steps = max(2, budget.steps(1))
    yield scorer.record(rows, 0, steps, found)
    index = 1
    while index < steps:
        started = time.monotonic()
        found = _generation(scorer, rows, strategies, config)
        budget.spend(started, found.total)
        steps = budget.steps(index + 1)
        yield scorer.record(rows, index, steps, found)
        index += 1


def _generation(scorer: _Scorer, rows: Rows, strategies: Sequence[Any], config: SearchConfig) -> _Candidates:
    """Ask every strategy for candidates, tell it their scores, and return each image's best."""
    import numpy as np

    asked = [np.stack(strategy.ask()) for strategy in strategies]
    flat = torch.from_numpy(np.concatenate(asked)).float()
    noise = on_shell(flat).view(-1, *scorer.generator.noise_shape).to(scorer.generator.device)
    places = torch.arange(len(rows)).repeat_interleave(config.population)
    chunks = [
        scorer.score(rows.keep(places[part].tolist()), noise[part])
        for part in torch.arange(len(noise)).split(config.batch_size)
    ]
    found = _joined(chunks)
    totals = precise(found.total.view(len(rows), config.population))
    # A score that is not a number is worse than any other; CMA-ES ranks, so how much worse does not matter.
    losses = torch.where(torch.isfinite(totals), -totals, torch.finfo(torch.float64).max).cpu()
    for strategy, candidates, loss in zip(strategies, asked, losses.tolist(), strict=True):
        strategy.tell(list(candidates), loss)
    first = torch.arange(len(rows)) * config.population
    return found[(first + losses.argmin(dim=1)).to(found.total.device)]


def _strategy(rows: Rows, place: int, start: Tensor, config: SearchConfig) -> Any:
    """A CMA-ES around one image's starting noise, with a random stream of its own."""
    import cma
    import numpy as np

    row = rows.indices[place]
    prompt_index, image_index = divmod(row, config.images_per_prompt)
    key = stream(config.seed, prompt_index, image_index, "evolve")
    draws = np.random.default_rng(int(torch.randint(2**62, (1,), generator=key)))
    options = {
        "popsize": config.population,
        "CMA_diagonal": True,
        "randn": lambda *shape: draws.standard_normal(shape),
        # Not a number: no seed, as the draws are ours; cma would warn of one.
        "seed": math.nan,
        "verbose": -9,
    }
    return cma.CMAEvolutionStrategy(start.flatten().cpu().double().numpy(), config.spread, options)


def on_shell(noise: Tensor) -> Tensor:
    """Each row of (B, d) at the norm sqrt(d - 1), where the density of a Gaussian's norm is highest."""
    return noise * (math.sqrt(noise.shape[1] - 1) / norms(noise).clamp(min=1e-12))[:, None]


def _joined(chunks: Sequence[_Candidates]) -> _Candidates:
    return _Candidates(
        noise=torch.cat([chunk.noise for chunk in chunks]),
        images=torch.cat([chunk.images for chunk in chunks]),
        total=torch.cat([chunk.total for chunk in chunks]),
        parts={name: torch.cat([chunk.parts[name] for chunk in chunks]) for name in chunks[0].parts},
    )
