"""`plaudit reproduce reno`: each model's report, and the first's with what the second's says."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import BadConfig
from plaudit.shells.flags import WrongUsage, nearest
from plaudit.shells.reproduce import ReproduceOptions, measuring, say

if TYPE_CHECKING:
    from plaudit.claims.reno.plan import Plan


def run(options: ReproduceOptions) -> tuple[Sequence[dict[str, Any]], list[Path]]:
    """The claims of every model that was asked for, and what was written."""
    from plaudit.claims.reno import report as reports

    models = (reports.MODEL, reports.SECOND_MODEL)
    if options.model is not None and options.model not in models:
        hint = nearest(options.model, models) or f" Known: {', '.join(models)}."
        raise WrongUsage(f"ReNO's claims are not measured with a model {options.model!r}.{hint}")
    first_file, cells = options.file, options.folder / "cells"
    second_file = reports.file_of_second(first_file)
    found: dict[str, dict[str, Any]] = {}
    absent = None if options.page_only else _absent(reports.SECOND_MODEL)
    if absent is not None and options.model is None:
        say(f"without a second model: {absent}")
        options = replace(options, model=reports.MODEL)
    for model, file in zip(models, (first_file, second_file), strict=True):
        if options.page_only or (options.model is not None and model != options.model):
            if file.exists() or (options.page_only and model == reports.MODEL):
                found[model] = reports.read_report(file)
        else:
            found[model] = _measure(options, model, cells)
    written: list[Path] = []
    if reports.SECOND_MODEL in found:
        written += reports.publish(found[reports.SECOND_MODEL], second_file, cells)
    if reports.MODEL in found:
        joined = reports.with_second_model(found[reports.MODEL], found.get(reports.SECOND_MODEL))
        written += reports.publish(joined, first_file, cells)
        found[reports.MODEL] = joined
    asked = [model for model in models if model in found and options.model in (None, model)]
    if not asked:
        raise BadConfig(f"{str(second_file)!r} holds no report of this reproduction; run it first")
    return [claim for model in asked for claim in _marked(found[model]["claims"], model, asked)], written


def _absent(model: str) -> str | None:
    """Why the pocket model cannot be loaded, None if it can."""
    from plaudit.pocket.folders import pocket_folder

    try:
        pocket_folder(model)
    except BadConfig as error:
        return str(error)
    return None


def _marked(claims: Sequence[dict[str, Any]], model: str, asked: Sequence[str]) -> Sequence[dict[str, Any]]:
    """The claims; those of a model after the first under its name."""
    if model == asked[0]:
        return claims
    return [{**claim, "claim": f"{model}: {claim['claim']}"} for claim in claims]


def _measure(options: ReproduceOptions, model: str, folder: Path) -> dict[str, Any]:
    """The model's report, after computing every cell that the folder lacks."""
    from plaudit.claims.reno import experiment, plan, report
    from plaudit.claims.reno.cells import CellStore
    from plaudit.core.devices import best_device

    bench = report.load_bench(best_device(), model=model)
    store = CellStore(folder, bench)
    wanted = plan.quick() if options.quick else plan.full()
    wanted = plan.second(wanted) if model == report.SECOND_MODEL else wanted
    say(f"{model}: timing both methods, to give best-of-n as long as ReNO takes ...")
    wanted = experiment.settled(wanted, bench, store)
    say(_plan_in_words(wanted, experiment.seconds_ahead(wanted, bench, store)))
    with measuring(folder) as advance:
        for progress in experiment.run(wanted, bench, store):
            minutes = (progress.seconds_left or 0.0) / 60
            name = f"{progress.cell.variant.name}, seed {progress.cell.seed}"
            advance(progress.share, name, f"{progress.done}/{progress.total} cells, {minutes:.1f} min left")
    return report.report_of(wanted, bench, store)


def _plan_in_words(plan: "Plan", seconds: float | None) -> str:
    seeds = f"{len(plan.seeds)} seed{'s' if len(plan.seeds) > 1 else ''}"
    lines = [
        f"plan, with {seeds}:",
        f"  ReNO in {plan.steps} steps and the best of {plan.trials} noises (as long), {plan.main_prompts} prompts",
        f"  one reward left out, four times, {plan.side_prompts} prompts",
    ]
    if plan.ablations:
        lines.append(f"  one reward only, four times; no penalty; ten times the step: {plan.side_prompts} prompts")
    if seconds is not None:
        lines.append(f"  about {seconds / 60:.0f} minutes; stop when you like, the same command goes on")
    return "\n".join(lines)
