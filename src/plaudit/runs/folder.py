"""A run's folder: pictures, run.json with all that repeating the run takes, and the report.

    images/    the best picture of each image, native size, provenance inside
    before/    the picture before any step
    strips/    the picture at several steps, side by side
    run.json   settings, sources, versions, hardware, one record per finished image
    report.html

run.json is replaced as a whole after every finished batch, pictures first, so that a run that was stopped at
any moment can be continued from it.
"""

import datetime
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit import __version__
from plaudit.core.errors import BadConfig, PlauditError
from plaudit.core.stops import full_memory, mendable, what_stopped
from plaudit.core.whole_files import write_whole
from plaudit.runs.files import slug, write_json
from plaudit.runs.provenance import FORMAT, hardware, png_bytes, versions
from plaudit.runs.records import ImageRecord, PlanOf, record_from_json, record_of

if TYPE_CHECKING:
    from plaudit.methods.reno import Result

HOME = Path("runs")
"""where runs go that are not told where"""


class RunStopped(PlauditError):
    """A run ended before its time; what it finished is kept."""


class RunFolder:
    """One run on disk. Make it with `create` or `open`."""

    def __init__(self, path: Path, manifest: dict[str, Any], records: Sequence[ImageRecord]) -> None:
        self.path = path
        self.manifest = manifest
        self.records = list(records)

    @classmethod
    def create(cls, path: Path | None, *, command: str, settings: Mapping[str, Any], sources: Any) -> "RunFolder":
        """A new run's folder, never one that holds anything; `path` None chooses runs/<date>-<prompt>.

        command: what the user typed; settings: what decides the result, with the prompts; sources: names,
        revisions and checksums of the model and the rewards. Raises BadConfig if `path` is taken, OSError if
        it cannot be made.
        """
        started = datetime.datetime.now().astimezone()
        name = f"{started:%Y-%m-%d}-{slug(str(settings['prompts'][0]))}"
        folder = cls(claim(path) if path else claim_free(HOME / name), {}, ())
        folder.manifest = {
            "format": FORMAT,
            "plaudit": __version__,
            "status": "running",
            "command": command,
            "started": started.isoformat(timespec="seconds"),
            "seconds": 0.0,
            "settings": dict(settings),
            "sources": sources,
            "versions": versions(),
            "hardware": hardware(),
        }
        folder.save()
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """A run that is there. Raises BadConfig if the folder holds none."""
        file = path / "run.json"
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise BadConfig(f"{str(path)!r} holds no run: there is no run.json in it") from error
        except NotADirectoryError as error:
            raise BadConfig(f"{str(path)!r} is a file; name the folder of a run") from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise BadConfig(f"{str(file)!r} is damaged: it is not JSON") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise BadConfig(f"{str(file)!r} is in a format that this version of plaudit does not know")
        records = [record_from_json(record) for record in content.pop("images", [])]
        return cls(path, content, records)

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def finished_rows(self) -> set[int]:
        """Rows that need not be drawn again: recorded, and the pictures still there."""
        return {r.row for r in self.records if (self.path / r.file).exists() and (self.path / r.before_file).exists()}

    def keep(
        self, results: Sequence["Result"], *, seconds: float = 0.0, plan_of: PlanOf | None = None
    ) -> list[ImageRecord]:
        """Write finished images, then their records; `seconds` is how long they took together.

        `plan_of` tells what a picture was drawn after, for a model that writes plans.
        """
        records = [self._keep_one(result, plan_of) for result in results]
        new = {record.row for record in records}
        self.records = sorted([r for r in self.records if r.row not in new] + records, key=lambda r: r.row)
        self.manifest["seconds"] = round(self.manifest["seconds"] + seconds, 3)
        self.save()
        return records

    def save(self) -> None:
        """Replace run.json."""
        write_json(self.path / "run.json", {**self.manifest, "images": [r.to_json() for r in self.records]})

    def set_status(self, status: str) -> None:
        """ "running", "finished" or "stopped"."""
        self.manifest["status"] = status
        self.save()

    @contextmanager
    def keeping_what_is_finished(self, total: int, *, less_memory: str = "") -> Iterator[None]:
        """While the run goes on: a stop that the user can mend becomes RunStopped, with how to continue.

        `less_memory`: what is said behind that command if a GPU's memory was too small, such as more flags.
        """
        try:
            yield
        except mendable() as error:
            # The disk may be the very reason, and run.json on it is whole already.
            with suppress(OSError):
                self.set_status("stopped")
            done = len(self.finished_rows())
            raise RunStopped(
                f"{what_stopped(error)}; {done} of {total} images are finished and kept in {str(self.path)!r}. "
                f"Continue with: plaudit generate --resume {shlex.quote(str(self.path))}"
                + (less_memory if isinstance(error, full_memory()) else "")
            ) from error

    def _keep_one(self, result: "Result", plan_of: PlanOf | None) -> ImageRecord:
        import torch

        name = f"{result.row:04d}-{slug(result.prompt)}.png"
        strip = torch.cat([image for _, image in result.strip], dim=2) if result.strip else None
        strip_file = f"strips/{name}" if strip is not None else None
        record = record_of(result, name=name, strip_file=strip_file, plan_of=plan_of)
        write_whole(self.path / record.before_file, png_bytes(result.first_image))
        if strip is not None:
            write_whole(self.path / f"strips/{name}", png_bytes(strip))
        write_whole(self.path / record.file, png_bytes(result.image, self._provenance(record)))
        return record

    def _provenance(self, record: ImageRecord) -> dict[str, Any]:
        settings = {k: v for k, v in self.manifest["settings"].items() if k != "prompts"}
        return {
            "format": FORMAT,
            "plaudit": __version__,
            "prompt": record.prompt,
            "prompt_index": record.prompt_index,
            "image_index": record.image_index,
            "settings": settings,
            "sources": self.manifest["sources"],
            "versions": self.manifest["versions"],
            "best_step": record.best_step,
            "first_total": record.first_total,
            "total": record.total,
            "first_parts": record.first_parts,
            "parts": record.parts,
            **({} if record.plan is None else {"plan": record.plan}),
        }


def claim(path: Path) -> Path:
    """The folder, made now; an empty one will do."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise BadConfig(f"{str(path)!r} is a file, or lies below one; choose another --out") from error
    if (path / "run.json").exists():
        raise BadConfig(f"{str(path)!r} already holds a run; choose another --out, or continue it with --resume {path}")
    if any(path.iterdir()):
        raise BadConfig(f"{str(path)!r} is not empty; choose another --out")
    return path


def claim_free(path: Path) -> Path:
    """The folder, or the first free of -2, -3, ...; two runs that start together get two folders."""
    number = 1
    while True:
        candidate = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            candidate.mkdir(parents=True)
        except FileExistsError:
            number += 1
            continue
        return candidate
