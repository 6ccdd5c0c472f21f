"""`plaudit compare`: models, methods and trainings on the same prompts and noises, at the same cost if wanted."""

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from plaudit.core.errors import PlauditError, UnknownName
from plaudit.core.stops import what_lacked
from plaudit.shells.comparing import Bench, bidders_of, draw_entrant, settings_for, warm_up
from plaudit.shells.entrants import Entrant, check_left_out, entrants_of, with_rewards_left_out
from plaudit.shells.flags import Command, WrongUsage
from plaudit.shells.options import DrawingOptions

if TYPE_CHECKING:
    import torch

    from plaudit.runs.comparison import ComparisonFolder, EntrantFolder
    from plaudit.suites.comparison_cost import Bidder
    from plaudit.suites.comparison_results import Spared
    from plaudit.suites.suite import Suite


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """All that `plaudit compare` takes."""

    entrants: tuple[str, ...] = field(default=(), metadata={"positional": "*", "placeholder": "MODEL[:METHOD]"})
    """what is compared, the first with all others: a model, a training's folder, or either with a method, as in
    pocket-turbo:reno or runs/mine:best-of-n:steps=20 (steps, sampling-steps, without=REWARD)"""
    suite: str = "pocket"
    """whose prompts are drawn and who judges them (plaudit list suites), or a file of your own prompts"""
    method: tuple[str, ...] = field(default=(), metadata={"placeholder": "reno|best-of-n|evolve|none"})
    """methods for those that name none, each in turn; left out: none, pictures as they come"""
    equal: Literal["time", "forwards", "none"] = "none"
    """time: every method gets the seconds an image that the dearest takes, or the first that says its steps; forwards:
    the same of networks' passes, a backward counted as two; none: each its own steps"""
    steps: int = 50
    """pictures drawn per image by methods that do not say their steps"""
    reward: tuple[str, ...] = field(default=(), metadata={"placeholder": "NAME:WEIGHT"})
    """rewards that methods follow, and that score every picture; left out: the four of ReNO"""
    held_out: tuple[str, ...] = field(default=(), metadata={"placeholder": "NAME"})
    """rewards that score every picture, and that no method follows"""
    leave_one_out: bool = False
    """each method again without each of its rewards: is what it gains seen by the one that is left out?"""
    detector: str | None = field(default=None, metadata={"placeholder": "NAME|FOLDER"})
    """who finds the objects, for suites that a detector scores: owlv2-base, or a Mask2Former's or OWLv2's folder; left
    out: as the suite's row says"""
    lists: Path | None = field(default=None, metadata={"placeholder": "DIR"})
    """folder of benchmarks' prompt lists; left out: PLAUDIT_SUITES_DIR, or the cache, into which they are downloaded"""
    prompts: int | None = None
    """only so many of the suite's prompts, spread over its categories"""
    images_per_prompt: int = 2
    """images per prompt; with 1 there is no diversity to measure"""
    seed: int = 0
    """the noise of an image depends on the seed and the image's number alone, so that it is the same for all"""
    batch_size: int = 16
    """images drawn at once; changes speed and memory, not the pictures"""
    memory: float | None = field(default=None, metadata={"placeholder": "GB"})
    """gigabytes of memory that drawing may use; left out: what is free on the GPU"""
    device: str | None = None
    """cpu, cuda or mps; left out: a GPU if there is one"""
    out: Path | None = field(default=None, metadata={"placeholder": "DIR"})
    """folder of the comparison (default: runs/<date>-compare); a second call with it goes on where the first stopped"""
    json: bool = False
    """print one JSON object on stdout, and nothing else there"""


def run(options: CompareOptions) -> int:
    """Draw every system's pictures, score them, say who is better."""
    bench, entrants = _bench(options)
    from plaudit.runs.comparison import ComparisonFolder
    from plaudit.suites.run import rows_to_draw

    rows = rows_to_draw(bench.suite, num_prompts=options.prompts, images_per_prompt=options.images_per_prompt)
    folder = ComparisonFolder(options.out or _free_place(), _settings(options, bench))
    failed: dict[str, str] = {}
    steps = _steps(options, bench, entrants, folder, rows, failed)
    drawn: dict[Entrant, EntrantFolder] = {}
    try:
        for entrant in entrants:
            # What could not even be measured has failed already.
            if entrant.name not in failed:
                with _kept_apart([entrant.name], failed):
                    drawn[entrant] = _finished(bench, entrant, folder, steps[entrant.name], rows)
    except KeyboardInterrupt as error:
        raise PlauditError(
            f"stopped by Ctrl-C; {len(drawn)} of {len(entrants)} systems are finished, what is drawn is kept in "
            f"{str(folder.path)!r}, and the same command with --out {shlex.quote(str(folder.path))} goes on"
        ) from error
    content = _conclude(bench, folder, drawn, rows, failed)
    _say(content, folder, as_json=options.json)
    return 1 if failed else 0


