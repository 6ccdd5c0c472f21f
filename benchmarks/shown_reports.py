"""What benchmarks do with a report: write it, print its table, put the table into a page."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Report = dict[str, Any]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that `show` reads."""
    parser.add_argument("--json", metavar="FILE", help="write the report there; - prints it")
    parser.add_argument("--read", metavar="FILE", help="a report to show, in place of measuring")
    parser.add_argument("--page", metavar="FILE", help="put the table into this page, between its marks")


def show(
    options: argparse.Namespace,
    measure: Callable[[argparse.Namespace], Report],
    *,
    table: Callable[[Report], str],
    with_table: Callable[[str, Report], str],
) -> int:
    """Measure or read the report, and leave it where the flags say; the exit code."""
    report = json.loads(Path(options.read).read_text()) if options.read else measure(options)
    if options.page:
        page = Path(options.page)
        page.write_text(with_table(page.read_text(), report))
    text = json.dumps(report, indent=2)
    if options.json == "-":
        print(text)
        return 0
    if options.json:
        Path(options.json).write_text(text + "\n")
    print(table(report))
    return 0


def between_marks(page: str, marks: tuple[str, str], table: str) -> str:
    """The page with the table between its marks, in place of what was there. Ends the program if it has none."""
    begin, end = marks
    if begin not in page or end not in page:
        raise SystemExit(f"the page has no marks {begin} and {end}; put them where the table belongs")
    before, after = page[: page.index(begin)], page[page.index(end) :]
    return f"{before}{begin}\n{table}\n{after}"
