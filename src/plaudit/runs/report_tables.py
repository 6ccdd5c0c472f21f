"""A report's tables as files beside it, for programs: each as CSV and as JSON."""

import csv
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from plaudit.core.whole_files import write_whole
from plaudit.runs.files import finite, write_json

Row = Mapping[str, Any]


def write_tables(folder: Path, tables: Mapping[str, Sequence[Row]]) -> None:
    """Write name.csv and name.json of each table that has a row; the JSON is a list of the rows."""
    for name, rows in tables.items():
        if rows:
            write_whole(folder / f"{name}.csv", as_csv(rows).encode())
            write_json(folder / f"{name}.json", list(rows))


def as_csv(rows: Sequence[Row]) -> str:
    """Headings of all columns that any row has, then the rows; what a row lacks, or is no number, is empty."""
    heads = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    for row in rows:
        values = finite(dict(row))
        writer.writerow([_plain(values.get(name)) for name in heads])
    return text.getvalue()


def where_they_are(tables: Mapping[str, Sequence[Row]]) -> str:
    """A line of the report that says where its tables are, as HTML; nothing if there are none."""
    files = [f'<a href="{escape(name)}.{kind}">{escape(name)}.{kind}</a>'
             for name, rows in tables.items() if rows for kind in ("csv", "json")]  # fmt: skip
    if not files:
        return ""
    return f'<p class="files">The tables for programs, in the folder of this report: {", ".join(files)}.</p>'


def _plain(value: Any) -> Any:
    if value is None:
        return ""
    return int(value) if isinstance(value, bool) else value
