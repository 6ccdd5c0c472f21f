"""Runs a suite: draws its prompts, judges the pictures, and sums up.

An image's noise depends on the seed, its prompt's place in the whole suite and its number alone, so a subset of
the prompts, another batch size or a second sitting give the same verdicts. Numbers come twice where a suite knows right
from wrong: strictly, the share of pictures with all that was asked for, and as the mean score, with credit for parts.
"""

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.generators.generator import NoiseGenerator
from plaudit.methods.records import BestSoFar, Step
from plaudit.methods.rows import batches
from plaudit.pocket.judge import judge
from plaudit.pocket.questions import requirements_of, say_question
from plaudit.pocket.scenes import Scene
from plaudit.pocket.truth import failures
from plaudit.suites.pocket_eval import CHANCE, STRICT_CHANCE, EvalPrompt, PocketSuite, pocket_eval_prompts
from plaudit.suites.statistics import SHARES, Estimate, bootstrap_mean, share
from plaudit.suites.suite import Opinion, Overall, Suite, SuitePrompt

BATCH_SIZE = 16
"""images drawn at once where nobody says how many; does not change them"""

Draw = Callable[[Sequence[str], Sequence[int] | None], Iterator[Step]]
"""A method at work on prompts, on all of their rows or some."""


def pocket() -> PocketSuite:
    """PocketEval with the exact judge."""
    return PocketSuite(
        name="pocket",
        prompts=pocket_eval_prompts(),
        scorer=lambda: _judge_pocket,
        images_per_prompt=4,
        overall="categories",
        measures="share of the requirements that hold, 0 to 1",
        chance=CHANCE,
        strict_chance=STRICT_CHANCE,
        paper="GenEval in miniature, after Ghosh et al. 2023",
        licence="Apache-2.0",
    )


def pocket_opinion(seen: Scene, prompt: EvalPrompt, reasons: tuple[str, ...] | None = None) -> Opinion:
    """What is to be said of a scene for a prompt: right if nothing fails; the score is the share of what holds.

    `reasons`: what fails, if the judge said so already.
    """
    parts = requirements_of(prompt.request)
    met = {say_question(part): float(not failures(seen, part)) for part in parts}
    wrong = failures(seen, prompt.request) if reasons is None else reasons
    return Opinion(score=sum(met.values()) / len(met), right=not wrong, reasons=wrong, parts=met)


