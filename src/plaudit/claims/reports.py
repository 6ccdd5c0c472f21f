"""A reproduction's report: put together, written with its page and pictures, read back.

Page and pictures are made from the report alone, besides the sheets of small pictures that a grid is cut from; so both
can be made again where nothing was computed. What is on a page is each system's own.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaudit.claims.claim import Claim
from plaudit.core.errors import BadConfig
from plaudit.core.whole_files import write_whole
from plaudit.runs.files import finite, read_json, write_json
from plaudit.runs.provenance import hardware, versions

Report = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A plot or a grid of a result page."""

    ending: str
    """of its file's name, after the report's: "curve.svg" lies as reno-curve.svg beside reno.json"""
    draw: Callable[[], bytes]
    sheets: Sequence[Path] = ()
    """what it is cut from; if one of them is not there, the figure that was drawn before stays as it is"""


def assemble(
    system: str,
    claims: Sequence[Claim],
    *,
    tables: dict[str, Any],
    grids: dict[str, Any],
    settings: dict[str, Any],
    seconds: float,
) -> Report:
    """The report as JSON types, with the versions and the machine of now.

    `grids` says which sheets the figures are cut from, and what is written about them; `seconds` is the work of all.
    """
    report: Report = {
        "system": system,
        "claims": [claim.to_json() for claim in claims],
        "tables": tables,
        "grids": grids,
        "pictures": {},
        "settings": settings,
        "versions": versions(),
        "hardware": hardware(),
        "seconds": seconds,
    }
    # As it will be read back: tuples as lists, numbers as keys as text.
    as_read: Report = json.loads(json.dumps(finite(report)))
    return as_read


def publish(
    report: Mapping[str, Any], file: Path, *, figures: Mapping[str, Figure], page: Callable[[Report], str]
) -> list[Path]:
    """Write the report to `file`, and beside it its figures and, as Markdown, its page; the paths written.

    Under "pictures" the page finds the files' names, by the names in `figures`, of those that are there.
    """
    written: list[Path] = []
    pictures: dict[str, str] = {}
    for name, figure in figures.items():
        target = file.with_name(f"{file.stem}-{figure.ending}")
        if all(sheet.exists() for sheet in figure.sheets):
            write_whole(target, figure.draw())
            written.append(target)
        if target.exists():
            pictures[name] = target.name
    whole = {**report, "pictures": pictures}
    write_json(file, whole)
    words = file.with_suffix(".md")
    write_whole(words, page(whole).encode())
    return [file, words, *written]


def read_report(file: Path, system: str) -> Report:
    """The system's report that `publish` wrote. Raises BadConfig if there is none."""
    report = read_json(file)
    if not isinstance(report, dict) or report.get("system") != system or "tables" not in report:
        raise BadConfig(f"{str(file)!r} holds no report of this reproduction; run it first")
    return report
