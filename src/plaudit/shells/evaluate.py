"""`plaudit evaluate`: a model, with or without a method, on a suite of prompts."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import BadConfig, PlauditError, UnknownName
from plaudit.shells.flags import Command, WrongUsage
from plaudit.shells.options import DrawingOptions, Method, decisive
from plaudit.shells.suites import check_detector, scorer_sources, suite_named
from plaudit.suites.table import is_board

if TYPE_CHECKING:
    from plaudit.generators.generator import NoiseGenerator
    from plaudit.methods.reno import Step
    from plaudit.runs.evaluation import EvaluationFolder
    from plaudit.shells.drawing import Workshop
    from plaudit.suites.run import Draw, Judged
    from plaudit.suites.suite import Suite

PUBLISHED_BOARD = ("hpsv2.1", "pickscore-v1", "imagereward-v1")
"""rewards of a board for models that speak all of English; pocket models have the embedded ones"""
NOT_RECORDED = ("prompts", "category", "lists", "detector")
"""which prompts are drawn does not change what is said of a picture; lists and detectors go by where they come from"""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(DrawingOptions):
    """All that `plaudit evaluate` takes."""

    suite: str = field(metadata={"positional": 1, "placeholder": "SUITE"})
    """pocket, geneval, dpg-bench and others (plaudit list suites), or a file of your own prompts: one a line, or .jsonl
    or .json with "prompt" and "category" """
    method: Method | None = field(default="none", metadata={"placeholder": "reno|best-of-n|evolve|none"})
    """how each picture is drawn; none: as it comes from the model"""
    images_per_prompt: int | None = None
    """images per prompt; left out: as many as the suite draws"""
    prompts: int | None = None
    """only so many of the suite's prompts, spread over its categories"""
    category: tuple[str, ...] = field(default=(), metadata={"placeholder": "NAME"})
    """only these categories of the suite"""
    detector: str | None = field(default=None, metadata={"placeholder": "NAME|FOLDER"})
    """who finds the objects, for suites that a detector scores: owlv2-base, or a Mask2Former's or OWLv2's folder; left
    out: as the suite's row says"""
    lists: Path | None = field(default=None, metadata={"placeholder": "DIR"})
    """folder of benchmarks' prompt lists; left out: PLAUDIT_SUITES_DIR, or the cache, into which they are downloaded"""
    out: Path | None = field(default=None, metadata={"placeholder": "DIR"})
    """folder for the pictures and the scores; a second call with it goes on where the first stopped"""
    json: bool = False
    """print one JSON object on stdout, and nothing else there"""


