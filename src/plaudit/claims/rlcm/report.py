"""The reproduction of RLCM's claims: load, train what is missing, conclude, publish."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.claims import reports
from plaudit.claims.rlcm import trainings as cells
from plaudit.claims.rlcm.findings import found_in, tables
from plaudit.claims.rlcm.page import page
from plaudit.claims.rlcm.plan import (
    CONSISTENCY,
    DIFFUSION,
    TASKS,
    Plan,
    Training,
    cost,
    ddpo,
    rlcm,
    too_long,
    trainings,
)
from plaudit.claims.rlcm.plots import curve_plot, long_plot, picture_rows
from plaudit.claims.rlcm.verdicts import claims
from plaudit.claims.work import Progress, finished
from plaudit.generators.table import GENERATORS
from plaudit.rewards.table import REWARDS, read_spec
from plaudit.runs.looks import spread_over
from plaudit.runs.provenance import source_of

if TYPE_CHECKING:
    import torch

SYSTEM = "rlcm"
Shown = dict[str, Any]
"""a row of a picture grid, as JSON types"""


def load_bench(plan: Plan, device: "torch.device") -> cells.Bench:
    """What the trainings start from. Raises BadConfig."""
    tasks = [cells.task_of(rlcm(plan, task, 0)) for task in TASKS]
    rewards = {name for task in tasks for name in (read_spec(task.rewards[0])[0], task.held_out) if name}
    sources = {
        "models": [source_of(GENERATORS, name) for name in (CONSISTENCY, DIFFUSION)],
        "rewards": [source_of(REWARDS, name) for name in sorted(rewards)],
    }
    return cells.Bench(plan=plan, sources=sources, device=device)


def measure(store: cells.Store) -> Iterator[tuple[Progress[Training], float]]:
    """Train what is missing, one at a time; yields what was done, and the share of all work that is."""
    every = list(trainings(store.bench.plan))
    work = sum(map(cost, every))
    done = sum(cost(training) for training in every if store.read(training) is not None)
    for training in every:
        if store.read(training) is None:
            for progress in cells.run(training, store):
                yield progress, (done + cost(training) * progress.done) / work
            done += cost(training)


def report_of(store: cells.Store) -> reports.Report:
    """All that was found, as JSON types. Raises BadConfig if a training is missing."""
    plan = store.bench.plan
    results = dict(finished(trainings(plan), store.read))
    found = found_in(plan, results)
    spent = sum(sum(result["curve"]["seconds"]) for result in results.values())
    return reports.assemble(
        SYSTEM,
        claims(found),
        tables=tables(found),
        grids={
            "tasks": task_rows(plan, store),
            "long_pictures": long_rows(plan, store),
        },
        settings={
            **asdict(plan),
            "consistency": CONSISTENCY,
            "diffusion": DIFFUSION,
            "sources": dict(store.bench.sources),
            "configs": {task: asdict(cells.task_of(rlcm(plan, task, 0)).config) for task in TASKS},
        },
        seconds=spent,
    )


def publish(report: reports.Report, file: Path, folder: Path) -> list[Path]:
    """Write the report to `file`, and beside it its page and pictures; the paths written.

    `folder` holds the trainings; a grid whose pictures are not there is left as it is.
    """
    figures = {
        "queries": reports.Figure(ending="queries.svg", draw=lambda: curve_plot(report, "queries")),
        "seconds": reports.Figure(ending="seconds.svg", draw=lambda: curve_plot(report, "seconds")),
        "long": reports.Figure(ending="long.svg", draw=lambda: long_plot(report)),
        "tasks": _grid(report, "tasks", folder, ending="tasks.png"),
        "long_pictures": _grid(report, "long_pictures", folder, ending="long-pictures.png"),
    }
    return reports.publish(report, file, figures=figures, page=page)


def read_report(file: Path) -> reports.Report:
    """A report that `publish` wrote. Raises BadConfig if there is none."""
    return reports.read_report(file, SYSTEM)


def task_rows(plan: Plan, store: cells.Store) -> list[Shown]:
    """The first seed's pictures before and after, of every task, whose prompts are over its first row."""
    found: list[Shown] = []
    for task in TASKS:
        ours, theirs = rlcm(plan, task, plan.seeds[0]), ddpo(plan, task, plan.seeds[0])
        found += [
            _shown(store, f"{task}: LCM", ours, 0, captions=True),
            _shown(store, "RLCM", ours, ours.updates),
            _shown(store, "DDPO", theirs, theirs.updates),
        ]
    return found


def long_rows(plan: Plan, store: cells.Store) -> list[Shown]:
    long, held_back = (too_long(plan, plan.seeds[0], held_back=held) for held in (False, True))
    looks = range(0, long.updates + 1, long.look_every)
    found = [_shown(store, f"{done} updates", long, done, captions=done == 0) for done in looks]
    return [*found, _shown(store, "with KL", held_back, held_back.updates)]


def _shown(store: cells.Store, name: str, training: Training, done: int, *, captions: bool = False) -> Shown:
    """A row of a grid: what it is called, the sheet it is cut from, and the prompts if they stand over it."""
    prompts = spread_over(cells.task_of(training).prompts, store.bench.plan.look_prompts)[: cells.SHOWN]
    return {"name": name, "sheet": _look(store, training, done), "captions": list(prompts) if captions else []}


def _look(store: cells.Store, training: Training, done: int) -> str:
    return str(Path(store.place(training).name) / "looks" / f"{done:06d}.png")


def _grid(report: reports.Report, name: str, folder: Path, *, ending: str) -> reports.Figure:
    shown = report["grids"][name]
    sheets = [folder / row["sheet"] for row in shown]
    return reports.Figure(ending=ending, draw=lambda: picture_rows(shown, folder), sheets=sheets)
