"""A training's folder, and the loop that fills it: whatever is trained, and by whatever method.

    run.json         settings, sources, versions, hardware, status
    metrics.jsonl    one line per update
    samples/         the same prompts and noises, drawn every so often
    checkpoints/     whole states: the last few and the best

A training that was stopped at any moment goes on from its newest checkpoint; lines of updates that the checkpoint does
not know are dropped, so that the folder ends as if nothing had happened.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from plaudit.core.errors import BadConfig
from plaudit.runs.checkpoints import Checkpoints
from plaudit.runs.files import finite, write_whole

if TYPE_CHECKING:
    from torch import Tensor

METRICS = "metrics.jsonl"


class Progress(Protocol):
    """What one update tells."""

    def metrics(self) -> dict[str, float]:
        """Its numbers, by names that stay the same."""
        ...


class Trainer(Protocol):
    """A method in training."""

    done: int
    """updates so far"""
    total: int
    """updates there will be"""

    def updates(self) -> Iterator[Any]:
        """The remaining updates, each a Progress; after each, `state` is that of a restart behind it."""
        ...

    def state(self) -> "dict[str, Tensor]": ...

    def load(self, state: "dict[str, Tensor]") -> None: ...


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """What is written, and how often."""

    save_every: int = 10
    """updates between two checkpoints; the last update always leaves one"""
    keep: int = 3
    """checkpoints, besides the best"""
    look_every: int = 10
    """updates between two looks at the fixed prompts; before the first and after the last there is one too"""
    best_by: str = "held_out"
    """the metric that the best checkpoint has the most of; its last look counts"""

    def __post_init__(self) -> None:
        for name in ("save_every", "keep", "look_every"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name} must be at least 1, got {getattr(self, name)}")


Look = Callable[[int], Mapping[str, float]]
"""called with the number of updates done: draws the fixed prompts, leaves the pictures, returns what was measured"""


def train_in(
    folder: Path,
    trainer: Trainer,
    keeping: Keeping,
    *,
    look: Look | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Iterator[Any]:
    """Train to the end, from the folder's newest checkpoint if there is one; yields the updates.

    Every update's line is in metrics.jsonl before it is yielded, and a checkpoint that is due is there too. Raises
    OSError if the disk is full: the newest checkpoint is still whole.
    """
    checkpoints = Checkpoints(folder, keep=keeping.keep)
    newest = checkpoints.newest()
    if newest is not None:
        trainer.load(newest.tensors)
    log = Log(folder / METRICS)
    log.cut(trainer.done)
    looked: dict[str, float] = log.last_look()
    if trainer.done == 0 and look is not None:
        looked = dict(look(0))
        log.write({"update": 0, **_named(looked)})
    updates = trainer.updates()
    while True:
        update = next(updates, None)
        if update is None:
            return
        done, last = trainer.done, trainer.done >= trainer.total
        line: dict[str, Any] = {"update": done, **update.metrics()}
        if look is not None and (done % keeping.look_every == 0 or last):
            looked = dict(look(done))
            line |= _named(looked)
        log.write(line)
        if done % keeping.save_every == 0 or last:
            value = looked.get(keeping.best_by, line.get(keeping.best_by))
            checkpoints.save(done, trainer.state(), dict(facts or {}), value=value)
        yield update


def _named(looked: Mapping[str, float]) -> dict[str, float]:
    return {f"look_{name}": value for name, value in looked.items()}


class Log:
    """metrics.jsonl: a JSON object a line, each with its update's number, 1 for the first; 0 is the start."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def lines(self) -> list[dict[str, Any]]:
        """All whole lines; the half of one that a stop left is passed over."""
        found = []
        text = self.file.read_text(encoding="utf-8") if self.file.exists() else ""
        for line in text.splitlines():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return found

    def write(self, line: Mapping[str, Any]) -> None:
        """Add a line."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite(dict(line)), ensure_ascii=False) + "\n")

    def cut(self, done: int) -> None:
        """Drop what was written after update `done`; from the start, all."""
        kept = [line for line in self.lines() if 0 < done >= line["update"]]
        if self.file.exists():
            write_whole(self.file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept).encode())

    def last_look(self) -> dict[str, float]:
        """What was measured at the last look."""
        for line in reversed(self.lines()):
            found = {name[5:]: value for name, value in line.items() if name.startswith("look_")}
            if found:
                return found
        return {}
