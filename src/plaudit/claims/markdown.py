"""Tables of a result page, and how its numbers are written."""

from collections.abc import Mapping, Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)


def picture(report: Mapping[str, Any], name: str, text: str) -> str:
    """The picture of that name, nothing if the report has none."""
    file = report["pictures"].get(name)
    return f"![{text}]({file})" if file else ""


def estimate(found: Mapping[str, float], *, signed: bool = False) -> str:
    """A value with its interval."""
    return f"{number(found['value'], signed=signed)} ({interval((found['low'], found['high']))})"


def interval(ends: Sequence[float] | None) -> str:
    """Both ends."""
    return "-" if ends is None else f"{number(ends[0])} to {number(ends[1])}"


def number(value: float | None, *, signed: bool = False) -> str:
    """Three digits after the point; a dash for none."""
    if value is None:
        return "-"
    return f"{value:+.3f}" if signed else f"{value:.3f}"
