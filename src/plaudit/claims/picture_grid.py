"""Small pictures in rows under captions, framed by a judge's word: one PNG."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plaudit.core.picture_files import read_image

ENLARGED = 3
"""screen pixels per pixel of a picture"""
FRAME, GAP, MARGIN, CAPTION, LINE = 4, 8, 104, 44, 15
"""of the grids, in screen pixels"""
LETTERS = 30
"""in a line of words above or below a picture"""
RIGHT, WRONG, UNJUDGED = "#2e8b57", "#c0392b", "#bbbbbb"
"""a frame's colour, by the judge's word"""

Pixels = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One picture of a grid."""

    image: Pixels
    """(H, W, 3), enlarged"""
    right: bool | None
    """the judge's word, None if it was not asked"""
    words: str = ""
    """below the picture"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a grid."""

    name: str
    tiles: Sequence[Tile]
    captions: Sequence[str] = field(default=())
    """above the pictures; empty: none"""


def pictures_in(sheet: Path, *, rows: int = 1, columns: int) -> list[list[Pixels]]:
    """The pictures of a sheet, by row and column, (H, W, 3) each, enlarged."""
    pixels = read_image(sheet).permute(1, 2, 0).numpy()
    height, width = pixels.shape[0] // rows, pixels.shape[1] // columns
    return [
        [
            enlarged(pixels[row * height : (row + 1) * height, column * width : (column + 1) * width])
            for column in range(columns)
        ]
        for row in range(rows)
    ]


def enlarged(pixels: Pixels) -> Pixels:
    """The picture (H, W, 3), every pixel a square of several."""
    return pixels.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)


def draw_grid(rows: Sequence[Row], columns: int) -> bytes:
    """PNG: the rows on one canvas, pasted as they are, so that nothing is smoothed."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = rows[0].tiles[0].image.shape[:2]
    captions = sum(CAPTION for row in rows if row.captions)
    step_x, step_y = width + 2 * FRAME + GAP, height + 2 * FRAME + GAP
    below = [LINE * max(len(_lines(tile.words)) for tile in row.tiles) for row in rows]
    canvas = Image.new("RGB", (MARGIN + columns * step_x, GAP + captions + len(rows) * step_y + sum(below)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default()
    top = GAP
    for row, room in zip(rows, below, strict=True):
        top += CAPTION if row.captions else 0
        draw.text((8, top + height // 2), row.name, fill="black", font=font)
        for column, tile in enumerate(row.tiles):
            left = MARGIN + column * step_x
            frame = (left, top, left + width + 2 * FRAME - 1, top + height + 2 * FRAME - 1)
            draw.rectangle(frame, fill={True: RIGHT, False: WRONG, None: UNJUDGED}[tile.right])
            pixels = (tile.image * 255).round().astype(np.uint8)
            canvas.paste(Image.fromarray(pixels), (left + FRAME, top + FRAME))
            if row.captions:
                above = "\n".join(_lines(row.captions[column]))
                draw.multiline_text((left + FRAME, top - CAPTION + 2), above, fill="black", font=font)
            words = "\n".join(_lines(tile.words))
            draw.multiline_text((left + FRAME, top + step_y - GAP + 2), words, fill="black", font=font)
        top += step_y + room
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


def _lines(words: str) -> list[str]:
    return textwrap.wrap(words, LETTERS)
