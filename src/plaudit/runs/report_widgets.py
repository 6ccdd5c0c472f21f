"""The pieces that reports are made of: pictures inside the page, sliders, tables that sort. All give HTML.

Each reads well without a script and in print; plaudit.runs.report_script makes them move.
"""

import base64
import io
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

SMALL = 256
"""pictures up to this width are enlarged with hard pixel edges"""
PNG = b"\x89PNG\r\n\x1a\n"

Value = str | float | int | None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A table's cell that is not simply its value."""

    text: str
    value: Value = None
    """what it is sorted by; None: its text"""
    css: str = ""


def zoomable(content: bytes, *, alt: str, columns: int = 1) -> str:
    """A PNG or JPEG inside the page, shown large when it is clicked; `columns`: pictures side by side in it."""
    width, height = size_of(content)
    small = " small" if width <= SMALL * columns else ""
    kind = "png" if content.startswith(PNG) else "jpeg"
    data = base64.b64encode(content).decode()
    size = f'width="{width}" height="{height}"'
    return f'<img class="zoomable{small}" {size} alt="{escape(alt)}" src="data:image/{kind};base64,{data}">'


def zoomable_file(path: Path, *, alt: str, columns: int = 1) -> str:
    """The same of a file; one that is gone is said to be."""
    if not path.exists():
        return f"<p>{escape(path.name)} is no longer in the run's folder.</p>"
    return zoomable(path.read_bytes(), alt=alt, columns=columns)


def size_of(content: bytes) -> tuple[int, int]:
    """Width and height of a picture's file."""
    if content.startswith(PNG):
        # The header holds them at bytes 16 to 24.
        width, height = struct.unpack(">II", content[16:24])
        return width, height
    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        return picture.size


def thumbnail(path: Path, *, width: int) -> bytes:
    """The file itself if it is no wider; else the picture at this width, as a JPEG."""
    content = path.read_bytes()
    full, height = size_of(content)
    if full <= width:
        return content
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(content)) as picture:
        small = picture.convert("RGB").resize((width, max(1, round(height * width / full))))
        small.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def figure(image: str, caption: str = "", *, css: str = "") -> str:
    """An image and its caption, both HTML."""
    words = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure class="{css}">{image}{words}</figure>'


def slider(before: tuple[str, str], after: tuple[str, str]) -> str:
    """Two pictures of one size, each with its caption, as HTML: on top of each other under a range input.

    Without a script, and on paper, they stand side by side.
    """
    return (
        f'<div class="slider">{figure(*before, css="before")}{figure(*after, css="after")}'
        '<input type="range" min="0" max="100" value="50" hidden aria-label="how much is shown of the picture before">'
        "</div>"
    )


def sortable(heads: Sequence[str], rows: Sequence[Sequence[Value | Cell]], *, foot: Sequence[Value | Cell] = ()) -> str:
    """A table whose headings sort it; numbers with three decimals, None as "-"; `foot` is a row that stays last."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    last = f'<tfoot><tr class="total">{"".join(map(_cell, foot))}</tr></tfoot>' if foot else ""
    return (
        f'<div class="wide"><table class="sortable"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody>{last}</table></div>"
    )


def change_cell(change: float) -> Cell:
    """A difference with its sign, green or red."""
    return Cell(text=f"{change:+.3f}", value=change, css="up" if change > 0 else "down" if change < 0 else "")


def terms(pairs: Mapping[str, str], *, css: str = "") -> str:
    """Names and what they stand for."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(words)}</dd>" for name, words in pairs.items())
    return f'<dl class="{css}">{items}</dl>' if css else f"<dl>{items}</dl>"


def _cell(content: Value | Cell) -> str:
    if not isinstance(content, Cell):
        number = isinstance(content, float)
        text = "-" if content is None else f"{content:.3f}" if number else str(content)
        content = Cell(text=text, value=content if number and content == content else None)
    css = f' class="{content.css}"' if content.css else ""
    value = "" if content.value is None else f' data-value="{escape(str(content.value))}"'
    return f"<td{css}{value}>{escape(content.text)}</td>"
