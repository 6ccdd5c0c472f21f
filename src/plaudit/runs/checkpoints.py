"""What a training must not lose: its state, whole files only, the last few and the best.

    checkpoints/000120.safetensors   all tensors of the state after update 120, with a line of metadata
    checkpoints/best.safetensors     the state with the highest value to select by

A file is written beside its name, flushed, and moved there, so that a stop at any moment, even of the machine, leaves
the one before readable.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import BadConfig
from plaudit.core.whole_files import write_whole

if TYPE_CHECKING:
    from torch import Tensor

BEST = "best.safetensors"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A state and what is known of it."""

    file: Path
    tensors: "dict[str, Tensor]"
    facts: dict[str, Any]


class Checkpoints:
    """The checkpoints below a run's folder."""

    def __init__(self, folder: Path, *, keep: int = 3) -> None:
        """Raises BadConfig unless at least one is kept."""
        if keep < 1:
            raise BadConfig(f"at least 1 checkpoint must be kept, got {keep}")
        self.folder, self.keep = folder / "checkpoints", keep

    def save(
        self, number: int, tensors: "Mapping[str, Tensor]", facts: Mapping[str, Any], *, value: float | None = None
    ) -> Path:
        """Keep the state after update `number`, and as the best one if its `value` is higher than that one's.

        Older ones beyond the last few are deleted afterwards. Raises OSError if it cannot be written; then all others
        are still there.
        """
        from safetensors.torch import save

        told = {"facts": json.dumps({**facts, "update": number, "value": value})}
        content = save(dict(tensors), metadata=told)
        file = self.folder / f"{number:06d}.safetensors"
        write_whole(file, content)
        if value is not None and value > self._best_value():
            write_whole(self.folder / BEST, content)
        for old in self.numbered()[: -self.keep]:
            old.unlink(missing_ok=True)
        return file

    def numbered(self) -> list[Path]:
        """The files but for the best, oldest first."""
        return sorted(file for file in self.folder.glob("*.safetensors") if file.stem.isdigit())

    def newest(self) -> Checkpoint | None:
        """The newest that can be read; a damaged one is passed over. None if there is none."""
        for file in reversed(self.numbered()):
            found = _read(file)
            if found is not None:
                return found
        return None

    def best(self) -> Checkpoint | None:
        """The one with the highest value, None if no value was ever given."""
        return _read(self.folder / BEST)

    def _best_value(self) -> float:
        best = _facts(self.folder / BEST)
        return float(best["value"]) if best is not None else float("-inf")


def _read(file: Path) -> Checkpoint | None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    facts = _facts(file)
    if facts is None:
        return None
    try:
        return Checkpoint(file=file, tensors=load_file(file), facts=facts)
    except (OSError, SafetensorError):
        return None


def _facts(file: Path) -> dict[str, Any] | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as opened:
            told = (opened.metadata() or {})["facts"]
        facts: dict[str, Any] = json.loads(told)
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError):
        return None
    return facts
