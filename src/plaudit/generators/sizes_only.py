"""Generators without weights: networks on the "meta" device, which has sizes and no memory, from configs alone."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from plaudit.core.errors import BadConfig
from plaudit.generators.decoding import LatentGenerator
from plaudit.generators.parts import LIBRARIES, WITHOUT_WEIGHTS, load_parts, pipeline_of, read_index
from plaudit.generators.random_weights import random_generator, random_network
from plaudit.generators.shapes.models import SHAPES
from plaudit.generators.shapes.networks import Network, Scale
from plaudit.generators.table import FAMILIES, GENERATORS, draws_tokens
from plaudit.pocket.folders import POCKET_MODELS, pocket_folder

META = torch.device("meta")


def generator_without_weights(
    name_or_folder: str, *, dtype: torch.dtype, steps: int | None = None, scale: Scale = "real"
) -> LatentGenerator:
    """The generator of a table row or of a folder in a published layout; `steps` as the row says unless given.

    `scale` is of rows that are not in the package. Raises UnknownName, or BadConfig for what has no such networks.
    """
    entry = GENERATORS.row_of(name_or_folder)
    if entry is not None and entry.name in SHAPES:
        made: Any = random_generator(entry.name, device=META, dtype=dtype, scale=scale, steps=steps)
        return _checked(made, name_or_folder)
    if draws_tokens(name_or_folder):
        raise BadConfig(
            f"{name_or_folder!r} draws token by token, and the memory of such models is not planned yet; take fewer "
            "images at once if it does not fit"
        )
    told = {"steps": 1, "guidance": 1.0}
    folder = Path(name_or_folder).expanduser()
    if entry is not None or not folder.is_dir():
        entry = entry or GENERATORS.find(name_or_folder)
        told |= {key: entry.arguments[key] for key in told if key in entry.arguments}
        if entry.name not in POCKET_MODELS:
            raise BadConfig(f"the networks of {entry.name!r} are not known before its weights are here")
        folder = pocket_folder(entry.name)
    return _of_folder(folder, dtype, told | ({} if steps is None else {"steps": steps}))


def _of_folder(folder: Path, dtype: torch.dtype, told: dict[str, Any]) -> LatentGenerator:
    pipeline = pipeline_of(folder)
    if pipeline not in FAMILIES:
        raise BadConfig(f"{folder} is a {pipeline}; the families that can be planned are {', '.join(FAMILIES)}")
    path, _, family = FAMILIES[pipeline].partition(":")
    module = import_module(path)
    index = read_index(folder)
    names = [
        *module.PARTS,
        *(name for name in getattr(module, "T5_PARTS", ()) if index.get(name, [None])[0] in LIBRARIES),
    ]
    plain = [name for name in names if name.startswith(WITHOUT_WEIGHTS)]
    parts = load_parts(folder, plain)
    for name in names:
        if name not in plain:
            parts[name] = _network(folder / name, index[name], dtype)
    return _checked(getattr(module, family)(parts, **told), str(folder))


def _network(folder: Path, kind: list[str], dtype: torch.dtype) -> Any:
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise BadConfig(f"{folder / 'config.json'} cannot be read: {error}") from error
    settings = {key: value for key, value in config.items() if not key.startswith("_")}
    if kind[0] not in LIBRARIES:
        raise BadConfig(f"{folder} is {'.'.join(kind)}; only {' and '.join(LIBRARIES)} are known")
    network = Network(library=kind[0], kind=kind[1], settings=settings, tiny={})  # type: ignore[arg-type]
    return random_network(network, settings, device=META, dtype=dtype)


def _checked(made: Any, name: str) -> LatentGenerator:
    if not isinstance(made, LatentGenerator):
        raise BadConfig(f"{name} has no denoiser and autoencoder whose memory could be planned")
    return made
