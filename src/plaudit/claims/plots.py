"""The pictures of a result page: curves from the JSON, grids from the cells' own sheets."""

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

FRAME, GAP, MARGIN, CAPTION = 4, 8, 104, 44
"""of the grids, in screen pixels"""
RIGHT, WRONG = "#2e8b57", "#c0392b"
"""a frame's colour, by the judge's word"""

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


def before_after_grid(sheet: Path, captions: Sequence[str], verdicts: Sequence[Sequence[bool]]) -> bytes:
    """PNG: each prompt's first picture over its best, framed by the judge's word."""
    pictures = pictures_of(sheet, len(captions))
    columns = min(8, len(captions))
    rows = []
    for start in range(0, len(captions), columns):
        places = range(start, min(start + columns, len(captions)))
        for which, name in enumerate(("first", "best")):
            tiles = [_Tile(image=pictures[p][which], right=verdicts[p][which]) for p in places]
            rows.append(_Row(name=name, tiles=tiles, captions=[captions[p] for p in places] if which == 0 else []))
    return _grid(rows, columns)


def hacking_grid(
    sheets: Mapping[str, Path], captions: Sequence[str], verdicts: Mapping[str, Sequence[Sequence[bool]]]
) -> bytes:
    """PNG: a row per variant, a column per prompt; the first row shows the pictures before any step."""
    names = list(sheets)
    rows = []
    for name in ["first", *names]:
        source, which = (names[0], 0) if name == "first" else (name, 1)
        pictures = pictures_of(sheets[source], len(verdicts[source]))
        tiles = [
            _Tile(image=pictures[place][which], right=verdicts[source][place][which]) for place in range(len(captions))
        ]
        rows.append(_Row(name=name, tiles=tiles, captions=captions if name == "first" else []))
    return _grid(rows, len(captions))


def pictures_of(sheet: Path, count: int) -> list[tuple[Pixels, Pixels]]:
    """The (first, best) pictures of a cell's sheet, (H, W, 3) each, enlarged."""
    pixels = read_image(sheet).permute(1, 2, 0).numpy()
    height, width = pixels.shape[0] // 2, pixels.shape[1] // count
    columns = [pixels[:, place * width : (place + 1) * width] for place in range(count)]
    return [(_enlarged(column[:height]), _enlarged(column[height:])) for column in columns]


def _enlarged(pixels: Pixels) -> Pixels:
    return pixels.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)


@dataclass(frozen=True, kw_only=True)
class _Tile:
    """One picture of a grid."""

    image: Pixels
    """(H, W, 3), enlarged"""
    right: bool
    """the judge's word"""


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One row of a grid."""

    name: str
    tiles: Sequence[_Tile]
    captions: Sequence[str]
    """above the pictures; empty: none"""


def _grid(rows: Sequence[_Row], columns: int) -> bytes:
    """PNG: the rows on one canvas, pasted as they are, so that nothing is smoothed."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = rows[0].tiles[0].image.shape[:2]
    captions = sum(CAPTION for row in rows if row.captions)
    step_x, step_y = width + 2 * FRAME + GAP, height + 2 * FRAME + GAP
    canvas = Image.new("RGB", (MARGIN + columns * step_x, GAP + captions + len(rows) * step_y), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default()
    top = GAP
    for row in rows:
        top += CAPTION if row.captions else 0
        draw.text((8, top + height // 2), row.name, fill="black", font=font)
        for column, tile in enumerate(row.tiles):
            left = MARGIN + column * step_x
            frame = (left, top, left + width + 2 * FRAME - 1, top + height + 2 * FRAME - 1)
            draw.rectangle(frame, fill=RIGHT if tile.right else WRONG)
            pixels = (tile.image * 255).round().astype(np.uint8)
            canvas.paste(Image.fromarray(pixels), (left + FRAME, top + FRAME))
            if row.captions:
                words = "\n".join(textwrap.wrap(row.captions[column], 30))
                draw.multiline_text((left + FRAME, top - CAPTION + 2), words, fill="black", font=font)
        top += step_y
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


def _figure(width: float, height: float) -> "Figure":
    """A figure that no window or global state knows of; size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


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
