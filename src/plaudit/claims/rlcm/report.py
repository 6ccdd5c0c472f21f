"""The reproduction of RLCM's claims: load, train what is missing, conclude, publish."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from plaudit.claims import reports
from plaudit.claims.rlcm import trainings as cells
from plaudit.claims.rlcm.findings import found_in, tables
from plaudit.claims.rlcm.page import page
from plaudit.claims.rlcm.plan import (
    ABLATED,
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
from plaudit.core.errors import BadConfig
from plaudit.generators.table import GENERATORS
from plaudit.rewards.table import REWARDS, read_spec
from plaudit.runs.looks import spread_over
from plaudit.runs.provenance import source_of

if TYPE_CHECKING:
    import torch

SYSTEM = "rlcm"


def load_bench(plan: Plan, device: "torch.device") -> cells.Bench:
    """What the trainings start from. Raises BadConfig."""
    tasks = [cells.task_of(rlcm(plan, task, 0)) for task in TASKS]
    rewards = {name for task in tasks for name in (read_spec(task.rewards[0])[0], task.held_out) if name}
    sources = {
        "models": [source_of(GENERATORS, name) for name in (CONSISTENCY, DIFFUSION)],
        "rewards": [source_of(REWARDS, name) for name in sorted(rewards)],
    }
    return cells.Bench(plan=plan, sources=sources, device=device)


def measure(store: cells.Store) -> Iterator[tuple[cells.Progress, float]]:
    """Train what is missing, one at a time; yields what was done, and the share of all work that is."""
    every = list(trainings(store.bench.plan))
    work = sum(map(cost, every))
    done = sum(cost(training) for training in every if store.read(training) is not None)
    for training in every:
        if store.read(training) is None:
            for progress in cells.run(training, store):
                yield progress, (done + cost(training) * progress.update / training.updates) / work
            done += cost(training)


def report_of(store: cells.Store) -> reports.Report:
    """All that was found, as JSON types. Raises BadConfig if a training is missing."""
    plan = store.bench.plan
    results = {training: store.read(training) for training in trainings(plan)}
    finished = {training: result for training, result in results.items() if result is not None}
    if len(finished) < len(results):
        raise BadConfig(f"{len(results) - len(finished)} of {len(results)} trainings are not finished yet")
    found = found_in(plan, finished)
    spent = sum(sum(result["curve"]["seconds"]) for result in finished.values())
    return reports.assemble(
        SYSTEM,
        claims(found),
        tables=tables(found),
        grids={
            "tasks": _task_sheets(plan, store),
            "long_pictures": _long_sheets(plan, store),
            "captions": _captions(plan),
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


def _task_sheets(plan: Plan, store: cells.Store) -> dict[str, str]:
    """Where the first seed's looks lie, before and after, by what the row is called."""
    found = {"RLCM start": _look(store, rlcm(plan, TASKS[0], plan.seeds[0]), 0)}
    for task in TASKS[:3]:
        it = rlcm(plan, task, plan.seeds[0])
        found[task] = _look(store, it, it.updates)
    start = ddpo(plan, TASKS[0], plan.seeds[0])
    found["DDPO start"] = _look(store, start, 0)
    for task in TASKS[:3]:
        it = ddpo(plan, task, plan.seeds[0])
        found[f"DDPO {task}"[:16]] = _look(store, it, it.updates)
    return found


def _long_sheets(plan: Plan, store: cells.Store) -> dict[str, str]:
    long, held_back = (too_long(plan, plan.seeds[0], held_back=held) for held in (False, True))
    looks = range(0, long.updates + 1, long.look_every)
    found = {f"{done} updates": _look(store, long, done) for done in looks}
    return {**found, "with KL": _look(store, held_back, held_back.updates)}


def _look(store: cells.Store, training: Training, done: int) -> str:
    return str(Path(store.place(training).name) / "looks" / f"{done:06d}.png")


def _captions(plan: Plan) -> list[str]:
    """The prompts of the pictures; the first three tasks share them."""
    prompts = cells.task_of(rlcm(plan, ABLATED, 0)).prompts
    return list(spread_over(prompts, plan.look_prompts)[: cells.SHOWN])


def _grid(report: reports.Report, name: str, folder: Path, *, ending: str) -> reports.Figure:
    sheets = {row: folder / sheet for row, sheet in report["grids"][name].items()}
    captions = report["grids"]["captions"]
    return reports.Figure(ending=ending, draw=lambda: picture_rows(sheets, captions), sheets=list(sheets.values()))
