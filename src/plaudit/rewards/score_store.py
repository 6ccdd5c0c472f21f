"""Scores on disk: one SQLite file, which several processes may read and write at once.

A write is there as a whole or not at all. The newest `limit` scores are kept, at about a hundred bytes each. A store
that cannot be written, or that another process holds for too long, costs time and nothing else. Deleting the file
clears it.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

from plaudit.core.errors import BadConfig

LIMIT = 1_000_000
PATIENCE = 30.0
"""seconds that a process waits for the others"""
AT_ONCE = 500
"""keys in one question; SQLite takes no more than 999 in its older builds"""

_TABLE = "CREATE TABLE IF NOT EXISTS scores (place INTEGER PRIMARY KEY, key BLOB UNIQUE NOT NULL, score REAL NOT NULL)"


class ScoreStore:
    """Scores by key, in a file. Holds nothing open between calls, so that it survives a fork."""

    def __init__(self, file: Path, *, limit: int = LIMIT) -> None:
        """Raises BadConfig unless at least one score is kept."""
        if limit < 1:
            raise BadConfig(f"a store of scores keeps at least 1, got a limit of {limit}")
        self.file, self.limit = file, limit

    def get(self, keys: Sequence[bytes]) -> dict[bytes, float]:
        """The scores that are there. Raises BadConfig if the file is damaged."""
        found: dict[bytes, float] = {}

        def read(store: sqlite3.Connection) -> None:
            for start in range(0, len(keys), AT_ONCE):
                some = keys[start : start + AT_ONCE]
                marks = ",".join("?" * len(some))
                found.update(store.execute(f"SELECT key, score FROM scores WHERE key IN ({marks})", some).fetchall())

        if self.file.exists():
            self._do(read)
        return found

    def put(self, scores: Mapping[bytes, float]) -> None:
        """Add scores, the oldest making room. Raises BadConfig if the file is damaged."""

        def write(store: sqlite3.Connection) -> None:
            # A writer from the start: two that have read already could not both become one.
            store.execute("BEGIN IMMEDIATE")
            store.execute(_TABLE)
            store.executemany("INSERT OR REPLACE INTO scores (key, score) VALUES (?, ?)", list(scores.items()))
            # Places grow by one from score to score, so that the last one tells which are too old.
            store.execute("DELETE FROM scores WHERE place <= (SELECT MAX(place) FROM scores) - ?", (self.limit,))

        with suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
        self._do(write)

    def clear(self) -> None:
        """Forget all scores."""
        self.file.unlink(missing_ok=True)

    def __len__(self) -> int:
        found: list[int] = []
        if self.file.exists():
            self._do(lambda store: found.extend(store.execute("SELECT COUNT(*) FROM scores").fetchone()))
        return sum(found)

    def _do(self, action: Callable[[sqlite3.Connection], object]) -> None:
        """One transaction, as a whole; one that the machine refuses is left out, a damaged file is told of."""
        try:
            with closing(sqlite3.connect(self.file, timeout=PATIENCE)) as store, store:
                action(store)
        except sqlite3.OperationalError:
            # No room, no permission, no patience left, or nothing was ever put.
            return
        except sqlite3.DatabaseError as error:
            raise BadConfig(f"the store of scores {str(self.file)!r} is damaged ({error}); delete it") from error