def run(options: EvaluateOptions) -> int:
    """Draw the suite's prompts, judge the pictures, print the scores."""
    _check_rewards(options)
    if options.batch_size < 1:
        raise BadConfig(f"--batch-size must be at least 1, got {options.batch_size}")
    check_detector(options.suite, options.detector)
    suite = _suite(options)
    learned_from = _trained_on(options, suite)
    from plaudit.suites.run import draw_and_judge, rows_to_draw

    count = suite.images_per_prompt if options.images_per_prompt is None else options.images_per_prompt
    options = replace(options, images_per_prompt=count)
    every = rows_to_draw(suite, num_prompts=options.prompts, images_per_prompt=count, categories=options.category)
    wanted = [suite.prompts[row // count] for row in every]
    # Who scores is there before anything is drawn and lost, and before the memory that is left is planned; but for a
    # board's rewards, which are part of the plan, and may be the method's.
    board = is_board(options.suite)
    if not board:
        suite.get_ready(wanted)
    drawing = _drawing(options, suite, count)
    suite, sources = drawing.suite, drawing.sources
    if board:
        suite.get_ready(wanted)
    if scorer := scorer_sources(suite):
        sources = {**sources, "scorer": scorer}
    from plaudit.runs.evaluation import EvaluationFolder

    folder = EvaluationFolder(options.out, _settings(options, suite, sources)) if options.out else None
    # A folder may hold more than is asked for now: the rows of a larger share of the prompts.
    judged = [one for one in folder.judged if one.row in set(every)] if folder else []
    done = {one.row for one in judged}
    rows = [row for row in every if row not in done]
    found = draw_and_judge(
        suite, drawing.generator, rows, draw=drawing.draw, images_per_prompt=count, seed=options.seed,
        batch_size=drawing.batch_size,
    )  # fmt: skip
    with _bar(f"evaluating {sources['model']['name']}", total=len(every), done=len(done)) as advance:
        try:
            for batch, images in found:
                judged += batch
                if folder:
                    folder.keep(batch, images)
                advance(len(judged), _live(judged, suite))
        except KeyboardInterrupt as error:
            if not folder:
                raise
            raise PlauditError(
                f"stopped by Ctrl-C; {len(judged)} of {len(every)} images are kept in {str(folder.path)!r}, "
                "and the same command goes on"
            ) from error
    _tell(judged, suite, options, folder, {"trained_on": learned_from, "scorer": scorer or None})
    return 0


def _check_rewards(options: EvaluateOptions) -> None:
    """Raises WrongUsage for rewards that nobody would ask: a board is scored by them, or a method follows them."""
    try:
        board = is_board(options.suite)
    except UnknownName as error:
        raise WrongUsage(str(error)) from error
    if board:
        return
    instead = f"{options.suite!r} has a judge of its own; to see rewards of its pictures, too, take: plaudit compare"
    if options.reward and options.method == "none":
        raise WrongUsage(f"--reward is for a board or a --method, and {instead}")
    if options.held_out and not options.guard_held_out:
        raise WrongUsage(f"--held-out is for a board, or with --guard-held-out, and {instead}")


def about(suite: "Suite") -> dict[str, Any]:
    """What the numbers of a suite are, as JSON types."""
    names = ("name", "measures", "overall", "chance", "strict_chance", "paper", "licence")
    return {**{name: getattr(suite, name) for name in names}, "prompts_from": dict(suite.sources) or None}


def _suite(options: EvaluateOptions) -> "Suite":
    """The suite that is named, to be scored by what is named. Raises WrongUsage for a name that is not there."""
    from plaudit.shells.drawing import device_of

    return suite_named(
        options.suite, rewards=_board(options) if is_board(options.suite) else (),
        device=device_of(options.device), folder=options.lists, detector=options.detector,
    )  # fmt: skip


def _trained_on(options: EvaluateOptions, suite: "Suite") -> list[str]:
    """What the trainings behind the model, if there are any, learned from of this suite's prompts; said on stderr."""
    from plaudit.runs.lineage import trained_on

    texts = suite.texts()
    found = [said for named in (options.model, options.lora) for said in trained_on(named, suite.name, texts)]
    for said in found:
        print(f"plaudit: {said}; what it measures of this model says little", file=sys.stderr)
    return found


def _board(options: EvaluateOptions) -> tuple[str, ...]:
    """The rewards that score a board, the headline first. Raises UnknownName with the nearest name."""
    from plaudit.rewards.table import REWARDS, read_spec
    from plaudit.runs.provenance import check_known
    from plaudit.shells.drawing import chosen_model, default_reward_specs
    from plaudit.shells.licences import tell_licences

    # What a method follows are the defaults of all commands; then the board shows these.
    embedded = options.method != "none" or chosen_model(options).model.startswith("pocket-")
    named = options.reward or (default_reward_specs() if embedded else PUBLISHED_BOARD)
    specs = (options.held_out, *named) if options.held_out else named
    names = [read_spec(spec)[0] for spec in specs]
    for name in names:
        check_known(REWARDS, name)
    tell_licences(REWARDS, names)
    return specs


@dataclass(frozen=True, kw_only=True)
class _Drawing:
    """What draws and judges."""

    generator: "NoiseGenerator"
    draw: "Draw | None"
    """the method; None if pictures are taken as they come"""
    batch_size: int
    """of those that are taken as they come, as many at once as fit"""
    suite: "Suite"
    sources: dict[str, Any]
    """what was loaded"""


def _drawing(options: EvaluateOptions, suite: "Suite", count: int) -> _Drawing:
    """The model and the method at work on a suite's prompts, so many images of each."""
    from plaudit.shells.drawing import set_up, start

    if options.method == "none":
        return _as_it_comes(options, suite)
    shop = set_up(options)

    def draw(prompts: Sequence[str], only: Sequence[int] | None) -> "Iterator[Step]":
        return start(shop, prompts, images_per_prompt=count, rows=only)

    scored = _with_loaded(suite, shop) if is_board(options.suite) else suite
    return _Drawing(
        generator=shop.generator, draw=draw, batch_size=shop.options.batch_size, suite=scored, sources=shop.sources
    )


def _as_it_comes(options: EvaluateOptions, suite: "Suite") -> _Drawing:
    """The model alone, as it fits this machine beside the rewards of a board."""
    from plaudit.shells.drawing import check_model, chosen_model, device_of, load_model
    from plaudit.shells.fitting import fit_memory

    check_model(options)
    device = device_of(options.device)
    # A board's rewards have the held-out one among them; no other suite asks any.
    fit = fit_memory(replace(_spelled_out(options), held_out=None), chosen_model(options), device)
    generator, model = load_model(options, device, fit)
    batch_size = options.batch_size if fit is None else fit.batch_size
    return _Drawing(generator=generator, draw=None, batch_size=batch_size, suite=suite, sources={"model": model})


def _with_loaded(suite: "Suite", shop: "Workshop") -> "Suite":
    """A board that scores by the rewards that the method has loaded already."""
    from plaudit.suites.reward_board import RewardBoard

    loaded = {name: reward for name, (_, reward) in shop.reward.raw_parts().items()}
    if shop.held_out is not None:
        loaded[suite.parts[0]] = shop.held_out
    return replace(suite, scorer=lambda: RewardBoard([(name, loaded[name]) for name in suite.parts]))


def _settings(options: EvaluateOptions, suite: "Suite", sources: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the verdicts; how many of the prompts are drawn does not."""
    from plaudit.rewards.table import REWARDS, read_spec
    from plaudit.runs.provenance import source_of

    known = {**sources, "suite": dict(suite.sources)} if suite.sources else dict(sources)
    named = _spelled_out(options)
    if options.method == "none" and is_board(options.suite):
        known["rewards"] = [source_of(REWARDS, read_spec(spec)[0]) for spec in named.reward]
    return {name: value for name, value in decisive(named).items() if name not in NOT_RECORDED} | {"sources": known}


def _spelled_out(options: EvaluateOptions) -> EvaluateOptions:
    """The options with all defaults named; where nothing is optimised, a board's rewards alone."""
    from plaudit.shells.drawing import spell_out

    named = spell_out(options)
    if options.method != "none":
        return named
    return replace(named, reward=_board(options) if is_board(options.suite) else options.reward)


def _live(judged: "Sequence[Judged]", suite: "Suite") -> str:
    """The number to watch: the share that is right so far, or a board's headline."""
    if judged[0].right is not None:
        return f"right {sum(bool(one.right) for one in judged) / len(judged):.1%}"
    known = [one.score for one in judged if one.score is not None]
    return f"{suite.parts[0] if suite.parts else 'score'} {sum(known) / max(1, len(known)):.3f}"


def _tell(
    judged: "Sequence[Judged]", suite: "Suite", options: EvaluateOptions, folder: "EvaluationFolder | None",
    known: Mapping[str, Any],
) -> None:  # fmt: skip
    """Sum up, into the folder and on stdout."""
    from plaudit.shells.evaluation_table import as_table
    from plaudit.suites.run import score

    scores = score(judged, overall=suite.overall, parts=suite.parts)
    told = about(suite) | dict(known)
    if folder:
        folder.finish(scores, told)
    said = {**asdict(scores), "suite": told}
    print(json.dumps(said, ensure_ascii=False) if options.json else as_table(scores, suite))


@contextmanager
def _bar(title: str, *, total: int, done: int) -> "Iterator[Callable[[int, str], None]]":
    """A bar of judged images on stderr, with the number so far. Shows nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[live]}"),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(title, total=total, completed=done, live="...")
        yield lambda count, live: progress.update(task, completed=count, live=live)


COMMAND = Command(
    name="evaluate",
    purpose=(
        "Draw every prompt of a suite and score the pictures, overall and by category, with 95 % intervals.\n"
        "Where a suite knows right from wrong, the share that is right, and the score with credit for parts; on a\n"
        "reward board (partiprompts, drawbench, hpsv2, a file of your own) the mean of each --reward and of --held-out."
    ),
    examples="""
plaudit evaluate pocket                                 pocket-turbo as it is
plaudit evaluate pocket --model pocket-base
plaudit evaluate pocket --model runs/mine               a training's model, over the one that it began with
plaudit evaluate pocket --method reno --prompts 48 --images-per-prompt 1
plaudit evaluate pocket --out runs/eval --json
plaudit evaluate geneval --model sd-turbo               prompts are downloaded once; --lists DIR reads them from there
plaudit evaluate geneval --model sd-turbo --detector owlv2-base
plaudit evaluate t2i-compbench --model sd-turbo --category color shape
plaudit evaluate prompts.txt --reward hps imagereward   your own prompts on a reward board
""",
    options=EvaluateOptions,
    run=run,
)
