"""Reads the parts of a published pipeline's folder: what model_index.json names, from safetensors alone."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from plaudit.core.errors import BadConfig

LIBRARIES = ("diffusers", "transformers")
WITHOUT_WEIGHTS = ("tokenizer", "scheduler")
"""how the names of parts that are not networks begin"""


def load_parts(
    folder: Path, names: Sequence[str], *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> dict[str, Any]:
    """The parts by name, networks on the device and in the precision asked for, float32 unless told otherwise.

    Raises BadConfig if the folder does not hold them.
    """
    classes = _read_index(folder, names)
    parts = {name: _load_part(folder, name, classes[name], dtype or torch.float32) for name in names}
    for name, part in parts.items():
        if not name.startswith(WITHOUT_WEIGHTS):
            part.to(device)
    return parts


def pipeline_of(folder: Path) -> str:
    """The class of the pipeline that the folder holds. Raises BadConfig if it holds none."""
    return str(_read_file(folder).get("_class_name", "folder of no pipeline"))


def _read_file(folder: Path) -> dict[str, Any]:
    file = folder / "model_index.json"
    if not file.is_file():
        raise BadConfig(f"{folder} is not a generator folder: it has no model_index.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def _read_index(folder: Path, names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Library and class of each part, from model_index.json."""
    index = _read_file(folder)
    missing = [name for name in names if not isinstance(index.get(name), list)]
    if missing:
        raise BadConfig(f"{folder} is a {pipeline_of(folder)} and has no {', '.join(missing)}")
    classes = {name: (str(index[name][0]), str(index[name][1])) for name in names}
    for name, (library, kind) in classes.items():
        if library not in LIBRARIES:
            raise BadConfig(f"{folder}: {name} is {library}.{kind}; only {' and '.join(LIBRARIES)} are loaded")
    return classes


def _load_part(folder: Path, name: str, kind: tuple[str, str], dtype: torch.dtype) -> Any:
    import diffusers
    import transformers

    part = getattr({"diffusers": diffusers, "transformers": transformers}[kind[0]], kind[1])
    settings: dict[str, Any] = {"local_files_only": True}
    if not name.startswith(WITHOUT_WEIGHTS):
        weights = list((folder / name).glob("*.safetensors"))
        if weights and all(".fp16." in file.name for file in weights):
            settings["variant"] = "fp16"
        settings["use_safetensors"] = True
        # The two libraries name the precision differently.
        settings["torch_dtype" if kind[0] == "diffusers" else "dtype"] = dtype
    try:
        return part.from_pretrained(str(folder / name), **settings)
    except OSError as error:
        raise BadConfig(f"{folder}: {name} cannot be read: {str(error).splitlines()[0]}") from error
