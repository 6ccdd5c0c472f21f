"""What a reproduction keeps of a training in its folder, and how it is found again.

The log and the checkpoints of any training; its looks, a JSON file each with the pictures that were seen beside it;
result.json when it is finished. What a measure found of a finished training's pictures has a file of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.core.whole_files import write_whole
from plaudit.runs.files import read_json, write_json
from plaudit.runs.provenance import png_bytes
from plaudit.runs.training import METRICS, Log

if TYPE_CHECKING:
    from torch import Tensor

LOOKS, RESULT = "looks", "result.json"
Found = dict[str, Any]
"""results, as JSON types"""


def keep_look(place: Path, done: int, found: Mapping[str, Any], pictures: "Tensor") -> None:
    """Keep what was found after so many updates; `pictures` is a sheet of some, (3, H, W) in [0, 1]."""
    file = place / LOOKS / f"{done:06d}.json"
    write_whole(file.with_suffix(".png"), png_bytes(pictures))
    write_json(file, found)


def looks_in(place: Path) -> Found:
    """What the looks found, by the number of updates."""
    return {str(int(file.stem)): read_json(file) for file in sorted((place / LOOKS).glob("*.json"))}


def updates_in(place: Path) -> list[Found]:
    """The lines of the log that are about updates."""
    return [line for line in Log(place / METRICS).lines() if line["update"] > 0]


def curves_of(updates: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, list[Any]]:
    """Numbers of the updates, by their names; None where an update lacks one."""
    return {name: [line.get(name) for line in updates] for name in names}


def measured_in(files: Mapping[str, Path]) -> dict[str, Found]:
    """What the measures found that are there, by their names, from the files of all."""
    found = {name: read_json(file) for name, file in files.items()}
    return {name: one for name, one in found.items() if one is not None}


def read_training(place: Path, files: Mapping[str, Path]) -> Found | None:
    """A finished training with all its measures, from the files of all; None if anything is missing."""
    trained, measured = read_json(place / RESULT), measured_in(files)
    if trained is None or len(measured) < len(files):
        return None
    return {**trained, "measured": measured}


def made_once(file: Path, make: Callable[[], Found]) -> Found:
    """What the JSON file holds; made and kept at the first call."""
    found: Found | None = read_json(file)
    if found is None:
        found = make()
        write_json(file, found)
    return found
