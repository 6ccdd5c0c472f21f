"""Which pictures the page shows with their plans, chosen by rule: nobody picks the nice ones."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plaudit.claims.picture_grid import Row, Tile, draw_grid, pictures_in
from plaudit.claims.reasongen.findings import BEFORE, TAUGHT, TUNED, TUNED_DIRECT, Model
from plaudit.claims.reasongen.measuring import COLUMNS
from plaudit.claims.reasongen.plan import training
from plaudit.claims.reasongen.trainings import Store
from plaudit.claims.reasongen.variants import CORE, MAIN

SIDE_BY_SIDE: Mapping[str, Model] = {
    "before": BEFORE, "rewards, direct": TUNED_DIRECT, "lessons": TAUGHT, "lessons, rewards": TUNED,
}  # fmt: skip
"""by the words beside their pictures"""
DISAGREEMENTS = 6
NO_PLAN = "(no plan)"
EMPTY_PLAN = "(an empty plan)"


def side_by_side(store: Store) -> dict[str, Any]:
    """The middle prompt of each task, drawn by every model from the same numbers: sheets, places, words, verdicts."""
    plan = store.bench.plan
    seed = plan.seeds[0]
    has = (*CORE, *(plan.ablations if seed in plan.ablation_seeds else ()))
    models = {words: model for words, model in SIDE_BY_SIDE.items() if model.name in has}
    found = {words: _measured(store, model, seed) for words, model in models.items()}
    prompts = [store.panel.suite.prompts[index] for index in next(iter(found.values()))[1]["prompts"]]
    by_task: dict[str, list[int]] = {}
    for place, prompt in enumerate(prompts):
        by_task.setdefault(prompt.request.task, []).append(place)
    places = [of_task[len(of_task) // 2] for of_task in by_task.values()]
    return {
        "captions": [prompts[place].text for place in places],
        "places": places,
        "sheet_rows": _sheet_rows(len(prompts)),
        "rows": [
            {"name": words, "sheet": sheet, "tiles": [_tile(one, place) for place in places]}
            for words, (sheet, one) in found.items()
        ],
    }


def disagreements(store: Store) -> dict[str, Any]:
    """The first pictures of the preset that show the least of their plans, the first prompts first among equals."""
    sheet, one = _measured(store, Model(name=MAIN), store.bench.plan.seeds[0])
    each = one["measure"]["images"]
    shares = one["plans"]["agrees"][::each]
    worst = sorted((share, place) for place, share in enumerate(shares) if share is not None and share < 1)
    places = [place for _, place in worst[:DISAGREEMENTS]]
    prompts = [store.panel.suite.prompts[one["prompts"][place]].text for place in places]
    tiles = [{**_tile(one, place), "share": shares[place], "seen": one["seen"][place * each]} for place in places]
    return {
        "captions": prompts,
        "places": places,
        "sheet_rows": _sheet_rows(len(shares)),
        "rows": [{"name": MAIN, "sheet": sheet, "tiles": tiles}],
        "readable": sum(share is not None for share in shares),
        "disagreeing": len(worst),
    }


def draw_examples(grid: Mapping[str, Any], folder: Path) -> bytes:
    """PNG: a row for each model, a column for each prompt, each picture over its plan, framed by the judge's word."""
    rows = []
    for number, one in enumerate(grid["rows"]):
        lines = pictures_in(folder / one["sheet"], rows=grid["sheet_rows"], columns=COLUMNS)
        pictures = [lines[place // COLUMNS][place % COLUMNS] for place in grid["places"]]
        tiles = [
            Tile(image=image, right=told["right"], words=told["plan"])
            for image, told in zip(pictures, one["tiles"], strict=True)
        ]
        rows.append(Row(name=one["name"], tiles=tiles, captions=grid["captions"] if number == 0 else ()))
    return draw_grid(rows, len(grid["places"]))


def _measured(store: Store, model: Model, seed: int) -> tuple[str, dict[str, Any]]:
    """Where a model's first pictures lie, below the store's folder, and what was found of all."""
    it = training(model.name, seed)
    file = store.measure_files(it)[model.drawn].with_suffix(".png")
    return str(file.relative_to(store.folder)), store.measured(it)[model.drawn]


def _tile(one: Mapping[str, Any], place: int) -> dict[str, Any]:
    at = place * one["measure"]["images"]
    plan = NO_PLAN if one["plans"] is None else one["plans"]["texts"][at] or EMPTY_PLAN
    return {"right": one["right"][at], "plan": plan}


def _sheet_rows(prompts: int) -> int:
    return math.ceil(prompts / COLUMNS)
