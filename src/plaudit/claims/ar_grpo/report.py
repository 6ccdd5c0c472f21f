"""The reproduction of the claims of AR-GRPO with LOO-FID: load, train and draw what is missing, conclude, publish."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.claims import reports
from plaudit.claims.ar_grpo.findings import BEFORE, Model, found_in
from plaudit.claims.ar_grpo.measuring import SHOWN_EACH, shown_classes
from plaudit.claims.ar_grpo.models import NETS, Bench, config_of, memory_of
from plaudit.claims.ar_grpo.page import page
from plaudit.claims.ar_grpo.plan import (
    UNGUIDED,
    Best,
    Plan,
    Training,
    at_guidance,
    base,
    cost,
    measures,
    training,
    trainings,
)
from plaudit.claims.ar_grpo.plots import class_rows, course_plot, curve_plot, guidance_plot, variant_plot
from plaudit.claims.ar_grpo.tables import tables
from plaudit.claims.ar_grpo.trainings import Store, run
from plaudit.claims.ar_grpo.variants import BASE, INSTANCE_ONLY, MAIN
from plaudit.claims.ar_grpo.verdicts import claims
from plaudit.claims.work import Progress, finished, in_turn, seconds_of
from plaudit.generators.table import GENERATORS
from plaudit.pocket.folders import pocket_folder
from plaudit.presets.ar_grpo import pocket_llamagen
from plaudit.rewards.feature_table import FEATURE_NETS
from plaudit.rewards.table import REWARDS, read_spec
from plaudit.runs.provenance import source_of

if TYPE_CHECKING:
    import torch

SYSTEM = "ar-grpo"
WAIT = 5.0
"""seconds until it is asked again whether another process is done"""


def load_bench(plan: Plan, device: "torch.device") -> Bench:
    """What the trainings start from. Raises BadConfig if the model is not in this installation."""
    task = pocket_llamagen()
    pocket_folder(task.model)
    sources = {
        "model": source_of(GENERATORS, task.model),
        "rewards": [source_of(REWARDS, read_spec(spec)[0]) for spec in task.rewards],
        "held_out": source_of(REWARDS, str(task.held_out)),
        "nets": [source_of(FEATURE_NETS, name) for name in (task.net, *NETS)],
    }
    return Bench(plan=plan, task=task, sources=sources, device=device)


def measure(store: Store) -> Iterator[tuple[Progress[Training], float]]:
    """Do what is missing, one training at a time; yields what was done, and the share of all work that is.

    The model before training comes first; if another process is at it, this one waits.
    """
    best = store.best()
    return in_turn(
        [
            (cost_of(it, store.bench, best), _after_base(it, store) if it.trained else run(it, store))
            for it in trainings(store.bench.plan)
        ]
    )


def _after_base(it: Training, store: Store) -> Iterator[Progress[Training]]:
    while store.best() is None:
        for seed in store.bench.plan.seeds:
            for progress in run(base(seed), store):
                yield Progress(training=progress.training, done=0.0, what=progress.what)
        if store.best() is None:
            yield Progress(training=it, done=0.0, what="waits: another process draws the model before training")
            time.sleep(WAIT)
    yield from run(it, store)


def cost_of(it: Training, bench: Bench, best: Best | None) -> float:
    """A rough guess of the seconds of one core's time that a training with its measures takes."""
    # Before the best guidance is known, any does: they cost the same.
    best = best or Best(of_all=max(bench.plan.guidances), guided=max(bench.plan.guidances))
    return cost(
        it, bench.plan, config_of(it, bench, best), measures(bench.plan, it, best),
        start_images=bench.start_images, rewards=len(bench.trained),
    )  # fmt: skip