def _suite(options: CompareOptions, headline: str, device: "torch.device") -> "Suite":
    """The suite that is named; a board is headed by one reward, as all are asked afterwards."""
    from plaudit.shells.suites import check_detector, suite_named
    from plaudit.suites.table import is_board

    try:
        rewards = (headline,) if is_board(options.suite) else ()
        check_detector(options.suite, options.detector)
    except UnknownName as error:
        raise WrongUsage(str(error)) from error
    return suite_named(options.suite, rewards=rewards, device=device, folder=options.lists, detector=options.detector)


def _bench(options: CompareOptions) -> tuple[Bench, list[Entrant]]:
    """The rewards, loaded, and all systems, checked: a misspelling shows before anything is drawn."""
    from plaudit.rewards.same_reward import conflict
    from plaudit.rewards.specs import parse_spec
    from plaudit.rewards.table import REWARDS, load_reward, load_rewards
    from plaudit.runs.provenance import check_known, source_of
    from plaudit.shells.drawing import check_model, default_reward_specs, device_of
    from plaudit.shells.licences import tell_licences
    from plaudit.suites.table import is_board

    _check_numbers(options)
    entrants = entrants_of(options.entrants, options.method or ("none",))
    texts = options.reward or default_reward_specs()
    specs = {parse_spec(text, REWARDS).label: text for text in texts}
    if options.leave_one_out:
        entrants = with_rewards_left_out(entrants, list(specs))
    check_left_out(entrants, list(specs))
    if len(entrants) < 2:
        raise WrongUsage(
            "a comparison takes two systems or more, for example: plaudit compare pocket-turbo pocket-turbo:reno"
        )
    for entrant in entrants:
        check_model(DrawingOptions(model=entrant.model, method=entrant.method, steps=options.steps))
    held = {parse_spec(text, REWARDS).label: text for text in options.held_out}
    if said := conflict(held, specs, how="followed"):
        raise WrongUsage(f"{said}; name it once")
    if grouped := [text for text in options.held_out if parse_spec(text, REWARDS).normalise]:
        raise WrongUsage(f"{grouped[0]!r} is held out and shown raw, as all scores are; leave normalise out")
    named = {label: parse_spec(text, REWARDS).name for label, text in {**specs, **held}.items()}
    for name in named.values():
        check_known(REWARDS, name)
    tell_licences(REWARDS, list(named.values()))
    device = device_of(options.device)
    suite = _suite(options, next(iter({**held, **specs}.values())), device)
    rewards = load_rewards(texts, device=device)
    if not is_board(options.suite):
        # Who scores is missed before anything is drawn.
        suite.get_ready([suite.prompts[place] for place in suite.spread(options.prompts)])
    if compared := rewards.by_group():
        raise WrongUsage(
            f"{compared[0]!r} compares a prompt's images with each other, as a training does; use normalise"
        )
    bench = Bench(
        suite=suite, board=is_board(options.suite), rewards=rewards, specs=specs, device=device, seed=options.seed,
        held_out={label: load_reward(text, device=device) for label, text in held.items()},
        sources={label: source_of(REWARDS, name) for label, name in named.items()},
        images_per_prompt=options.images_per_prompt, batch_size=options.batch_size, memory=options.memory,
    )  # fmt: skip
    return bench, entrants


