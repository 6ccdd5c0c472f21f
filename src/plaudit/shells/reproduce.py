"""`plaudit reproduce`: a paper's headline claims, in miniature, measured."""

import importlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plaudit.core.errors import PlauditError
from plaudit.shells.flags import Command, WrongUsage, nearest

SYSTEMS = {
    "reno": "plaudit.shells.reproducing_reno",
    "r0": "plaudit.shells.reproducing_r0",
    "rlcm": "plaudit.shells.reproducing_rlcm",
    "ar-grpo": "plaudit.shells.reproducing_ar_grpo",
    "reasongen": "plaudit.shells.reproducing_reasongen",
}
"""each system's module: its `run(ReproduceOptions)` measures, writes, and returns (claims, paths written)"""

ALL = "all"
"""every system, one after the other"""


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions:
    """All that `plaudit reproduce` takes."""

    system: str = field(metadata={"positional": 1, "placeholder": "SYSTEM"})
    """reno: reward-based noise optimisation; r0: a few-step generator from rewards alone; rlcm: policy gradient on
    consistency models, against DDPO; ar-grpo: the same on a token model, with LOO-FID; reasongen: lessons and rewards
    for a model that plans in words and then draws; all: the five one after the other, and one page on all claims"""
    quick: bool = False
    """a small version in three to five minutes; its intervals are too wide to decide a claim"""
    model: str | None = None
    """of reno: pocket-turbo or pocket-pixart only; left out: one after the other"""
    out: Path | None = field(default=None, metadata={"placeholder": "DIR"})
    """folder for everything measured; a second call with it goes on where the first stopped
    (default: runs/reproduce-SYSTEM; of all: the folder of those, runs)"""
    json: Path | None = field(default=None, metadata={"placeholder": "FILE"})
    """where the claims go, measured against their bars, with page and pictures beside it (default: in --out);
    of all: the folder where they go, each as SYSTEM.json"""
    page_only: bool = False
    """compute nothing: make page and pictures again from the file that is there"""

    @property
    def folder(self) -> Path:
        """--out or its default."""
        return self.out or Path("runs") / f"reproduce-{self.system}"

    @property
    def file(self) -> Path:
        """--json or its default."""
        return self.json or self.folder / f"{self.system}.json"


def run(options: ReproduceOptions) -> int:
    """Measure what is not measured yet, conclude, and write report, page and pictures."""
    if options.system == ALL:
        from plaudit.shells.reproducing_all import run as run_all

        return run_all(options)
    if options.system not in SYSTEMS:
        known = (*SYSTEMS, ALL)
        hint = nearest(options.system, known) or f" Known: {', '.join(known)}."
        raise WrongUsage(f"no system named {options.system!r} can be reproduced.{hint}")
    claims, written = importlib.import_module(SYSTEMS[options.system]).run(options)
    print(as_table(claims))
    print("\nwritten: " + ", ".join(str(path) for path in written))
    return 0


@contextmanager
def measuring(folder: Path) -> Iterator[Callable[[float, str, str], None]]:
    """A bar on stderr, advanced by (share of all work, what was measured, what is left); else a line each.

    Ctrl-C says what is kept in the folder.
    """
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[left]}"))
    with Bar(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("measuring", total=1.0, left="")

        def advance(share: float, name: str, left: str) -> None:
            bar.update(task, completed=share, description=name, left=left)
            if not console.is_terminal:
                say(f"{name}: {left}")

        try:
            yield advance
        except KeyboardInterrupt as error:
            raise PlauditError(
                f"stopped by Ctrl-C; what is finished is kept in {str(folder)!r}, and the same command goes on"
            ) from error


@dataclass(frozen=True, kw_only=True)
class Done:
    """A part of a reproduction's work that is done."""

    share: float
    """of all work, with what was done before"""
    name: str
    """what it is of"""
    what: str


def watched(folder: Path, parts: Iterable[Done]) -> None:
    """Do all parts, showing each with the time that is left, reckoned from the share that this process has done."""
    started, begun_with = time.monotonic(), None
    with measuring(folder) as advance:
        for done in parts:
            begun_with = done.share if begun_with is None else begun_with
            left = (time.monotonic() - started) * (1 - done.share) / max(done.share - begun_with, 1e-9)
            known = f"about {left / 60:.0f} min left" if done.share > begun_with else "..."
            advance(done.share, done.name, f"{done.what}, {known}")


def as_table(claims: Sequence[Mapping[str, Any]]) -> str:
    """The claims, a line each."""
    lines = []
    for claim in claims:
        met = {True: "met", False: "MISSED", None: "-"}[claim["met"]]
        measured = "not measured" if claim["measured"] is None else f"{claim['measured']:.3f}"
        low_high = "" if claim["interval"] is None else "({:.3f} to {:.3f})".format(*claim["interval"])
        bar = "" if claim["bar"] is None else f"bar {claim['bar']:g}"
        lines.append(f"{met:<7}{claim['id']:<22}{measured:>12} {low_high:<18} {bar:<9} {claim['claim']}")
        if claim["note"]:
            lines.append(f"{'':<29}{claim['note']}")
    return "\n".join(lines)


def say(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr, flush=True)


COMMAND = Command(
    name="reproduce",
    purpose=(
        "Measure a paper's claims on the pocket world, with seeds and intervals; say which bars are met.\n"
        "Shows its plan and the time left; may be stopped and started again."
    ),
    examples="""
plaudit reproduce reno --quick                          a look, in three minutes
plaudit reproduce reno --json results/reno.json         the full measurement, under two hours on two cores
plaudit reproduce r0 --json results/r0.json             trains: some hours on two cores
plaudit reproduce rlcm --json results/rlcm.json         trains: some hours on two cores
plaudit reproduce ar-grpo --json ar-grpo.json           trains: some hours on two cores
plaudit reproduce reasongen --json reasongen.json       trains: some hours on two cores
plaudit reproduce reno --page-only                      the page again, from what was measured
plaudit reproduce all --json results                    everything: most of a day on two cores; go on as you like
""",
    options=ReproduceOptions,
    run=run,
)
