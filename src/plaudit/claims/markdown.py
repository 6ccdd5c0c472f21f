"""Tables of a result page, and how its numbers are written."""

from collections.abc import Mapping, Sequence
from typing import Any

from plaudit.core.errors import BadConfig


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)


def with_blocks(page: str, blocks: Mapping[str, str]) -> str:
    """The page with what stands between its marks `<!-- generated: NAME -->` and `<!-- end: NAME -->` made anew.

    Raises BadConfig if the page has no such marks.
    """
    for name, text in blocks.items():
        start, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
        before, _, rest = page.partition(start)
        _, found, after = rest.partition(end)
        if not found:
            raise BadConfig(f"the page has no block {start} ... {end}; write both marks where it belongs")
        page = f"{before}{start}\n{text}\n{end}{after}"
    return page


def picture(report: Mapping[str, Any], name: str, text: str, *, folder: str = "") -> str:
    """The picture of that name, which a click shows by itself, as large as it is; nothing if the report has none."""
    file = report["pictures"].get(name)
    return f"[![{text}]({folder}{file})]({folder}{file})" if file else ""


def estimate(found: Mapping[str, float], *, signed: bool = False, digits: int = 3) -> str:
    """A value with its interval."""
    ends = interval((found["low"], found["high"]), digits=digits)
    return f"{number(found['value'], signed=signed, digits=digits)} ({ends})"


def interval(ends: Sequence[float] | None, *, digits: int = 3) -> str:
    """Both ends; a dash for none."""
    return "-" if ends is None else " to ".join(number(end, digits=digits) for end in ends)


def number(value: float | None, *, signed: bool = False, digits: int = 3) -> str:
    """So many digits after the point; a dash for none."""
    if value is None:
        return "-"
    return f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
