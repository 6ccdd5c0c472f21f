"""The pictures of RLCM's result page: curves from the JSON, grids from the trainings' looks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plaudit.claims.figures import COLOURS, as_svg, label, new_figure
from plaudit.claims.picture_grid import Row, Tile, draw_grid, pictures_in
from plaudit.claims.rlcm.plan import TASKS

METHODS = {"rlcm": ("RLCM", COLOURS[0]), "ddpo": ("DDPO", COLOURS[1])}


def curve_plot(report: Mapping[str, Any], over: str) -> bytes:
    """SVG: reward of the drawn images over "queries" or "seconds", a panel per task; bands are the seeds' extremes."""
    figure = new_figure(9.6, 6.4)
    for place, task in enumerate(TASKS, start=1):
        axes = figure.add_subplot(2, 2, place)
        for curve in report["tables"]["curves"]:
            if curve["task"] == task:
                name, colour = METHODS[curve["method"]]
                axes.plot(curve[over], curve["reward"], color=colour, label=name)
                axes.fill_between(curve[over], curve["low"], curve["high"], color=colour, alpha=0.15)
        label(axes, "images judged" if over == "queries" else "seconds of training", task)
        if over == "seconds":
            axes.set_xscale("log")
        axes.legend(frameon=False)
    figure.subplots_adjust(hspace=0.32, wspace=0.25)
    return as_svg(figure)


def long_plot(report: Mapping[str, Any]) -> bytes:
    """SVG: trained reward, held-out reward and the judge's word while a training goes on for too long."""
    figure = new_figure(9.6, 3.2)
    panels = {"trained": "trained reward", "held_out": "held-out reward", "right": "right, by the judge"}
    for place, (name, words) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, 3, place)
        for row, colour in zip(report["tables"]["long"], COLOURS, strict=False):
            axes.plot(row["updates"], row[name], "o-", color=colour, label=row["name"])
        label(axes, "updates", words)
        if place == 1:
            axes.legend(frameon=False, fontsize=8)
    figure.subplots_adjust(wspace=0.35)
    return as_svg(figure)


def picture_rows(shown: Sequence[Mapping[str, Any]], folder: Path) -> bytes:
    """PNG: a row for each sheet in the folder, (3, H, N W); the first row has captions, one a picture."""
    columns = len(shown[0]["captions"])
    rows = []
    for row in shown:
        tiles = [Tile(image=image, right=None) for image in pictures_in(folder / row["sheet"], columns=columns)[0]]
        rows.append(Row(name=row["name"], tiles=tiles, captions=row["captions"]))
    return draw_grid(rows, columns)
