"""`plaudit score`: what rewards say about pictures that are there."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import BadConfig, PlauditError
from plaudit.shells.flags import Command, WrongUsage

if TYPE_CHECKING:
    from plaudit.rewards.mix import WeightedSum
    from plaudit.runs.scoring import Picture, Score


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """All that `plaudit score` takes."""

    images: tuple[str, ...] = field(metadata={"positional": "+", "placeholder": "IMAGE"})
    """picture files of any size and format that Pillow reads, folders of them, or .jsonl lists of them with prompts"""
    prompt: str | None = field(default=None, metadata={"placeholder": "TEXT"})
    """what the pictures should show; left out: the prompt in a list's line, or inside a picture that plaudit drew"""
    reward: tuple[str, ...] = field(default=(), metadata={"placeholder": "NAME:WEIGHT"})
    """rewards and weights; left out: the four of ReNO. A reward of your own is my_module:MyReward; options follow:
    smooth=4 (looks), cache, max=0.3, normalise"""
    batch_size: int = 16
    """pictures of one size scored at once; changes speed and memory, not the scores"""
    out: Path | None = field(default=None, metadata={"placeholder": "FILE.jsonl"})
    """write the scores there, one JSON object a line; a second call with it goes on where the first stopped"""
    device: str | None = None
    """cpu, cuda or mps; left out: a GPU if there is one"""
    json_lines: bool = False
    """print one JSON object a picture on stdout, as soon as it is scored"""
    json: bool = False
    """print one JSON object on stdout, and nothing else there"""


def run(options: ScoreOptions) -> int:
    """Score each picture, tell what came out; 1 if a picture could not be read or scored."""
    if options.json_lines and (options.json or options.out):
        other = "--json" if options.json else "--out"
        raise WrongUsage(f"--json-lines says all that {other} does; give one of them")
    _see_that_it_is_text(options.prompt)
    from plaudit.runs.scoring import pictures_in

    # Mistakes in a list show here, before a model is loaded.
    total = sum(1 for _ in pictures_in(options.images))
    if total == 1:
        _see_that_it_is_one(next(iter(pictures_in(options.images))), options.prompt)
    reward = _load(options)
    return _to_file(options, options.out, reward, total) if options.out else _to_screen(options, reward, total)


def _see_that_it_is_text(prompt: str | None) -> None:
    if prompt is None:
        return
    if not prompt.strip():
        raise BadConfig("the prompt is empty; say what the pictures should show")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise BadConfig(
            f"the prompt {prompt!r} has bytes that are no UTF-8; type it in UTF-8, or write it into a .jsonl list"
        ) from error


def _see_that_it_is_one(picture: "Picture", prompt: str | None) -> None:
    from plaudit.core.picture_files import read_image
    from plaudit.runs.scoring import prompt_of

    read_image(picture.file)
    prompt_of(picture, prompt)


def _load(options: ScoreOptions) -> "WeightedSum":
    from plaudit.rewards.table import REWARDS, load_rewards, read_spec
    from plaudit.shells.drawing import default_reward_specs, device_of
    from plaudit.shells.licences import tell_licences

    specs = options.reward or default_reward_specs()
    tell_licences(REWARDS, [read_spec(spec)[0] for spec in specs])
    return load_rewards(specs, device=device_of(options.device))


def _to_screen(options: ScoreOptions, reward: "WeightedSum", total: int) -> int:
    from plaudit.runs.scoring import as_line, pictures_in

    found, bad = [], _Skipped()
    with _bar(total, quiet=options.json_lines and sys.stdout.isatty()) as advance:
        for score in _scores(options, reward, pictures_in(options.images), bad):
            if options.json_lines:
                print(as_line(score), flush=True)
            else:
                found.append(score)
            advance()
    bad.check(all_of=total)
    if options.json:
        weights = {name: weight for name, (weight, _) in reward.parts.items()}
        images = [asdict(score) for score in found]
        print(json.dumps({"weights": weights, "images": images, "skipped": bad.names}))
    elif not options.json_lines:
        print(as_table(found))
    return bad.exit_code