def _check_numbers(options: CompareOptions) -> None:
    """Raises WrongUsage for a number that cannot be."""
    whole = ("steps", "batch_size", "images_per_prompt", "prompts")
    given = {name: getattr(options, name) for name in whole}
    for name, value in given.items():
        if value is not None and value < 1:
            raise WrongUsage(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    if options.memory is not None and options.memory <= 0:
        raise WrongUsage(f"--memory must be above 0 gigabytes, got {options.memory:g}")


def _settings(options: CompareOptions, bench: Bench) -> dict[str, Any]:
    """What every system of a folder has in common; systems, prompts and held-out rewards may be added."""
    from plaudit.shells.suites import scorer_sources

    scorer = scorer_sources(bench.suite)
    return {
        "suite": bench.suite.name, "prompts_from": dict(bench.suite.sources), **({"scorer": scorer} if scorer else {}),
        "images_per_prompt": options.images_per_prompt, "seed": options.seed,
        "reward": [bench.specs[name] for name in bench.specs], "equal": options.equal, "steps": options.steps,
    }  # fmt: skip


def _steps(
    options: CompareOptions, bench: Bench, entrants: Sequence[Entrant], folder: "ComparisonFolder",
    rows: Sequence[int], failed: dict[str, str],
) -> dict[str, int]:  # fmt: skip
    """How many pictures each draws for an image. A plan that the folder holds stays; what is new is fitted to it."""
    if options.equal == "none":
        return {one.name: one.steps or (1 if one.method == "none" else options.steps) for one in entrants}
    from plaudit.suites.comparison_cost import equal_cost

    plan: dict[str, Any] = folder.content["plan"]
    known: dict[str, Any] = plan.setdefault("entrants", {})
    groups: dict[tuple[str, int | None], list[Entrant]] = {}
    for entrant in entrants:
        if entrant.name not in known:
            groups.setdefault((entrant.model, entrant.sampling_steps), []).append(entrant)
    bidders: list[Bidder] = []
    for group in groups.values():
        sound = []
        for entrant in group:
            with _kept_apart([entrant.name], failed):
                warm_up(bench, entrant, rows)
                sound.append(entrant)
        with _kept_apart([one.name for one in sound], failed):
            bidders += bidders_of(bench, sound, equal=options.equal, steps=options.steps, rows=rows)
    if bidders:
        found = equal_cost(bidders, budget=plan.get("budget"), reference=plan.get("reference", ""))
        plan |= {"equal": options.equal, "budget": found.budget, "reference": found.reference}
        known |= {share.name: asdict(share) for share in found.shares}
        folder.save()
    return {name: share["steps"] for name, share in known.items()}


@contextmanager
def _kept_apart(names: Sequence[str], failed: dict[str, str]) -> "Iterator[None]":
    """What goes wrong with some systems is noted, and the others go on."""
    import torch

    try:
        yield
    except (PlauditError, OSError, torch.OutOfMemoryError) as error:
        reason = what_lacked(error) if isinstance(error, torch.OutOfMemoryError) else " ".join(str(error).split())
        failed |= dict.fromkeys(names, reason)
        print(f"plaudit: {' and '.join(names)} failed: {reason}; the others go on", file=sys.stderr)


def _finished(
    bench: Bench, entrant: Entrant, folder: "ComparisonFolder", steps: int, rows: Sequence[int]
) -> "EntrantFolder":
    """The system's folder with all its pictures, scored by every reward."""
    from plaudit.runs.comparison import EntrantFolder

    settings = settings_for(bench, entrant, steps)
    place = EntrantFolder(folder.place_of(entrant.name), settings)
    folder.content["entrants"][entrant.name] = {
        "folder": place.path.name, "model": entrant.model, "method": entrant.method, "steps": steps,
        "without": entrant.without, "sources": settings["sources"],
    }  # fmt: skip
    folder.save()
    with _bar(entrant.name, total=len(rows), done=len(place.judged(rows))) as seen:
        draw_entrant(bench, entrant, place, steps, rows, seen)
    for name, reward in bench.all_rewards().items():
        place.score(
            place.judged(rows), name, reward, source=bench.sources[name],
            put=lambda images: images.to(bench.device), batch_size=bench.batch_size,
        )  # fmt: skip
    return place


def _conclude(
    bench: Bench, folder: "ComparisonFolder", drawn: "Mapping[Entrant, EntrantFolder]", rows: Sequence[int],
    failed: Mapping[str, str],
) -> dict[str, Any]:  # fmt: skip
    """The results, written to the folder with everything that is made of them. Raises BadConfig if all failed."""
    from plaudit.runs.comparison import table_of
    from plaudit.runs.comparison_report import write_comparison_report
    from plaudit.runs.comparison_tables import write_comparison_tables
    from plaudit.runs.lineage import followed_by_training, trained_on
    from plaudit.suites.comparison_results import results_of

    names = list(bench.all_rewards())
    # On a board nobody knows right from wrong: what nothing followed decides, if there is any.
    names = [*bench.held_out, *bench.rewards.parts] if bench.board else names
    tables = [
        table_of(
            entrant.name, place, rows, names, overall=bench.suite.overall,
            followed=tuple({**dict.fromkeys(entrant.followed(list(bench.specs))),
                            **dict.fromkeys(followed_by_training(entrant.model, names))}),
        )
        for entrant, place in drawn.items()
    ]  # fmt: skip
    followed = {table.name: table.followed for table in tables}
    texts = bench.suite.texts()
    folder.content["results"] = {
        **results_of(tables, without=_spared(list(drawn), followed)), "failed": dict(failed),
        "prompts": len(tables[0].prompts),
        "rows": list(rows),
        "trained_on": {one.name: said for one in drawn if (said := trained_on(one.model, bench.suite.name, texts))},
        "rewards": names, "held_out": list(bench.held_out),
    }  # fmt: skip
    folder.save()
    write_comparison_tables(folder.path)
    write_comparison_report(folder.path)
    return folder.content


def _spared(drawn: "Sequence[Entrant]", followed: Mapping[str, Sequence[str]]) -> "dict[str, Spared]":
    """Whose rewards are all of another's but one: a method told to leave it out, or a training that had it not.

    Trainings are held against each other if the same model is below both.
    """
    from plaudit.suites.comparison_results import Spared

    found = {
        one.name: Spared(reward=one.without, whole=replace(one, without=None).name)
        for one in drawn if one.without is not None
    }  # fmt: skip
    trained = [one for one in drawn if one.method == "none" and followed[one.name]]
    for one in trained:
        for other in trained:
            more = set(followed[other.name]) - set(followed[one.name])
            alike = set(followed[one.name]) < set(followed[other.name]) and len(more) == 1
            if alike and _beginning(one) == _beginning(other):
                found.setdefault(one.name, Spared(reward=more.pop(), whole=other.name))
    return found


def _beginning(entrant: Entrant) -> tuple[str, int | None]:
    """The model below all trainings, and the steps it was asked to draw in."""
    from plaudit.generators.tuned import choose

    return choose(entrant.model).model, entrant.sampling_steps


def _free_place() -> Path:
    import datetime

    from plaudit.runs.folder import HOME, claim_free

    return claim_free(HOME / f"{datetime.datetime.now().astimezone():%Y-%m-%d}-compare")


@contextmanager
def _bar(title: str, *, total: int, done: int) -> "Iterator[Callable[[int, float | None], None]]":
    """A bar of drawn images on stderr, with the share right so far. Shows nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[right]}"), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(title, total=total, completed=done, right="")

        def seen(count: int, right: float | None) -> None:
            progress.update(task, completed=count, right="" if right is None else f"right {right:.1%}")

        yield seen


def _say(content: Mapping[str, Any], folder: "ComparisonFolder", *, as_json: bool) -> None:
    if as_json:
        shown = {name: content[name] for name in ("settings", "plan", "results")}
        print(json.dumps({"folder": str(folder.path), **shown}, ensure_ascii=False))
        return
    from plaudit.runs.comparison_tables import as_text

    print(as_text(content))
    print(f"\nreport    {folder.path / 'compare.html'}\ntables    {folder.path / 'comparison.csv'}")


COMMAND = Command(
    name="compare",
    purpose=(
        "Put models, methods and trainings side by side on the same prompts and noises, and say who is better.\n"
        "The first is what the others are held against; differences are paired, with 95 % intervals over prompts."
    ),
    examples="""
plaudit compare pocket-turbo pocket-turbo:best-of-n pocket-turbo:reno --prompts 48
plaudit compare pocket-turbo --method none best-of-n evolve reno --equal time --prompts 48
plaudit compare pocket-base runs/mine --held-out pickscore     a training against what it began with
plaudit compare pocket-turbo pocket-turbo:reno --leave-one-out --prompts 24
plaudit compare runs/a runs/b --out runs/both --json           the same command goes on where it stopped
""",
    options=CompareOptions,
    run=run,
)
