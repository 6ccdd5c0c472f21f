"""What ends a run that can be gone on with, in a few words; a GPU's full memory is known without importing torch."""

import re
import sys

from plaudit.core.errors import PlauditError


def full_memory() -> tuple[type[RuntimeError], ...]:
    """What to catch: torch's error, or nothing as long as torch is not imported, as on a help page."""
    error = getattr(sys.modules.get("torch"), "OutOfMemoryError", None)
    return () if error is None else (error,)


def mendable() -> tuple[type[BaseException], ...]:
    """What ends a run that can be gone on with: Ctrl-C, the operating system's errors, ours, and a full memory."""
    return (KeyboardInterrupt, OSError, PlauditError, *full_memory())


def what_lacked(error: BaseException) -> str:
    """That memory is full, and how much more was wanted if torch tells; its own text is a paragraph."""
    more = re.search(r"tried to allocate ([\d.]+ \w+)", str(error), re.IGNORECASE)
    return "the GPU is out of memory" + (f" ({more[1]} more were wanted)" if more else "")


def what_failed(error: OSError) -> str:
    """An error of the operating system in one sentence: what failed, on which file."""
    reason = (error.strerror or str(error)).strip()
    where = f" ({str(error.filename)!r})" if error.filename else ""
    return " ".join(f"{reason[:1].lower()}{reason[1:]}{where}".split())


def what_stopped(error: BaseException) -> str:
    """Any of `mendable`, as the beginning of a sentence."""
    if isinstance(error, KeyboardInterrupt):
        return "stopped by Ctrl-C"
    if isinstance(error, full_memory()):
        return what_lacked(error)
    return what_failed(error) if isinstance(error, OSError) else str(error).rstrip(".")
