"""The work of a reproduction that trains: what is done of it, and what is missing."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from plaudit.core.errors import BadConfig

Training = TypeVar("Training")
Result = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Progress(Generic[Training]):
    """An update of some training, or a measure, is done."""

    training: Training
    done: float
    """the share of its updates"""
    what: str


Steps = Iterator[Progress[Training]]


def in_turn(parts: Sequence[tuple[float, Steps[Training]]]) -> Iterator[tuple[Progress[Training], float]]:
    """Do the parts, each with its cost, one after the other; yields what was done, and the share of all work that is.

    A part begins when the one before it is over.
    """
    work, done = sum(cost for cost, _ in parts), 0.0
    for cost, steps in parts:
        for progress in steps:
            yield progress, (done + cost * progress.done) / work
        done += cost


def finished(every: Iterable[Training], read: Callable[[Training], Result | None]) -> list[tuple[Training, Result]]:
    """Each training with its result. Raises BadConfig if `read` finds none of one of them."""
    results = [(training, read(training)) for training in every]
    found = [(training, result) for training, result in results if result is not None]
    if len(found) < len(results):
        raise BadConfig(f"{len(results) - len(found)} of {len(results)} trainings are not finished yet")
    return found


def seconds_of(result: Mapping[str, Any]) -> float:
    """Of training and of drawing for the measures."""
    trained = sum(result["curve"]["seconds"]) if "curve" in result else 0.0
    drawn = sum(one["seconds"] * len(one["right"]) for one in result["measured"].values())
    return float(trained + drawn)
