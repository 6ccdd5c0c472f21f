"""Seconds of what benchmarks compare."""

import statistics
import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def timed(run: Callable[[], Found], clock: Callable[[], float] | None = None) -> tuple[float, Found]:
    """The seconds that a call took by a clock, the wall's unless told otherwise, and what came back."""
    clock = clock or time.perf_counter
    begun = clock()
    found = run()
    return clock() - begun, found


def turns(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Each way's seconds of the CPU, which others on the machine do not lengthen, one per turn; they take turns."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, run in ways.items():
            times[way].append(timed(run, time.process_time)[0])
    return times


def in_turns(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Each way's median of the seconds of its turns."""
    return {way: statistics.median(it) for way, it in turns(ways, repeats).items()}
