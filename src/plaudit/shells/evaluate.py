"""`plaudit evaluate`: a model, with or without a method, on a suite of prompts."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import PlauditError, UnknownName
from plaudit.shells.flags import Command, WrongUsage
from plaudit.shells.options import DrawingOptions, Method, decisive
from plaudit.suites.table import SUITES

if TYPE_CHECKING:
    from plaudit.generators.generator import NoiseGenerator
    from plaudit.methods.reno import Step
    from plaudit.suites.run import Draw, Scores, Suite
    from plaudit.suites.statistics import Estimate


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(DrawingOptions):
    """All that `plaudit evaluate` takes."""

    suite: str = field(metadata={"positional": 1, "placeholder": "SUITE"})
    """pocket: 553 prompts in GenEval's proportions, judged exactly"""
    method: Method | None = field(default="none", metadata={"placeholder": "reno|best-of-n|evolve|none"})
    """how each picture is drawn; none: as it comes from the model"""
    images_per_prompt: int = 4
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
    from plaudit.runs.evaluation import EvaluationFolder
    from plaudit.suites.run import draw_and_judge, rows_to_draw, score

    suite: Suite = entry.build()
    every = rows_to_draw(suite, num_prompts=options.prompts, images_per_prompt=options.images_per_prompt)
    generator, draw, sources = _drawing(options)
    folder = EvaluationFolder(options.out, _settings(options, sources)) if options.out else None
    # A folder may hold more than is asked for now: the rows of a larger share of the prompts.
    judged = [one for one in folder.judged if one.row in set(every)] if folder else []
    done = {one.row for one in judged}
    rows = [row for row in every if row not in done]
    found = draw_and_judge(
        suite, generator, rows, draw=draw, images_per_prompt=options.images_per_prompt, seed=options.seed
    )
    with _bar(f"evaluating {sources['model']['name']}", total=len(every), done=len(done)) as advance:
        try:
            for batch, images in found:
                judged += batch
                if folder:
                    folder.keep(batch, images)
                advance(len(judged), sum(one.right for one in judged) / len(judged))
        except KeyboardInterrupt as error:
            if not folder:
                raise
            raise PlauditError(
                f"stopped by Ctrl-C; {len(judged)} of {len(every)} images are kept in {str(folder.path)!r}, "
                "and the same command goes on"
            ) from error
    scores = score(judged)
    if folder:
        folder.finish(scores)
    print(json.dumps(asdict(scores), ensure_ascii=False) if options.json else as_table(scores))
    return 0


def _drawing(options: EvaluateOptions) -> "tuple[NoiseGenerator, Draw | None, dict[str, Any]]":
    """The model, how the method draws prompts (None if pictures are taken as they come), and what was loaded."""
    from plaudit.shells.drawing import check_model, device_of, load_model, set_up, start

    if options.method == "none":
        check_model(options)
        generator, model = load_model(options, device_of(options.device))
        return generator, None, {"model": model}
    shop = set_up(options)

    def draw(prompts: Sequence[str], only: Sequence[int] | None) -> "Iterator[Step]":
        return start(shop, prompts, images_per_prompt=options.images_per_prompt, rows=only)

    return shop.generator, draw, shop.sources


def _settings(options: EvaluateOptions, sources: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the verdicts; how many of the prompts are drawn does not."""
    from plaudit.shells.drawing import spell_out

    named = spell_out(options)
    # Where nothing is optimised, rewards decide nothing.
    spelled = decisive(replace(named, reward=options.reward) if options.method == "none" else named)
    return {name: value for name, value in spelled.items() if name != "prompts"} | {"sources": dict(sources)}


@contextmanager
def _bar(title: str, *, total: int, done: int) -> "Iterator[Callable[[int, float], None]]":
    """A bar of judged images on stderr, with the share right so far. Shows nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("right {task.fields[right]}"),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(title, total=total, completed=done, right="...")
        yield lambda count, right: progress.update(task, completed=count, right=f"{right:.1%}")


def as_table(scores: "Scores") -> str:
    """The scores with their 95 % intervals, one a line."""
    rows: list[tuple[str, Estimate | None]] = [("accuracy (mean of tasks)", scores.accuracy)]
    rows += [(f"  {task}", estimate) for task, estimate in scores.tasks.items()]
    rows += [("seen combinations", scores.seen), ("unseen combinations", scores.unseen)]
    lines = [f"{'':<26}{'right':>7}   95 % interval    prompts"]
    for name, estimate in rows:
        if estimate is not None:
            interval = f"{estimate.low:.3f} to {estimate.high:.3f}"
            lines.append(f"{name:<26}{estimate.value:>7.3f}   {interval:<17}{estimate.prompts}")
    return "\n".join([*lines, f"{scores.images} images"])


COMMAND = Command(
    name="evaluate",
    purpose=(
        "Draw every prompt of a suite and score the pictures.\n"
        "The exact judge, which nothing is trained on, scores the pocket suite; intervals are by bootstrap."
    ),
    examples="""
plaudit evaluate pocket                                 pocket-turbo as it is
plaudit evaluate pocket --model pocket-base
plaudit evaluate pocket --model runs/mine               a training's model, over the one that it began with
plaudit evaluate pocket --method reno --prompts 48 --images-per-prompt 1
plaudit evaluate pocket --out runs/eval --json
""",
    options=EvaluateOptions,
    run=run,
)
