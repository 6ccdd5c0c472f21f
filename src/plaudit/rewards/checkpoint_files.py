"""Weights that others published as pickles (.pt, .pth): read without ever running what a pickle may ask for.

First the file's sha256 is compared with the one that its row knows, or, where none was published, with the one of this
machine's first download; only then are tensors read from it, and nothing but tensors.
"""

import json
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plaudit.core.checksums import sha256_of
from plaudit.core.errors import BadConfig
from plaudit.core.hub import commit_of
from plaudit.core.whole_files import write_whole
from plaudit.pocket.folders import user_cache

_DAMAGED = (RuntimeError, EOFError, OSError, KeyError, ValueError, IndexError, AttributeError, TypeError)
"""what reading a file raises that is no checkpoint, or only a part of one"""


def read_checkpoint(
    file: str | Path,
    *,
    sha256: str | None = None,
    parts: Sequence[str] = ("state_dict", "model"),
    settings: Sequence[Any] = (),
) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU; those below the first of `parts` that it has, if any.

    `sha256`: what the file must have; None trusts a first download of the hub, and any other file as it is.
    `settings`: classes that may stand beside the tensors, or (stand-in, "its.name"), as torch's safe_globals takes
    them. Raises BadConfig if the file is another than that, is damaged, or holds anything but tensors.
    """
    file = Path(file)
    if not file.is_file():
        raise BadConfig(f"there is no checkpoint {file}")
    check_sum(file, sha256)
    try:
        # Mapped instead of read, where the format allows it: half the memory while loading.
        with torch.serialization.safe_globals(list(settings)):
            found = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except pickle.UnpicklingError as error:
        raise BadConfig(
            f"{file} was not opened: it holds more than tensors, which could run code on this machine; "
            "ask whoever made it for safetensors"
        ) from error
    except _DAMAGED as error:
        raise BadConfig(f"{file} is damaged or not a checkpoint; delete it and fetch it again") from error
    return _tensors(found, file, parts)


def check_sum(file: Path, sha256: str | None) -> None:
    """Raise BadConfig if the file's content is not what it must be; remember that of a first download."""
    if sha256 is None and commit_of(file.parent) is None:
        return
    found = sha256_of(file)
    wanted = sha256 or _remembered(file, found)
    if found != wanted:
        said = "it was published with" if sha256 else "it had when this machine first downloaded it"
        raise BadConfig(
            f"{file} was not opened: its sha256 is {found}, and {said} {wanted}; delete it and fetch it again"
        )


def fitting(
    weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], file: Path, *, to: str = "its config.json"
) -> dict[str, Tensor]:
    """The weights in float32, if they are exactly those wanted, in the same shapes; `to` says by what.

    Raises BadConfig if not.
    """
    missing, unknown = sorted(wanted.keys() - weights.keys()), sorted(weights.keys() - wanted.keys())
    if missing or unknown:
        raise BadConfig(
            f"{file} does not fit {to}: {len(missing)} weights missing {missing[:2]}, "
            f"{len(unknown)} unknown {unknown[:2]}"
        )
    for name, tensor in weights.items():
        if tensor.shape != wanted[name].shape:
            raise BadConfig(
                f"{file} does not fit {to}: {name} is {tuple(tensor.shape)}, wanted {tuple(wanted[name].shape)}"
            )
    return {name: tensor.float() for name, tensor in weights.items()}


def _tensors(found: object, file: Path, parts: Sequence[str]) -> dict[str, Tensor]:
    if isinstance(found, dict):
        inner = next((found[key] for key in parts if isinstance(found.get(key), dict)), found)
        if inner and all(isinstance(tensor, Tensor) for tensor in inner.values()):
            return {str(name): tensor for name, tensor in inner.items()}
    raise BadConfig(f"{file} holds no weights by name, so nothing can be loaded from it")


def _remembered(file: Path, found: str) -> str:
    """The sha256 of the first download of this file at this commit; `found` if this is it."""
    memory = user_cache() / "checkpoint_sums.json"
    name = "/".join(file.parts[-4:])
    try:
        known = json.loads(memory.read_text(encoding="utf-8")) if memory.is_file() else {}
        wanted = known.get(name)
    except (OSError, ValueError, AttributeError) as error:
        raise BadConfig(f"{memory}, which remembers what was downloaded, cannot be read; delete it") from error
    if wanted is None:
        # A cache that cannot be written means only that nothing is remembered.
        with suppress(OSError):
            write_whole(memory, json.dumps({**known, name: found}, indent=2, sort_keys=True).encode())
        return found
    return str(wanted)