def _to_file(options: ScoreOptions, path: Path, reward: "WeightedSum", total: int) -> int:
    from plaudit.runs.scoring import ScoreFile, pictures_in

    prompt = options.prompt.strip() if options.prompt else None
    file, bad = ScoreFile(path, reward), _Skipped()
    before = file.tally.count
    with _bar(total, done=before) as advance:
        try:
            for score in _scores(options, reward, file.left(pictures_in(options.images), prompt), bad):
                file.keep([score])
                advance()
        except KeyboardInterrupt as error:
            raise PlauditError(
                f"stopped by Ctrl-C; {file.tally.count} pictures are scored in {str(path)!r}, "
                "and the same command goes on"
            ) from error
    bad.check(all_of=total)
    new, means = file.tally.count - before, file.tally.means()
    if options.json:
        told = {"out": str(path), "scored": file.tally.count, "new": new, "skipped": bad.names, "means": means}
        print(json.dumps(told))
        return bad.exit_code
    for name, value in means["parts"].items():
        print(f"{name:<30}{_cell(value, means['normalised'].get(name))}")
    count = file.tally.count
    print(f"{count} picture{'' if count == 1 else 's'} in {_shown(str(path))}, {new} of them new")
    return bad.exit_code


def _scores(
    options: ScoreOptions, reward: "WeightedSum", pictures: "Iterator[Picture]", bad: "_Skipped"
) -> "Iterator[Score]":
    from plaudit.runs.scoring import score_pictures
    from plaudit.shells.drawing import device_of

    return score_pictures(
        pictures,
        reward,
        prompt=options.prompt.strip() if options.prompt else None,
        device=device_of(options.device),
        batch_size=options.batch_size,
        skip=bad,
    )


class _Skipped:
    """Names pictures that cannot be read or scored on stderr, and remembers them."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, picture: "Picture", error: BadConfig) -> None:
        self.names.append(str(picture.file))
        print(f"plaudit: skipped: {error}", file=sys.stderr)

    def check(self, *, all_of: int) -> None:
        """Raises BadConfig if nothing was scored."""
        if len(self.names) == all_of:
            raise BadConfig("none of the pictures can be scored, for the reasons above")

    @property
    def exit_code(self) -> int:
        return 1 if self.names else 0


def as_table(scores: "Sequence[Score]") -> str:
    """One line a picture: total, each part raw and on its typical scale, the judge's word."""
    names = list(scores[0].parts)
    widths = {name: max(18, len(name) + 2) for name in names}
    lines = ["  ".join(["     total", *(f"{name:>{widths[name]}}" for name in names), "judge", "  file"])]
    for score in scores:
        word = "  -  " if score.judge is None else "right" if score.judge.right else "wrong"
        cells = [f"{_cell(score.parts[name], score.normalised[name]):>{widths[name]}}" for name in names]
        lines.append("  ".join([f"{score.total:>10.3f}", *cells, word, f"  {_shown(score.file)}"]))
        if score.judge and score.judge.reasons:
            lines.append(f"{'':>12}{'; '.join(score.judge.reasons)}")
    return "\n".join([*lines, "", "in brackets: 0 and 1 are the ends of the reward's typical scale"])


def _shown(name: str) -> str:
    """A file's name as stdout can print it; bytes that are no UTF-8 are spelled out."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    known = sys.stdout.encoding or "utf-8"
    return text.encode(known, "backslashreplace").decode(known)


def _cell(raw: float, normalised: float | None) -> str:
    return f"{raw:.3f} ({'  - ' if normalised is None else f'{normalised:.2f}'})"


@contextmanager
def _bar(total: int, *, done: int = 0, quiet: bool = False) -> "Iterator[Callable[[], Any]]":
    """A bar of pictures on stderr. Shows nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("scoring"),
        BarColumn(bar_width=None),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as progress:
        task = progress.add_task("scoring", total=total, completed=min(done, total))
        yield lambda: progress.advance(task)


COMMAND = Command(
    name="score",
    purpose=(
        "Score pictures under rewards; for a prompt of the pocket world, ask the exact judge too.\n"
        "Raw scores are on each reward's own scale; normalised ones have 0 and 1 at the ends of its typical scale.\n"
        "A picture that cannot be read, or gets no finite score, is named and skipped, and the exit code is 1.\n"
        'A list is a .jsonl file of lines like {"image": "a.png", "prompt": "a fox"}, paths as seen from its folder.'
    ),
    examples="""
plaudit score fox.png --prompt "a photo of a fox"
plaudit score a.png b.png --prompt "three blue stars" --reward hps imagereward:2
plaudit score runs/mine --json                          a run's pictures; their prompts are inside them
plaudit score pairs.jsonl --out scores.jsonl            many: goes on where it stopped
plaudit score photos --prompt "a fox" --json-lines      one line of JSON a picture, as they are scored
""",
    options=ScoreOptions,
    run=run,
)
