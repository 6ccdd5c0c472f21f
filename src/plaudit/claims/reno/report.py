"""The reproduction of ReNO's claims: load, compute what is missing, conclude, publish."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.claims import reports
from plaudit.claims.reno.cells import Bench, Cell, CellResult, CellStore, EncodesOnce
from plaudit.claims.reno.experiment import finished, timing_of
from plaudit.claims.reno.findings import found_in, tables
from plaudit.claims.reno.page import page
from plaudit.claims.reno.plan import Plan, all_cells, cells, hacking, main_prompts, reno
from plaudit.claims.reno.plots import before_after_grid, curve_plot, hacking_grid, hacking_plot
from plaudit.claims.reno.verdicts import claims, second_model
from plaudit.core.errors import BadConfig
from plaudit.generators.table import GENERATORS, load_generator
from plaudit.presets.reno import reward_specs
from plaudit.rewards.table import REWARDS, load_rewards, read_spec
from plaudit.runs.provenance import source_of
from plaudit.suites.run import pocket

if TYPE_CHECKING:
    import torch

MODEL, SECOND_MODEL = "pocket-turbo", "pocket-pixart"
"""the second shows that the method does not hang on one architecture"""
SYSTEM = "reno"
SHOWN = 8
"""prompts in the grid of what hacking looks like"""


def load_bench(device: "torch.device | str | None" = None, *, model: str = MODEL) -> Bench:
    """The model, the four rewards with their published weights, and PocketEval. Raises BadConfig."""
    specs = reward_specs()
    return Bench(
        generator=EncodesOnce(load_generator(model, device=device)),
        rewards=load_rewards(specs, device=device),
        suite=pocket(),
        sources={
            "model": source_of(GENERATORS, model),
            "rewards": [source_of(REWARDS, read_spec(spec)[0]) for spec in specs],
        },
    )


def report_of(plan: Plan, bench: Bench, store: CellStore) -> dict[str, Any]:
    """All that was found, as JSON types. Raises BadConfig if a cell is missing."""
    results = finished(plan, bench, store)
    expected = all_cells(plan, bench)
    if len(results) < len(expected):
        raise BadConfig(f"{len(expected) - len(results)} of {len(expected)} cells are not computed yet")
    found = found_in(plan, bench, results)
    timing = timing_of(plan, store)
    return reports.assemble(
        SYSTEM,
        claims(found),
        tables=tables(found),
        grids=grids(plan, bench, store, results),
        settings={
            **asdict(plan),
            "model": bench.sources.get("model", {}).get("name", MODEL),
            "rewards": {name: weight for name, (weight, _) in bench.rewards.parts.items()},
            "sources": dict(bench.sources),
            "timing": None if timing is None else asdict(timing),
        },
        seconds=found.total_seconds,
    )


def grids(plan: Plan, bench: Bench, store: CellStore, results: Mapping[Cell, CellResult]) -> dict[str, dict[str, Any]]:
    """Which sheets the page's picture grids are cut from: those of the first chunk and seed."""
    first = {
        variant.name: next(cells(variant, plan, main_prompts(plan, bench.suite)[: plan.side_prompts]))
        for variant in (reno(plan, bench), *hacking(plan, bench).values())
    }
    main = next(cells(reno(plan, bench), plan, main_prompts(plan, bench.suite)))
    verdicts = {name: _verdicts(results[cell]) for name, cell in {**first, "main": main}.items() if cell in results}
    texts = bench.suite.texts()
    before_after = {
        "sheet": store.sheet(main).name,
        "captions": [texts[prompt] for prompt in main.prompts],
        "verdicts": verdicts["main"],
    }
    if not plan.ablations:
        return {"before_after": before_after}
    return {
        "before_after": before_after,
        "hacking_grid": {
            "sheets": {name: store.sheet(cell).name for name, cell in first.items() if cell in results},
            "captions": [texts[prompt] for prompt in first["reno"].prompts[:SHOWN]],
            "verdicts": {name: said for name, said in verdicts.items() if name != "main"},
        },
    }


def publish(report: reports.Report, file: Path, sheets: Path) -> list[Path]:
    """Write the report to `file`, and beside it its page and pictures; the paths written.

    `sheets` is the folder of the cells' pictures; a grid whose sheets are not there is left as it is.
    """
    return reports.publish(report, file, figures=_figures(report, sheets), page=page)


def file_of_second(file: Path) -> Path:
    """Where the second model's report lies, beside the first's."""
    return file.with_name(f"{file.stem}-{SECOND_MODEL.removeprefix('pocket-')}{file.suffix}")


def with_second_model(report: Mapping[str, Any], second: Mapping[str, Any] | None) -> dict[str, Any]:
    """The first model's report with what the second's says, None if that is not there."""
    own = [claim for claim in report["claims"] if claim["id"] != "second-model"]
    said = second_model(SECOND_MODEL, None if second is None else second["claims"])
    return {**report, "claims": [*own, said.to_json()]}


def read_report(file: Path) -> reports.Report:
    """A report that `publish` wrote. Raises BadConfig if there is none."""
    return reports.read_report(file, SYSTEM)


def _figures(report: reports.Report, folder: Path) -> dict[str, reports.Figure]:
    grids = report["grids"]
    before_after = grids["before_after"]
    first = folder / before_after["sheet"]
    found = {
        "curve": reports.Figure(ending="curve.svg", draw=lambda: curve_plot(report)),
        "before_after": reports.Figure(
            ending="before-after.png",
            draw=lambda: before_after_grid(first, before_after["captions"], before_after["verdicts"]),
            sheets=[first],
        ),
    }
    if not report["tables"]["hacking"]:
        return found
    hacked = grids["hacking_grid"]
    sheets = {name: folder / sheet for name, sheet in hacked["sheets"].items()}
    return {
        **found,
        "hacking": reports.Figure(ending="hacking.svg", draw=lambda: hacking_plot(report)),
        "hacking_grid": reports.Figure(
            ending="hacking-grid.png",
            draw=lambda: hacking_grid(sheets, hacked["captions"], hacked["verdicts"]),
            sheets=list(sheets.values()),
        ),
    }


def _verdicts(result: CellResult) -> list[list[bool]]:
    return [[outcome.right[0], outcome.right[-1]] for outcome in result.outcomes]
