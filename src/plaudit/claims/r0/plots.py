"""The pictures of R0's result page: curves from the JSON, grids from the measures' pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plaudit.claims.figures import COLOURS, as_svg, label, new_figure
from plaudit.claims.picture_grid import Row, Tile, draw_grid, pictures_in
from plaudit.claims.r0.variants import BASE, MAIN

LINES = ("-", "--", ":")
"""styles, for more variants than there are colours"""


def curve_plot(report: Mapping[str, Any]) -> bytes:
    """SVG: every reward, accuracy and drift over the updates of R0+, the base as a level line."""
    tables = report["tables"]
    curve = next(it for it in tables["curves"] if it["name"] == report["settings"]["tuned"])
    levels = {row["reward"]: row["base"]["value"] for row in tables["rewards"]}
    levels["accuracy"] = tables["tasks"][0]["base"]["value"]
    words = {row["reward"]: row["reward"] + ("" if row["trained"] else ", held out") for row in tables["rewards"]}
    panels = {**words, "accuracy": "right, by the judge", "drift": "drift of the weights"}
    rows = (len(panels) + 2) // 3
    figure = new_figure(9.6, 3.1 * rows)
    for place, (name, said) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, 3, place)
        axes.plot(curve["updates"], curve[name]["mean"], "o-", markersize=3, color=COLOURS[0], label="R0+")
        axes.fill_between(curve["updates"], curve[name]["low"], curve[name]["high"], color=COLOURS[0], alpha=0.15)
        if name in levels:
            axes.axhline(levels[name], color=COLOURS[1], linestyle="--", label="base")
        label(axes, "updates", said)
        if place == 1:
            axes.legend(frameon=False, fontsize=8)
    figure.subplots_adjust(hspace=0.35, wspace=0.45)
    return as_svg(figure)


def ablation_plot(report: Mapping[str, Any]) -> bytes:
    """SVG: accuracy of every ablation against how much higher than R0+ it pushed the rewards that it followed."""
    figure = new_figure(6.6, 4.6)
    axes = figure.add_subplot()
    rows = [row for row in report["tables"]["ablations"] if row["name"] != BASE]
    for place, row in enumerate(rows):
        rise, point = row.get("trained_rise", {"value": 0.0}), row["accuracy"]
        errors = [[point["value"] - point["low"]], [point["high"] - point["value"]]]
        mark = "*" if row["name"] == MAIN else "os^"[place // len(COLOURS) % 3]
        axes.errorbar(
            rise["value"], point["value"], yerr=errors, fmt=mark, color=COLOURS[place % len(COLOURS)], capsize=3,
            label=row["name"],
        )  # fmt: skip
    base = next(row["accuracy"]["value"] for row in report["tables"]["ablations"] if row["name"] == BASE)
    axes.axhline(base, color="#777777", linestyle=":", label="base")
    label(axes, "its rewards over R0+ (spreads of the base's)", "right, by the judge (mean of tasks)")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return as_svg(figure)


def course_plot(report: Mapping[str, Any]) -> bytes:
    """SVG: accuracy, the first reward and the held-out one over the updates that every variant has."""
    rewards, curves = report["tables"]["rewards"], report["tables"]["curves"]
    shared = min(curve["updates"][-1] for curve in curves)
    first, held_out = rewards[0]["reward"], rewards[-1]["reward"]
    figure = new_figure(10.6, 3.6)
    for panel, (name, said) in enumerate(
        {"accuracy": "right, by the judge", first: first, held_out: f"{held_out}, held out"}.items(), start=1
    ):
        axes = figure.add_subplot(1, 3, panel)
        for place, curve in enumerate(curves):
            style, width = LINES[place // len(COLOURS) % len(LINES)], 2.2 if curve["name"] == MAIN else 1.2
            colour = COLOURS[place % len(COLOURS)]
            count = sum(update <= shared for update in curve["updates"])
            seen = (curve["updates"][:count], curve[name]["mean"][:count])
            axes.plot(*seen, style, color=colour, linewidth=width, label=curve["name"])
        label(axes, "updates", said)
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.subplots_adjust(wspace=0.35)
    return as_svg(figure)


def judged_rows(sheets: Mapping[str, Path], verdicts: Mapping[str, Sequence[bool]], captions: Sequence[str]) -> bytes:
    """PNG: a row of the same prompts for each sheet, framed by the judge's word."""
    rows: list[Row] = []
    for name, file in sheets.items():
        pictures = pictures_in(file, columns=len(captions))[0]
        tiles = [Tile(image=image, right=right) for image, right in zip(pictures, verdicts[name], strict=True)]
        rows.append(Row(name=name, tiles=tiles, captions=() if rows else captions))
    return draw_grid(rows, len(captions))