def _judge_pocket(images: Tensor, prompts: Sequence[SuitePrompt]) -> list[Opinion]:
    ours = [prompt for prompt in prompts if isinstance(prompt, EvalPrompt)]
    verdicts = judge(images, [prompt.request for prompt in ours])
    return [pocket_opinion(it.seen, prompt, it.reasons) for it, prompt in zip(verdicts, ours, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One image and what was said of it."""

    row: int
    """prompt index x images per prompt + image index"""
    prompt_index: int
    """the prompt's place in the whole suite"""
    image_index: int
    prompt: str
    category: str
    unseen: bool
    """the prompt asks for a combination that no training scene shows"""
    right: bool | None
    """None where there is no right and wrong"""
    reasons: tuple[str, ...]
    """why not"""
    score: float | None = None
    """the suite's; None in evaluations of before it was kept"""
    parts: Mapping[str, float] = field(default_factory=dict)
    """what the score is made of"""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A number over a whole suite, and in each of its categories."""

    overall: Estimate
    categories: dict[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a suite says about a model."""

    accuracy: Estimate | None
    """strictly: the share of pictures with all that was asked for; None where there is no right and wrong"""
    tasks: dict[str, Estimate]
    """the same of each category; none where there is no right and wrong"""
    score: Measured | None
    """the mean score; None for evaluations of before it was kept"""
    parts: dict[str, Measured]
    """the mean of each part that the suite sums up, such as a board's rewards"""
    seen: Estimate | None
    """strictly, on the categories that have unseen prompts, their other prompts; None if there are none"""
    unseen: Estimate | None
    images: int


def draw_and_judge(  # noqa: PLR0913, two of them for pictures as they come
    suite: Suite,
    generator: NoiseGenerator,
    rows: Sequence[int],
    *,
    draw: Draw | None = None,
    images_per_prompt: int = 4,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> Iterator[tuple[list[Judged], Tensor]]:
    """Verdicts and images (B, 3, H, W), batch by batch, of the suite's images in `rows`.

    `draw` is a method with its own seed and batches and as many images per prompt; without one, pictures are taken
    as they come from the generator. The suite judges on the generator's device.
    """
    texts = suite.texts()
    if not rows:
        return
    if draw is None:
        found = _as_they_come(
            generator, texts, rows, images_per_prompt=images_per_prompt, seed=seed, batch_size=batch_size
        )
    else:
        found = _best_of_steps(draw(texts, rows), texts, images_per_prompt)
    for finished, images in found:
        prompts = [suite.prompts[row // images_per_prompt] for row in finished]
        # What was drawn by a method is on the CPU, and scorers work where their images are.
        opinions = suite.judge(images.to(generator.device), prompts)
        yield (
            [
                _judged(row, images_per_prompt, prompt, opinion)
                for row, prompt, opinion in zip(finished, prompts, opinions, strict=True)
            ],
            images,
        )


def rows_to_draw(
    suite: Suite,
    *,
    num_prompts: int | None,
    images_per_prompt: int,
    done: Collection[int] = (),
    categories: Collection[str] = (),
) -> list[int]:
    """The rows of a run over the suite, or over some of its prompts or categories, less those that are done."""
    if images_per_prompt < 1:
        raise BadConfig(f"images per prompt must be at least 1, got {images_per_prompt}")
    places = suite.spread(num_prompts, categories)
    rows = [prompt * images_per_prompt + image for prompt in places for image in range(images_per_prompt)]
    finished = set(done)
    return [row for row in rows if row not in finished]


def score(judged: Sequence[Judged], *, overall: Overall = "categories", parts: Sequence[str] = ()) -> Scores:
    """The numbers, with intervals over prompts. `parts`: those of the opinions that are summed up too.

    Raises BadConfig if nothing was judged.
    """
    if not judged:
        raise BadConfig("nothing was judged, so there is nothing to score")
    of_prompt: dict[int, list[Judged]] = {}
    for one in judged:
        of_prompt.setdefault(one.prompt_index, []).append(one)
    prompts = [of_prompt[index] for index in sorted(of_prompt)]
    strict = [images for images in prompts if all(one.right is not None for one in images)]
    with_unseen = {images[0].category for images in strict if images[0].unseen}
    compared = [images for images in strict if images[0].category in with_unseen]
    seen = [images for images in compared if not images[0].unseen]
    unseen = [images for images in compared if images[0].unseen]
    return Scores(
        accuracy=_mean([_share_right(images) for images in strict], _categories(strict), overall, within=SHARES)
        if strict
        else None,
        tasks={name: _accuracy(some) for name, some in _by_category(strict).items()},
        # Where right and wrong are known, the score is the share of what is right.
        score=_measured(prompts, lambda one: one.score, overall, within=SHARES if strict else None),
        parts={
            name: found
            for name in parts
            if (found := _measured(prompts, functools.partial(_part, name=name), overall)) is not None
        },
        seen=_accuracy(seen) if seen else None,
        unseen=_accuracy(unseen) if unseen else None,
        images=len(judged),
    )


def _part(one: Judged, name: str) -> float | None:
    """The part of that name, or the mean of the parts of that kind; None if there is none."""
    if name in one.parts:
        return one.parts[name]
    of_kind = [value for part, value in one.parts.items() if part.startswith(f"{name}: ")]
    return sum(of_kind) / len(of_kind) if of_kind else None


def _measured(
    prompts: Sequence[Sequence[Judged]], number: Callable[[Judged], float | None], overall: Overall, *,
    within: tuple[float, float] | None = None,
) -> Measured | None:  # fmt: skip
    """The mean of an image's number; of the prompts all of whose images have one. None if there are none."""
    pairs = [(images, [number(one) for one in images]) for images in prompts]
    known = [(images, [v for v in values if v is not None]) for images, values in pairs if None not in values]
    if not known:
        return None
    means = {images[0].prompt_index: sum(values) / len(values) for images, values in known}
    having = [images for images, _ in known]
    return Measured(
        overall=_mean(list(means.values()), _categories(having), overall, within=within),
        categories={
            name: bootstrap_mean([means[images[0].prompt_index] for images in some], within=within)
            for name, some in _by_category(having).items()
        },
    )


def _mean(
    values: Sequence[float], categories: Sequence[str], overall: Overall, *, within: tuple[float, float] | None = None
) -> Estimate:
    return bootstrap_mean(values, strata=categories if overall == "categories" else None, within=within)


def _categories(prompts: Sequence[Sequence[Judged]]) -> list[str]:
    return [images[0].category for images in prompts]


def _by_category(prompts: Sequence[Sequence[Judged]]) -> dict[str, list[Sequence[Judged]]]:
    found: dict[str, list[Sequence[Judged]]] = {}
    for images in prompts:
        found.setdefault(images[0].category, []).append(images)
    return found


def _as_they_come(
    generator: NoiseGenerator, texts: Sequence[str], rows: Sequence[int], *,
    images_per_prompt: int, seed: int, batch_size: int,
) -> Iterator[tuple[list[int], Tensor]]:  # fmt: skip
    """One image per row from its own noise, a batch at a time."""
    for part in batches(
        generator, texts, seed=seed, images_per_prompt=images_per_prompt, batch_size=batch_size, only=rows
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


def _judged(row: int, images_per_prompt: int, prompt: SuitePrompt, opinion: Opinion) -> Judged:
    return Judged(
        row=row,
        prompt_index=row // images_per_prompt,
        image_index=row % images_per_prompt,
        prompt=prompt.text,
        category=prompt.category,
        unseen=prompt.unseen,
        right=opinion.right,
        reasons=tuple(opinion.reasons),
        score=opinion.score,
        parts=dict(opinion.parts),
    )


def _accuracy(prompts: Sequence[Sequence[Judged]]) -> Estimate:
    return share([[float(bool(one.right)) for one in images] for images in prompts])


def _share_right(images: Sequence[Judged]) -> float:
    return sum(bool(one.right) for one in images) / len(images)
