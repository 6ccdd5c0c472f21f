"""A GPU whose memory is full: what torch raises then, known without torch, and said in a few words."""

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
