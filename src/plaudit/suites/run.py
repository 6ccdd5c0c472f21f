"""Runs a suite: draws its prompts, judges the pictures, and sums up.

An image's noise depends on the seed, its prompt's place in the whole suite and its number alone, so a subset of
the prompts, another batch size or a second sitting give the same verdicts. Overall accuracy is the mean of the
tasks' accuracies, as GenEval counts it (Ghosh et al. 2023).
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.generators.generator import NoiseGenerator
from plaudit.methods.records import BestSoFar, Step
from plaudit.methods.rows import batches
from plaudit.pocket.judge import Verdict, judge
from plaudit.suites.pocket_eval import EvalPrompt, pocket_eval_prompts
from plaudit.suites.statistics import Estimate, bootstrap_mean, share

BATCH_SIZE = 16
"""images drawn at once where no method decides it; does not change them"""

Draw = Callable[[Sequence[str], Sequence[int] | None], Iterator[Step]]
"""A method at work on prompts, on all of their rows or some."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """All a suite is: what to draw, and who judges it."""

    prompts: tuple[EvalPrompt, ...]
    judge: Callable[[Tensor, Sequence[EvalPrompt]], list[Verdict]]
    """one verdict per image, (B, 3, H, W) in [0, 1], against its prompt"""

    def texts(self) -> list[str]:
        """What a model is given, one per prompt."""
        return [prompt.text for prompt in self.prompts]

    def spread(self, count: int | None) -> tuple[int, ...]:
        """The places of about `count` prompts, every task in its proportion; of all if None. Raises BadConfig."""
        if count is None:
            return tuple(range(len(self.prompts)))
        if not 1 <= count <= len(self.prompts):
            raise BadConfig(f"the suite has 1 to {len(self.prompts)} prompts to choose from, got {count}")
        return tuple(round(i) for i in np.linspace(0, len(self.prompts) - 1, count))


def pocket() -> Suite:
    """PocketEval with the exact judge."""
    return Suite(
        prompts=pocket_eval_prompts(),
        judge=lambda images, prompts: judge(images, [prompt.request for prompt in prompts]),
    )


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One image and the verdict on it."""

    row: int
    """prompt index x images per prompt + image index"""
    prompt_index: int
    """the prompt's place in the whole suite"""
    image_index: int
    prompt: str
    task: str
    unseen: bool
    """the prompt asks for a combination that no training scene shows"""
    right: bool
    reasons: tuple[str, ...]
    """why not"""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a suite says about a model."""

    accuracy: Estimate
    """mean of the tasks' accuracies"""
    tasks: dict[str, Estimate]
    seen: Estimate | None
    """on the tasks that have unseen prompts, their other prompts; None if there are none"""
    unseen: Estimate | None
    images: int


def draw_and_judge(
    suite: Suite,
    generator: NoiseGenerator,
    rows: Sequence[int],
    *,
    draw: Draw | None = None,
    images_per_prompt: int = 4,
    seed: int = 0,
) -> Iterator[tuple[list[Judged], Tensor]]:
    """Verdicts and images (B, 3, H, W), batch by batch, of the suite's images in `rows`.

    `draw` is a method with its own seed and as many images per prompt; without one, pictures are taken as they
    come from the generator.
    """
    texts = suite.texts()
    if not rows:
        return
    if draw is None:
        found = _as_they_come(generator, texts, rows, images_per_prompt=images_per_prompt, seed=seed)
    else:
        found = _best_of_steps(draw(texts, rows), texts, images_per_prompt)
    for finished, images in found:
        prompts = [suite.prompts[row // images_per_prompt] for row in finished]
        verdicts = suite.judge(images, prompts)
        yield (
            [
                _judged(row, images_per_prompt, prompt, verdict)
                for row, prompt, verdict in zip(finished, prompts, verdicts, strict=True)
            ],
            images,
        )


def rows_to_draw(
    suite: Suite, *, num_prompts: int | None, images_per_prompt: int, done: Collection[int] = ()
) -> list[int]:
    """The rows of a run over the suite, or over some of its prompts, less those that are done."""
    if images_per_prompt < 1:
        raise BadConfig(f"images per prompt must be at least 1, got {images_per_prompt}")
    rows = [
        prompt * images_per_prompt + image for prompt in suite.spread(num_prompts) for image in range(images_per_prompt)
    ]
    finished = set(done)
    return [row for row in rows if row not in finished]


def score(judged: Sequence[Judged]) -> Scores:
    """The accuracies, with intervals over prompts. Raises BadConfig if nothing was judged."""
    if not judged:
        raise BadConfig("nothing was judged, so there is nothing to score")
    of_prompt: dict[int, list[Judged]] = {}
    for one in judged:
        of_prompt.setdefault(one.prompt_index, []).append(one)
    prompts = [of_prompt[index] for index in sorted(of_prompt)]
    tasks = list(dict.fromkeys(images[0].task for images in prompts))
    with_unseen = {images[0].task for images in prompts if images[0].unseen}
    compared = [images for images in prompts if images[0].task in with_unseen]
    seen = [images for images in compared if not images[0].unseen]
    unseen = [images for images in compared if images[0].unseen]
    return Scores(
        accuracy=bootstrap_mean(
            [_share_right(images) for images in prompts], strata=[images[0].task for images in prompts]
        ),
        tasks={task: _accuracy([p for p in prompts if p[0].task == task]) for task in tasks},
        seen=_accuracy(seen) if seen else None,
        unseen=_accuracy(unseen) if unseen else None,
        images=len(judged),
    )


def _as_they_come(
    generator: NoiseGenerator, texts: Sequence[str], rows: Sequence[int], *, images_per_prompt: int, seed: int
) -> Iterator[tuple[list[int], Tensor]]:
    """One image per row from its own noise, a batch at a time."""
    for part in batches(
        generator, texts, seed=seed, images_per_prompt=images_per_prompt, batch_size=BATCH_SIZE, only=rows
    ):
        with torch.no_grad():
            yield list(part.indices), generator.sample(part.noise(generator), part.condition)


@dataclass(frozen=True)
class _Counts:
    """What BestSoFar asks of a method's config."""

    images_per_prompt: int


def _best_of_steps(
    steps: Iterator[Step], texts: Sequence[str], images_per_prompt: int
) -> Iterator[tuple[list[int], Tensor]]:
    """Each batch's best images, as soon as its last step was seen."""
    watch: BestSoFar | None = None
    for step in steps:
        if step.index == 0:
            if watch is not None:
                yield _best(watch)
            watch = BestSoFar(texts, _Counts(images_per_prompt))
        assert watch is not None, "a batch begins with step 0"
        watch.see(step)
    if watch is not None:
        yield _best(watch)


def _best(watch: BestSoFar) -> tuple[list[int], Tensor]:
    results = watch.results()
    return [result.row for result in results], torch.stack([result.image for result in results])


def _judged(row: int, images_per_prompt: int, prompt: EvalPrompt, verdict: Verdict) -> Judged:
    return Judged(
        row=row,
        prompt_index=row // images_per_prompt,
        image_index=row % images_per_prompt,
        prompt=prompt.text,
        task=prompt.request.task,
        unseen=prompt.unseen,
        right=verdict.right,
        reasons=tuple(verdict.reasons),
    )


def _accuracy(prompts: Sequence[Sequence[Judged]]) -> Estimate:
    return share([[float(one.right) for one in images] for images in prompts])


def _share_right(images: Sequence[Judged]) -> float:
    return sum(one.right for one in images) / len(images)
