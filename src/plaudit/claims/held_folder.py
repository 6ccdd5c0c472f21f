"""A folder that one process at a time works in, so that several can share a reproduction's work."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(place: Path) -> Iterator[bool]:
    """Whether no other process holds this folder; if so, it is held until the end. A dead process holds nothing."""
    place.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows has no such locks: run it once at a time there.
        yield True
        return
    with (place / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
