"""The reproduction of ReasonGen-R1's claims: load, train and draw what is missing, conclude, publish."""

import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.claims import reports
from plaudit.claims.reasongen.examples import disagreements, draw_examples, side_by_side
from plaudit.claims.reasongen.findings import found_in
from plaudit.claims.reasongen.models import Bench, config_of
from plaudit.claims.reasongen.page import page
from plaudit.claims.reasongen.plan import Plan, Training, cost, measures, training, trainings
from plaudit.claims.reasongen.plots import course_plot, curve_plot, variant_plot
from plaudit.claims.reasongen.tables import tables
from plaudit.claims.reasongen.trainings import Store, run
from plaudit.claims.reasongen.variants import MAIN, SFT, VARIANTS
from plaudit.claims.reasongen.verdicts import claims
from plaudit.claims.work import Progress, finished, in_turn, seconds_of
from plaudit.generators.table import GENERATORS
from plaudit.pocket.folders import pocket_folder
from plaudit.presets.reasongen import PlanTask, pocket_plans, pocket_reasongen, pocket_reasongen_direct
from plaudit.rewards.table import REWARDS, read_spec
from plaudit.runs.plan_lessons import scenes_of
from plaudit.runs.provenance import source_of
from plaudit.suites.prompt_overlap import overlaps, own_benchmarks

if TYPE_CHECKING:
    import torch

SYSTEM = "reasongen"
WAIT = 5.0
"""seconds until it is asked again whether another process is done"""


def load_bench(plan: Plan, device: "torch.device") -> Bench:
    """What the trainings start from. Raises BadConfig if the model or the judge is not in this installation."""
    tasks: dict[str, PlanTask] = {
        "lessons": pocket_plans(), "rewards": pocket_reasongen(), "rewards-direct": pocket_reasongen_direct(),
    }  # fmt: skip
    model = tasks["rewards"].model
    pocket_folder(model)
    bench = Bench(
        plan=plan, tasks=tasks, sources={}, device=device, guidance=float(GENERATORS.find(model).facts["guidance"])
    )  # fmt: skip
    followed = {read_spec(spec)[0] for task in tasks.values() for spec in task.rewards}
    followed |= {read_spec(spec)[0] for variant in VARIANTS for spec in variant.rewards or ()}
    names = sorted(followed.union(bench.judged_by))
    return replace(
        bench,
        sources={
            "model": source_of(GENERATORS, model),
            "rewards": {name: source_of(REWARDS, name) for name in names},
        },
    )


def measure(store: Store) -> Iterator[tuple[Progress[Training], float]]:
    """Do what is missing, one training at a time; yields what was done, and the share of all work that is.

    Who starts from another training's weights makes them first; if another process is at it, this one waits.
    """
    return in_turn([(cost_of(it, store.bench), _after_start(it, store)) for it in trainings(store.bench.plan)])


def _after_start(it: Training, store: Store) -> Iterator[Progress[Training]]:
    if it.start is not None:
        while not store.learned(it.start):
            for progress in run(it.start, store):
                yield Progress(training=progress.training, done=0.0, what=progress.what)
            if not store.learned(it.start):
                yield Progress(training=it, done=0.0, what=f"waits: another process is at {it.start.name}")
                time.sleep(WAIT)
    yield from run(it, store)


def cost_of(it: Training, bench: Bench) -> float:
    """A rough guess of the seconds of one core's time that a training with its measures takes."""
    drawn = measures(bench.plan, it, bench.guidance)
    return cost(it, bench.plan, config_of(it, bench), drawn, lessons=lesson_count(bench))


def lesson_count(bench: Bench) -> int:
    """Scenes that a training by lessons is given."""
    return bench.lessons(training(SFT, bench.plan.seeds[0])).count


def lesson_overlaps(bench: Bench) -> list[str]:
    """How the lessons' prompts, by the first seed, overlap with PocketEval's."""
    task = bench.lessons(training(SFT, bench.plan.seeds[0]))
    return [str(it) for it in overlaps([it.prompt for it in scenes_of(task)], own_benchmarks())]


def report_of(store: Store) -> reports.Report:
    """All that was found, as JSON types. Raises BadConfig if a training or a measure is missing."""
    bench, plan = store.bench, store.bench.plan
    results = finished(trainings(plan), store.read)
    found = found_in(plan, results, rewards=bench.judged_by, guidance=bench.guidance)
    config, lessons = (config_of(training(name, plan.seeds[0]), bench) for name in (MAIN, SFT))
    assert config is not None, "the preset is trained"
    assert lessons is not None, "lessons are trained"
    return reports.assemble(
        SYSTEM,
        claims(found),
        tables=tables(found),
        grids={"examples": side_by_side(store), "disagreements": disagreements(store)},
        settings={
            **asdict(plan),
            "updates": config.updates,
            "lessons": lesson_count(bench),
            "num_prompts": len(found.prompts()),
            "model": bench.model,
            "guidance": bench.guidance,
            "followed": bench.task.rewards,
            "config": asdict(config),
            "lessons_config": asdict(lessons),
            "overlaps": [str(it) for it in overlaps(bench.task.prompts, own_benchmarks())],
            "lesson_overlaps": lesson_overlaps(bench),
            "sources": dict(bench.sources),
        },
        seconds=sum(seconds_of(result) for _, result in results),
    )


def publish(report: reports.Report, file: Path, folder: Path) -> list[Path]:
    """Write the report to `file`, and beside it its page and pictures; the paths written.

    `folder` holds the trainings; a grid whose pictures are not there is left as it is.
    """
    figures = {
        "curves": reports.Figure(ending="curves.svg", draw=lambda: curve_plot(report)),
        "variants": reports.Figure(ending="variants.svg", draw=lambda: variant_plot(report)),
        "courses": reports.Figure(ending="courses.svg", draw=lambda: course_plot(report)),
        "examples": _grid(report, "examples", folder),
    }
    if report["grids"]["disagreements"]["places"]:
        figures["disagreements"] = _grid(report, "disagreements", folder)
    return reports.publish(report, file, figures=figures, page=page)


def read_report(file: Path) -> reports.Report:
    """A report that `publish` wrote. Raises BadConfig if there is none."""
    return reports.read_report(file, SYSTEM)


def _grid(report: reports.Report, name: str, folder: Path) -> reports.Figure:
    grid: dict[str, Any] = report["grids"][name]
    sheets = [folder / one["sheet"] for one in grid["rows"]]
    return reports.Figure(ending=f"{name}.png", draw=lambda: draw_examples(grid, folder), sheets=sheets)
