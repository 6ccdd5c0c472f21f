"""The pictures of a result page: curves from the JSON, grids from the cells' own sheets."""

import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plaudit.runs.provenance import read_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENLARGED = 3
"""screen pixels per pixel of a picture"""
COLOURS = ("#1b6ca8", "#d1495b", "#edae49", "#66a182", "#7a5195", "#8d6e63", "#2e4057", "#00798c")

Pixels = NDArray[np.float32]


def curve_plot(report: Mapping[str, Any]) -> bytes:
    """SVG: accuracy of the best image so far, by updates of the noise; best-of-n as level lines."""
    figure = _figure(6.6, 4.0)
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
    _label(axes, "updates of the noise", "accuracy (mean of tasks)")
    axes.legend(frameon=False, loc="lower right")
    return _svg(figure)


def hacking_plot(report: Mapping[str, Any]) -> bytes:
    """SVG: accuracy against how far a variant pushed the rewards it followed; the steps as a path."""
    figure = _figure(6.6, 4.2)
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
    _label(axes, "rise of the rewards that were followed (spreads of first images)", "accuracy (mean of tasks)")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _svg(figure)


def before_after_grid(sheet: Path, captions: Sequence[str], verdicts: Sequence[tuple[bool, bool]]) -> bytes:
    """PNG: each prompt's first picture over its best, with the judge's word; enlarged without smoothing."""
    pictures = pictures_of(sheet, len(captions))
    columns = min(8, len(captions))
    bands = range(0, len(captions), columns)
    figure = _figure(columns * 1.75, 4.6 * len(bands))
    for band, start in enumerate(bands):
        for place in range(start, min(start + columns, len(captions))):
            for row, (image, right) in enumerate(zip(pictures[place], verdicts[place], strict=True)):
                cell = figure.add_subplot(2 * len(bands), columns, (2 * band + row) * columns + place - start + 1)
                _show(cell, image, right=right)
                if row == 0:
                    cell.set_title("\n".join(textwrap.wrap(captions[place], 20)), fontsize=7)
                if place == start:
                    cell.set_ylabel(("first", "best")[row], fontsize=8)
    return _png(figure)


def hacking_grid(
    sheets: Mapping[str, Path], captions: Sequence[str], verdicts: Mapping[str, Sequence[tuple[bool, bool]]]
) -> bytes:
    """PNG: a row per variant, a column per prompt; the first row shows the pictures before any step."""
    names = list(sheets)
    figure = _figure(len(captions) * 1.5 + 0.8, 1.62 * (len(names) + 1) + 0.5)
    shape = (len(names) + 1, len(captions))
    for row, name in enumerate(["first", *names]):
        source = names[0] if row == 0 else name
        pictures = pictures_of(sheets[source], len(verdicts[source]))
        which = 0 if row == 0 else 1
        for column, caption in enumerate(captions):
            cell = figure.add_subplot(*shape, row * len(captions) + column + 1)
            _show(cell, pictures[column][which], right=verdicts[source][column][which])
            if row == 0:
                cell.set_title("\n".join(textwrap.wrap(caption, 18)), fontsize=7)
            if column == 0:
                cell.set_ylabel(name, fontsize=8)
    return _png(figure)


def pictures_of(sheet: Path, count: int) -> list[tuple[Pixels, Pixels]]:
    """The (first, best) pictures of a cell's sheet, (H, W, 3) each, enlarged."""
    pixels = read_image(sheet).permute(1, 2, 0).numpy()
    height, width = pixels.shape[0] // 2, pixels.shape[1] // count
    columns = [pixels[:, place * width : (place + 1) * width] for place in range(count)]
    return [(_enlarged(column[:height]), _enlarged(column[height:])) for column in columns]


def _enlarged(pixels: Pixels) -> Pixels:
    return pixels.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)


def _show(axes: "Axes", image: Pixels, *, right: bool) -> None:
    axes.imshow(image, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#2e8b57" if right else "#c0392b")
        spine.set_linewidth(2.5)


def _figure(width: float, height: float) -> "Figure":
    """A figure that no window or global state knows of; size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _label(axes: "Axes", x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _svg(figure: "Figure") -> bytes:
    import matplotlib

    buffer = io.BytesIO()
    # No date and no random ids: the same numbers give the same file.
    with matplotlib.rc_context({"svg.hashsalt": "plaudit", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight")
    return buffer.getvalue()


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
