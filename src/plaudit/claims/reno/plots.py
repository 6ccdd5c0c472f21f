"""The pictures of a result page: curves from the JSON, grids from the cells' own sheets."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plaudit.claims.figures import COLOURS, as_svg, label, new_figure
from plaudit.claims.picture_grid import Row, Tile, draw_grid, pictures_in


def curve_plot(report: Mapping[str, Any]) -> bytes:
    """SVG: accuracy of the best image so far, by updates of the noise; best-of-n as level lines."""
    figure = new_figure(6.6, 4.0)
    axes = figure.add_subplot()
    curves = [curve for curve in report["tables"]["curves"] if curve["prompts"] == "main"]
    for curve in curves:
        steps, points = curve["steps"], curve["accuracy"]
        if curve["variant"] == "reno":
            values = [point["value"] for point in points]
            axes.plot(steps, values, "o-", color=COLOURS[0], label="ReNO")
            axes.fill_between(
                steps, [p["low"] for p in points], [p["high"] for p in points], color=COLOURS[0], alpha=0.15
            )
            continue
        for step, point, colour in zip(steps[1:], points[1:], COLOURS[1:], strict=False):
            axes.axhline(point["value"], color=colour, linestyle="--", label=f"best of {step + 1} noises")
    label(axes, "updates of the noise", "accuracy (mean of tasks)")
    axes.legend(frameon=False, loc="lower right")
    return as_svg(figure)


def hacking_plot(report: Mapping[str, Any]) -> bytes:
    """SVG: accuracy against how far a variant pushed the rewards it followed; the steps as a path."""
    figure = new_figure(6.6, 4.2)
    axes = figure.add_subplot()
    rows = report["tables"]["hacking"]
    start = rows[0]["first"]["value"]
    for index, row in enumerate(rows):
        colour = COLOURS[index % len(COLOURS)]
        point = row["accuracy"]
        errors = [[point["value"] - point["low"]], [point["high"] - point["value"]]]
        axes.errorbar(
            row["own_rise"], point["value"], yerr=errors, fmt="o", color=colour, capsize=3, label=row["variant"]
        )
    axes.axhline(start, color="#777777", linestyle=":", label="first images")
    label(axes, "rise of the rewards that were followed (spreads of first images)", "accuracy (mean of tasks)")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return as_svg(figure)


def before_after_grid(sheet: Path, captions: Sequence[str], verdicts: Sequence[Sequence[bool]]) -> bytes:
    """PNG: each prompt's first picture over its best, framed by the judge's word."""
    pictures = pictures_in(sheet, rows=2, columns=len(captions))
    columns = min(8, len(captions))
    rows = []
    for start in range(0, len(captions), columns):
        places = range(start, min(start + columns, len(captions)))
        for which, name in enumerate(("first", "best")):
            tiles = [Tile(image=pictures[which][p], right=verdicts[p][which]) for p in places]
            rows.append(Row(name=name, tiles=tiles, captions=[captions[p] for p in places] if which == 0 else []))
    return draw_grid(rows, columns)


def hacking_grid(
    sheets: Mapping[str, Path], captions: Sequence[str], verdicts: Mapping[str, Sequence[Sequence[bool]]]
) -> bytes:
    """PNG: a row per variant, a column per prompt; the first row shows the pictures before any step."""
    names = list(sheets)
    rows = []
    for name in ["first", *names]:
        source, which = (names[0], 0) if name == "first" else (name, 1)
        pictures = pictures_in(sheets[source], rows=2, columns=len(verdicts[source]))[which]
        tiles = [Tile(image=pictures[place], right=verdicts[source][place][which]) for place in range(len(captions))]
        rows.append(Row(name=name, tiles=tiles, captions=captions if name == "first" else []))
    return draw_grid(rows, len(captions))
