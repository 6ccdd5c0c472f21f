"""The reproduction of R0's claims: load, train and draw what is missing, conclude, publish."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.claims import reports
from plaudit.claims.r0.findings import found_in
from plaudit.claims.r0.models import Bench, config_of
from plaudit.claims.r0.page import page
from plaudit.claims.r0.plan import (
    FEW,
    GUIDED_FEW,
    MODEL,
    PICTURES,
    STEPS,
    Plan,
    base,
    cost,
    in_steps,
    training,
    trainings,
    tuned,
)
from plaudit.claims.r0.plots import ablation_plot, course_plot, curve_plot, judged_rows
from plaudit.claims.r0.tables import tables
from plaudit.claims.r0.trainings import Store, run
from plaudit.claims.r0.variants import BASE, MAIN
from plaudit.claims.r0.verdicts import claims
from plaudit.claims.work import Progress, finished, in_turn, seconds_of
from plaudit.generators.table import GENERATORS
from plaudit.presets.r0 import pocket_r0_plus
from plaudit.rewards.feature_table import FEATURE_NETS, USUAL_NET
from plaudit.rewards.table import REWARDS, read_spec
from plaudit.runs.provenance import source_of

if TYPE_CHECKING:
    import torch

    from plaudit.claims.r0.plan import Training

SYSTEM = "r0"


def load_bench(plan: Plan, device: "torch.device") -> Bench:
    """What the trainings start from. Raises BadConfig."""
    task, facts = pocket_r0_plus(), GENERATORS.find(MODEL).facts
    sources = {
        "model": source_of(GENERATORS, MODEL),
        "rewards": [source_of(REWARDS, read_spec(spec)[0]) for spec in task.rewards],
        "held_out": source_of(REWARDS, str(task.held_out)),
        "net": source_of(FEATURE_NETS, USUAL_NET),
    }
    steps, guidance = int(facts["steps"]), float(facts["guidance"])
    return Bench(plan=plan, task=task, base_steps=steps, base_guidance=guidance, sources=sources, device=device)


def measure(store: Store) -> "Iterator[tuple[Progress[Training], float]]":
    """Do what is missing, one training at a time; yields what was done, and the share of all work that is."""
    plan, config = store.bench.plan, store.bench.task.config
    return in_turn([(cost(it, plan, config, store.wanted(it)), run(it, store)) for it in trainings(plan)])


def report_of(store: Store) -> reports.Report:
    """All that was found, as JSON types. Raises BadConfig if a training or a measure is missing."""
    bench, plan = store.bench, store.bench.plan
    results = finished(trainings(plan), store.read)
    tasks = [prompt.request.task for prompt in store.judges.suite.prompts]
    found = found_in(plan, results, rewards=bench.judged_by, tasks=tasks, real=store.real())
    config = config_of(training(MAIN, plan.seeds[0]), bench)
    return reports.assemble(
        SYSTEM,
        claims(found, bench.base_steps),
        tables=tables(found),
        grids={"variants": _variant_grid(store), "steps": _step_grid(store)},
        settings={
            **asdict(plan),
            "updates": config.updates,
            "tuned": plan.tuned,
            "model": MODEL,
            "steps": STEPS,
            "base_steps": bench.base_steps,
            "base_guidance": bench.base_guidance,
            "rewards": bench.task.rewards,
            "net": bench.net,
            "config": asdict(config),
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
        "ablations": reports.Figure(ending="ablations.svg", draw=lambda: ablation_plot(report)),
        "courses": reports.Figure(ending="courses.svg", draw=lambda: course_plot(report)),
        "variants": _grid(report, "variants", folder),
        "steps": _grid(report, "steps", folder),
    }
    return reports.publish(report, file, figures=figures, page=page)


def read_report(file: Path) -> reports.Report:
    """A report that `publish` wrote. Raises BadConfig if there is none."""
    return reports.read_report(file, SYSTEM)


def _variant_grid(store: Store) -> dict[str, Any]:
    """The base, R0+ and every ablation of the first seed that the ablations have."""
    plan = store.bench.plan
    seed = next((it for it in plan.seeds if it in plan.ablation_seeds), plan.seeds[0])
    each = [training(MAIN, seed), tuned(plan, seed)]
    each += [training(name, seed) for name in plan.ablations if seed in plan.ablation_seeds]
    return _rows(store, {BASE: (base(seed), PICTURES), **{it.name: (it, PICTURES) for it in each}})


def _step_grid(store: Store) -> dict[str, Any]:
    seed, plan = store.bench.plan.seeds[0], store.bench.plan
    every = {steps: in_steps(steps) for steps in plan.other_steps} | {STEPS: PICTURES}
    rows = {BASE: (base(seed), PICTURES), "before": (base(seed), FEW), "before, guided": (base(seed), GUIDED_FEW)}
    rows |= {f"R0+ in {steps}": (tuned(plan, seed), every[steps]) for steps in sorted(every)}
    return _rows(store, rows)


def _rows(store: Store, rows: "dict[str, tuple[Training, str]]") -> dict[str, Any]:
    """Where the pictures lie by row, what the judge says of each, and the prompts above them."""
    sheets: dict[str, str] = {}
    verdicts: dict[str, list[bool]] = {}
    captions: list[str] = []
    for name, (it, measure_name) in rows.items():
        found = store.measured(it)[measure_name]
        sheets[name] = str(store.measure_files(it)[measure_name].with_suffix(".png").relative_to(store.folder))
        images = found["measure"]["images"]
        verdicts[name] = [found["right"][found["places"].index(place) * images] for place in found["shown"]]
        captions = [store.judges.suite.prompts[place].text for place in found["shown"]]
    return {"sheets": sheets, "verdicts": verdicts, "captions": captions}


def _grid(report: reports.Report, name: str, folder: Path) -> reports.Figure:
    grid = report["grids"][name]
    sheets = {row: folder / sheet for row, sheet in grid["sheets"].items()}
    return reports.Figure(
        ending=f"{name}.png", draw=lambda: judged_rows(sheets, grid["verdicts"], grid["captions"]),
        sheets=list(sheets.values()),
    )  # fmt: skip
