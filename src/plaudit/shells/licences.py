"""Licences with restrictions, said once on each machine: one line a model on stderr, never on stdout."""

import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from plaudit.core.registry import Entry, Registry
from plaudit.pocket.folders import user_cache


def tell_licences(table: Registry, names: Iterable[str]) -> None:
    """Name the licence of each row that restricts its use, unless this machine's user was told before.

    `names` are names or hub ids; one that no row has is passed over, as nothing is known about it.
    """
    rows = [row for name in dict.fromkeys(names) if (row := table.row_of(name)) is not None]
    told = _told()
    new = {_line(row) for row in rows if row.restrictions} - told
    for line in sorted(new):
        print(f"plaudit: {line}", file=sys.stderr)
    if new:
        # A cache that cannot be written means only that the line is said again.
        with suppress(OSError):
            _memory().parent.mkdir(parents=True, exist_ok=True)
            _memory().write_text("\n".join(sorted(told | new)) + "\n", encoding="utf-8")


def _line(row: Entry) -> str:
    """What is said, and remembered: a row whose licence changes is told about again."""
    where = f": {row.licence_page}" if row.licence_page else ""
    return f"{row.name} comes under the licence {row.licence}; {row.restrictions}{where}"


def _told() -> set[str]:
    try:
        return set(_memory().read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return set()


def _memory() -> Path:
    return user_cache() / "licences_told.txt"