def report_of(store: Store) -> reports.Report:
    """All that was found, as JSON types. Raises BadConfig if a training or a measure is missing."""
    bench, plan, best = store.bench, store.bench.plan, store.best()
    results = finished(trainings(plan), store.read)
    assert best is not None, "the preset cannot be finished without it"
    found = found_in(plan, results, rewards=bench.judged_by, nets=bench.nets, best=best, real=store.real())
    main_one = training(MAIN, plan.seeds[0])
    config = config_of(main_one, bench, best)
    return reports.assemble(
        SYSTEM,
        claims(found),
        tables=tables(found),
        grids={"classes": _class_grid(store, best), "all": _variant_grid(store, best)},
        settings={
            **asdict(plan),
            "updates": config.updates,
            "start_images": bench.start_images,
            "model": bench.task.model,
            "num_classes": len(bench.task.prompts),
            "rewards": bench.task.rewards,
            "net": bench.task.net,
            "nets": bench.nets,
            "config": asdict(config),
            "memory": asdict(memory_of(main_one, bench)),
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
        "guidance": reports.Figure(ending="guidance.svg", draw=lambda: guidance_plot(report)),
        "variants": reports.Figure(ending="variants.svg", draw=lambda: variant_plot(report)),
        "courses": reports.Figure(ending="courses.svg", draw=lambda: course_plot(report)),
        "classes": _grid(report, "classes", folder),
        "all": _grid(report, "all", folder),
    }
    return reports.publish(report, file, figures=figures, page=page)


def read_report(file: Path) -> reports.Report:
    """A report that `publish` wrote. Raises BadConfig if there is none."""
    return reports.read_report(file, SYSTEM)


def _class_grid(store: Store, best: Best) -> dict[str, Any]:
    """The model before training without guidance and at its best, the preset, and rewards alone, of the first seed."""
    plan, models = store.bench.plan, _before(best)
    models[MAIN] = Model(name=MAIN)
    if INSTANCE_ONLY in plan.ablations and plan.seeds[0] in plan.ablation_seeds:
        models[INSTANCE_ONLY] = Model(name=INSTANCE_ONLY)
    return _rows(store, models, rows=SHOWN_EACH)


def _variant_grid(store: Store, best: Best) -> dict[str, Any]:
    """The model before training and every variant of the first seed, a picture of each class."""
    plan = store.bench.plan
    names = (MAIN, *(plan.ablations if plan.seeds[0] in plan.ablation_seeds else ()))
    return _rows(store, {**_before(best), **{name: Model(name=name) for name in names}}, rows=1)


def _before(best: Best) -> dict[str, Model]:
    """The model before training without guidance, and at its best if that is another."""
    models = {"before": BEFORE}
    return (
        models
        if best.of_all == UNGUIDED
        else {**models, f"guided {best.of_all:g}": replace(BEFORE, guidance=best.of_all)}
    )


def _rows(store: Store, models: Mapping[str, Model], *, rows: int) -> dict[str, Any]:
    """Where each model's pictures lie, what the judge says of each by row, and the classes above them."""
    seed, classes = store.bench.plan.seeds[0], store.panel.classes
    shown = shown_classes(len(classes))
    found: dict[str, Any] = {}
    for words, model in models.items():
        it = base(seed) if model.name == BASE else training(model.name, seed)
        measure_name = at_guidance(model.guidance)
        file, one = store.measure_files(it)[measure_name], store.measured(it)[measure_name]
        images = one["measure"]["images"]
        each = range(min(SHOWN_EACH, images))
        found[words] = {
            "sheet": str(file.with_suffix(".png").relative_to(store.folder)),
            "verdicts": [[one["right"][place * images + image] for place in shown] for image in each],
        }
    return {"models": found, "captions": [classes[place] for place in shown], "rows": rows}


def _grid(report: reports.Report, name: str, folder: Path) -> reports.Figure:
    grid = report["grids"][name]
    sheets = [folder / one["sheet"] for one in grid["models"].values()]
    return reports.Figure(ending=f"{name}.png", draw=lambda: class_rows(grid, folder), sheets=sheets)
