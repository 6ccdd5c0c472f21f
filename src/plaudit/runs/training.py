"""A training's folder, and the loop that fills it: whatever is trained, and by whatever method.

    run.json         settings, sources, versions, hardware, status
    metrics.jsonl    one line per update
    samples/         the same prompts and noises, drawn every so often
    checkpoints/     whole states: the last few and the best

A training that was stopped at any moment goes on from its newest checkpoint; lines of updates that the checkpoint does
not know are dropped, so that the folder ends as if nothing had happened. Of several processes all train and read, and
the first alone writes; all see the same folder.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from plaudit.core.errors import BadConfig
from plaudit.core.whole_files import write_whole
from plaudit.runs.checkpoints import Checkpoints
from plaudit.runs.files import finite
from plaudit.runs.hacking import Hacked, find_hacking

if TYPE_CHECKING:
    from torch import Tensor

    from plaudit.core.team import Team

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

    stop_when_hacked: int = 0
    """looks in a row that must show hacking (`find_hacking`) to end the training before its time; 0: it goes on"""
    hacked_margin: float = 0.0
    """by how much the held-out reward must have fallen for that, in its own units"""

    def __post_init__(self) -> None:
        for name in ("save_every", "keep", "look_every"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("stop_when_hacked", "hacked_margin"):
            if not getattr(self, name) >= 0:
                raise BadConfig(f"{name} must be at least 0, got {getattr(self, name)}")

    def hacking_in(self, lines: Sequence[Mapping[str, Any]]) -> Hacked | None:
        """What the log's lines say against going on, if that is to end a training."""
        if not self.stop_when_hacked:
            return None
        return find_hacking(lines, patience=self.stop_when_hacked, margin=self.hacked_margin)


Look = Callable[[int], Mapping[str, float]]
"""called with the number of updates done: draws the fixed prompts, leaves the pictures, returns what was measured"""


class Listener(Protocol):
    """Whoever else wants a training's lines."""

    def write(self, line: Mapping[str, Any]) -> None: ...


def train_in(
    folder: Path,
    trainer: Trainer,
    keeping: Keeping,
    *,
    look: Look | None = None,
    team: "Team | None" = None,
    listeners: Sequence[Listener] = (),
) -> Iterator[Any]:
    """Train to the end, from the folder's newest checkpoint if there is one; yields the updates.

    Every update's line is in metrics.jsonl before it is yielded, and a checkpoint that is due is there too. Looks and
    listeners are the leader's only. Raises OSError if the disk is full: the newest checkpoint is still whole. If one
    process fails, all do.
    """
    from plaudit.core.team import Team

    team = team or Team()
    with team.together():
        newest = Checkpoints(folder, keep=keeping.keep).newest()
        if newest is not None:
            trainer.load(newest.tensors)
    diary = _Diary(folder, trainer, keeping, look, listeners)
    with team.together():
        if team.leads:
            diary.begin()
    if team.hear_leader(diary.verdict()):
        return
    for update in trainer.updates():
        with team.together():
            if team.leads:
                diary.keep(update)
        yield update
        if team.hear_leader(diary.verdict()):
            return


class _Diary:
    """What one process writes of a training."""

    def __init__(
        self, folder: Path, trainer: Trainer, keeping: Keeping, look: Look | None, listeners: Sequence[Listener]
    ) -> None:
        self.trainer, self.keeping, self.look, self.listeners = trainer, keeping, look, listeners
        self.checkpoints, self.log = Checkpoints(folder, keep=keeping.keep), Log(folder / METRICS)
        self.looked: dict[str, float] = {}
        self.looks: list[dict[str, Any]] = []

    def begin(self) -> None:
        """Forget what the checkpoint does not know; at the very start, take a first look."""
        self.log.cut(self.trainer.done)
        self.looked = self.log.last_look()
        self.looks = [line for line in self.log.lines() if any(name.startswith("look_") for name in line)]
        if self.trainer.done == 0 and self.look is not None:
            self._write({"update": 0, **self._look(0)})

    def keep(self, update: Progress) -> None:
        """An update's line, with a look and a checkpoint if they are due."""
        done, last = self.trainer.done, self.trainer.done >= self.trainer.total
        line: dict[str, Any] = {"update": done, **update.metrics()}
        if self.look is not None and (done % self.keeping.look_every == 0 or last):
            line |= self._look(done)
        self._write(line)
        if done % self.keeping.save_every == 0 or last or self.verdict():
            by = self.keeping.best_by
            self.checkpoints.save(done, self.trainer.state(), {}, value=self.looked.get(by, line.get(by)))

    def verdict(self) -> str | None:
        """Why the training should end here, if it should."""
        found = self.keeping.hacking_in(self.looks)
        return str(found) if found else None

    def _look(self, done: int) -> dict[str, float]:
        self.looked = dict(self.look(done)) if self.look is not None else {}
        return _named(self.looked)

    def _write(self, line: dict[str, Any]) -> None:
        self.log.write(line)
        if any(name.startswith("look_") for name in line):
            self.looks.append(line)
        for listener in self.listeners:
            listener.write(line)


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
