"""`plaudit evaluate`: a model, with or without a method, on a suite of prompts."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import UnknownName
from plaudit.shells.flags import Command, WrongUsage
from plaudit.shells.options import DrawingOptions, Method
from plaudit.suites.table import SUITES

if TYPE_CHECKING:
    from plaudit.generators.generator import NoiseGenerator
    from plaudit.methods.reno import Step

    Draw = Callable[[Sequence[str], Sequence[int] | None], Iterator[Step]]
    """a method at work on prompts, on all of their rows or some"""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(DrawingOptions):
    """All that `plaudit evaluate` takes."""

    suite: str = field(metadata={"positional": 1, "placeholder": "SUITE"})
    """pocket: 553 prompts in GenEval's proportions, judged exactly"""
    method: Method = field(default="none", metadata={"placeholder": "reno|best-of-n|evolve|none"})
    """how each picture is drawn; none: as it comes from the model"""
    images: int = 4
    """images per prompt"""
    prompts: int | None = None
    """only so many of the suite's prompts, spread over its tasks"""
    out: Path | None = field(default=None, metadata={"placeholder": "DIR"})
    """folder for the pictures and the scores; a second call with it goes on where the first stopped"""
    json: bool = False
    """print one JSON object on stdout, and nothing else there"""


def run(options: EvaluateOptions) -> int:
    """Draw the suite's prompts, judge the pictures, print the scores."""
    try:
        entry = SUITES.find(options.suite)
    except UnknownName as error:
        raise WrongUsage(str(error)) from error
    evaluate = entry.resolve()
    generator, draw = _drawing(options)
    scores = evaluate(
        generator,
        draw=draw,
        seed=options.seed,
        images_per_prompt=options.images,
        num_prompts=options.prompts,
        out=options.out,
    )
    print(json.dumps(scores, ensure_ascii=False) if options.json else as_table(scores))
    return 0


def _drawing(options: EvaluateOptions) -> "tuple[NoiseGenerator, Draw | None]":
    """The model, and how the method draws prompts; None if pictures are taken as they come."""
    from plaudit.shells.drawing import device_of, set_up, start

    if options.method == "none":
        from plaudit.generators.table import load_generator

        return load_generator(options.model, device=device_of(options.device)), None
    shop = set_up(options)

    def draw(prompts: Sequence[str], only: Sequence[int] | None) -> "Iterator[Step]":
        return start(shop, prompts, images_per_prompt=options.images, rows=only)

    return shop.generator, draw


def as_table(scores: Mapping[str, Any], indent: str = "") -> str:
    """The scores, one a line, groups of scores further in."""
    lines = []
    for name, value in scores.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{name}", as_table(value, indent + "  ")]
            continue
        shown = f"{value:.3f}" if isinstance(value, float) else str(value)
        lines.append(f"{indent}{name:<{24 - len(indent)}}{shown}")
    return "\n".join(lines)


COMMAND = Command(
    name="evaluate",
    purpose=(
        "Draw every prompt of a suite and score the pictures.\n"
        "The exact judge, which nothing is trained on, scores the pocket suite; intervals are by bootstrap."
    ),
    examples="""
plaudit evaluate pocket                                 pocket-turbo as it is
plaudit evaluate pocket --model pocket-base
plaudit evaluate pocket --method reno --prompts 48 --images 1
plaudit evaluate pocket --out runs/eval --json
""",
    options=EvaluateOptions,
    run=run,
)
