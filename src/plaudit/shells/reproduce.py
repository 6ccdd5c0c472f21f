"""`plaudit reproduce`: a paper's headline claims, in miniature, measured."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import PlauditError
from plaudit.shells.flags import Command, WrongUsage, nearest

if TYPE_CHECKING:
    from plaudit.claims.experiment import Progress
    from plaudit.claims.plan import Plan

SYSTEMS = ("reno",)


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions:
    """All that `plaudit reproduce` takes."""

    system: str = field(metadata={"positional": 1, "placeholder": "SYSTEM"})
    """reno: reward-based noise optimisation"""
    quick: bool = False
    """a small version in about three minutes; its intervals are too wide to decide a claim"""
    out: Path = field(default=Path("runs/reproduce-reno"), metadata={"placeholder": "DIR"})
    """folder for everything measured; a second call with it goes on where the first stopped"""
    json: Path | None = field(default=None, metadata={"placeholder": "FILE"})
    """where the claims go, measured against their bars, with page and pictures beside it (default: in --out)"""
    page_only: bool = False
    """compute nothing: make page and pictures again from the file that is there"""


def run(options: ReproduceOptions) -> int:
    """Measure what is not measured yet, conclude, and write report, page and pictures."""
    if options.system not in SYSTEMS:
        hint = nearest(options.system, SYSTEMS) or f" Known: {', '.join(SYSTEMS)}."
        raise WrongUsage(f"no system named {options.system!r} can be reproduced.{hint}")
    from plaudit.claims.reno import publish, read_report

    file, cells = options.json or options.out / f"{options.system}.json", options.out / "cells"
    report = read_report(file) if options.page_only else _measure(options, cells)
    written = publish(report, file, cells)
    print(as_table(report["claims"]))
    print("\nwritten: " + ", ".join(str(path) for path in written))
    return 0


def _measure(options: ReproduceOptions, folder: Path) -> dict[str, Any]:
    """The report, after computing every cell that the folder lacks."""
    from plaudit.claims.cells import CellStore
    from plaudit.claims.experiment import run as compute
    from plaudit.claims.experiment import seconds_ahead, settled
    from plaudit.claims.plan import full, quick
    from plaudit.claims.reno import load_bench, report_of
    from plaudit.core.devices import best_device

    bench = load_bench(best_device())
    store = CellStore(folder, bench)
    plan = quick() if options.quick else full()
    _say("timing both methods, to give best-of-n as long as ReNO takes ...")
    plan = settled(plan, bench, store)
    _say(_plan_in_words(plan, seconds_ahead(plan, bench, store)))
    with _bar() as advance:
        try:
            for progress in compute(plan, bench, store):
                advance(progress)
        except KeyboardInterrupt as error:
            raise PlauditError(
                f"stopped by Ctrl-C; finished cells are kept in {str(folder)!r}, and the same command goes on"
            ) from error
    return report_of(plan, bench, store)


def _plan_in_words(plan: "Plan", seconds: float | None) -> str:
    seeds = f"{len(plan.seeds)} seed{'s' if len(plan.seeds) > 1 else ''}"
    lines = [
        f"plan, with {seeds}:",
        f"  ReNO in {plan.steps} steps and the best of {plan.trials} noises (as long), {plan.main_prompts} prompts",
        f"  one reward left out, four times, {plan.side_prompts} prompts",
        f"  one reward only, four times; no penalty; ten times the step: {plan.side_prompts} prompts",
    ]
    if seconds is not None:
        lines.append(f"  about {seconds / 60:.0f} minutes; stop when you like, the same command goes on")
    return "\n".join(lines)


@contextmanager
def _bar() -> "Iterator[Callable[[Progress], None]]":
    """A bar on stderr; where stderr is no terminal, a line per finished cell."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[left]}"))
    with Bar(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("measuring", total=1.0, left="")

        def advance(progress: "Progress") -> None:
            minutes = (progress.seconds_left or 0.0) / 60
            left = f"{progress.done}/{progress.total} cells, {minutes:.1f} min left"
            name = f"{progress.cell.variant.name}, seed {progress.cell.seed}"
            bar.update(task, completed=progress.share, description=name, left=left)
            if not console.is_terminal:
                _say(f"{name}: {left}")

        yield advance


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


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


COMMAND = Command(
    name="reproduce",
    purpose=(
        "Measure a paper's claims on the pocket world, with seeds and intervals; say which bars are met.\n"
        "Shows its plan and the time left; may be stopped and started again."
    ),
    examples="""
plaudit reproduce reno --quick                          a look, in three minutes
plaudit reproduce reno --json results/reno.json         the full measurement, under an hour on two cores
plaudit reproduce reno --page-only                      the page again, from what was measured
""",
    options=ReproduceOptions,
    run=run,
)
