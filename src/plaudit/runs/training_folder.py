"""A training's run.json: what began it, so that it can be gone on with, and what became of it."""

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plaudit import __version__
from plaudit.core.errors import BadConfig
from plaudit.runs.checkpoints import Checkpoint, Checkpoints
from plaudit.runs.files import write_json
from plaudit.runs.folder import HOME, claim, claim_free
from plaudit.runs.provenance import FORMAT, hardware, versions
from plaudit.runs.training import METRICS, Log

KIND = "training"


class TrainingFolder:
    """One training on disk. Make it with `create` or `open`."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path, self.manifest = path, manifest

    @classmethod
    def create(
        cls, path: Path | None, *, name: str, command: str, settings: Mapping[str, Any], sources: Any
    ) -> "TrainingFolder":
        """A new training's folder, never one that holds anything; `path` None chooses runs/<date>-<name>.

        Raises BadConfig if `path` is taken, OSError if it cannot be made.
        """
        started = datetime.datetime.now().astimezone()
        place = claim(path) if path else claim_free(HOME / f"{started:%Y-%m-%d}-{name}")
        manifest = {
            "format": FORMAT,
            "kind": KIND,
            "plaudit": __version__,
            "status": "running",
            "command": command,
            "started": started.isoformat(timespec="seconds"),
            "settings": dict(settings),
            "sources": sources,
            "versions": versions(),
            "hardware": hardware(),
        }
        folder = cls(place, manifest)
        folder.save()
        return folder

    @classmethod
    def open(cls, path: Path) -> "TrainingFolder":
        """A training that is there. Raises BadConfig if the folder holds none."""
        file = path / "run.json"
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BadConfig(f"{str(path)!r} holds no training: there is no run.json in it") from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise BadConfig(f"{str(file)!r} is damaged: it is not JSON") from error
        if not isinstance(content, dict) or content.get("kind") != KIND:
            raise BadConfig(f"{str(path)!r} holds a run, but not of a training")
        if content.get("format") != FORMAT:
            raise BadConfig(f"{str(file)!r} is in a format that this version of plaudit does not know")
        return cls(path, content)

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def save(self) -> None:
        """Replace run.json."""
        write_json(self.path / "run.json", self.manifest)

    def set_status(self, status: str) -> None:
        """ "running", "finished" or "stopped"."""
        self.manifest["status"] = status
        self.save()

    def saved(self) -> int:
        """Updates that a restart would not repeat."""
        newest = Checkpoints(self.path).newest()
        return int(newest.facts["update"]) if newest else 0

    def best(self) -> Checkpoint | None:
        """The checkpoint that looks liked best."""
        return Checkpoints(self.path).best()

    def lines(self) -> list[dict[str, Any]]:
        """The log's lines, oldest first."""
        return Log(self.path / METRICS).lines()
