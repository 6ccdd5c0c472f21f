"""Reads the parts of a published pipeline's folder: what model_index.json names, from safetensors alone."""

import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from plaudit.core.errors import BadConfig, MissingExtra

LIBRARIES = ("diffusers", "transformers")
WITHOUT_WEIGHTS = ("tokenizer", "scheduler")
"""how the names of parts that are not networks begin"""
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")
SENTENCEPIECE = ("sentencepiece", "protobuf")
"""what reads a tokenizer that is published as a SentencePiece model alone"""


def load_parts(
    folder: Path, names: Sequence[str], *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> dict[str, Any]:
    """The parts by name, networks on the device and in the precision asked for, float32 unless told otherwise.

    Raises BadConfig if the folder does not hold them, MissingExtra if a tokenizer needs another package.
    """
    classes = _read_classes(folder, names)
    parts = {name: _load_part(folder, name, classes[name], dtype or torch.float32) for name in names}
    for name, part in parts.items():
        if not name.startswith(WITHOUT_WEIGHTS):
            part.to(device)
    return parts


def pipeline_of(folder: Path) -> str:
    """The class of the pipeline that the folder holds. Raises BadConfig if it holds none."""
    return str(read_index(folder).get("_class_name", "folder of no pipeline"))


def read_index(folder: Path) -> dict[str, Any]:
    """What the folder's model_index.json says: library and class by part, and the pipeline's settings.

    Raises BadConfig if there is none.
    """
    file = folder / "model_index.json"
    if not file.is_file():
        raise BadConfig(f"{folder} is not a generator folder: it has no model_index.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def _read_classes(folder: Path, names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Library and class of each part, from model_index.json."""
    index = read_index(folder)
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
        # Not ".fp16.": a sharded file is called model.fp16-00001-of-00002.safetensors.
        if weights and all(".fp16" in file.name for file in weights):
            settings["variant"] = "fp16"
        settings["use_safetensors"] = True
        # The two libraries name the precision differently.
        settings["torch_dtype" if kind[0] == "diffusers" else "dtype"] = dtype
    if name.startswith("tokenizer"):
        _check_tokenizer(folder, name)
    try:
        return part.from_pretrained(str(folder / name), **settings)
    except OSError as error:
        raise BadConfig(f"{folder}: {name} cannot be read: {str(error).splitlines()[0]}") from error


def _check_tokenizer(folder: Path, name: str) -> None:
    held = [file for file in TOKENIZER_FILES if (folder / name / file).is_file()]
    if not held:
        # The library would make an empty tokenizer, to which all prompts are one.
        raise BadConfig(f"{folder}: {name} has none of {', '.join(TOKENIZER_FILES)}")
    if not all(file.endswith(".model") for file in held):
        return
    for package in SENTENCEPIECE:
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError as error:
            raise MissingExtra(
                f"{folder}: {name} is a SentencePiece model, which needs the package {package!r}. "
                f"Install it with: pip install {' '.join(SENTENCEPIECE)}"
            ) from error
