"""Writes into the pages of docs/ what the reports in docs/results say: a method's measured curve, the paper index.

    python tools/measured_blocks.py             from the reports that are there
    python tools/measured_blocks.py --check     exit code 1 if a page says anything else

After `plaudit reproduce SYSTEM --json docs/results/SYSTEM.json`.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plaudit.claims.markdown import with_blocks
from plaudit.claims.overview import SYSTEMS, headlines, measured, reports_in

DOCS = Path(__file__).resolve().parents[1] / "docs"
INDEX = "paper_index.md"


def pages(docs: Path = DOCS) -> dict[Path, str]:
    """Every page with such blocks as it should be, from the reports in the folder `results`."""
    reports = reports_in(docs / "results")
    found = {docs / INDEX: {"headlines": headlines(reports)}}
    found |= {docs / page_of(system.name): {"measured": measured(system, reports)} for system in SYSTEMS}
    return {page: _written(page, blocks) for page, blocks in found.items()}


def page_of(system: str) -> str:
    """The file of a method's page."""
    return f"{system.replace('-', '_')}.md"


def _written(page: Path, blocks: Mapping[str, Any]) -> str:
    return with_blocks(page.read_text(encoding="utf-8"), blocks)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a page is out of date")
    options = parser.parse_args(arguments)
    wanted = pages()
    if options.check:
        old = [page.name for page, text in wanted.items() if page.read_text(encoding="utf-8") != text]
        print("\n".join(f"{name} is out of date" for name in old))
        return 1 if old else 0
    for page, text in wanted.items():
        page.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
