"""Files of token models: the folders that trainings leave and pocket models come in, and the published pickles.

A folder holds config.json (its format and all sizes), transformer.safetensors and tokenizer.safetensors, the weights by
their published names. Of a pickle nothing but tensors and plain settings are read.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from plaudit.core.errors import BadConfig
from plaudit.core.whole_files import write_whole
from plaudit.generators.llama_transformer import LlamaSizes
from plaudit.generators.mini_gpt import GptSizes
from plaudit.generators.vq_tokenizer import TokenizerSizes
from plaudit.generators.vqgan_autoencoder import AutoencoderSizes
from plaudit.rewards.checkpoint_files import fitting, read_checkpoint

S = TypeVar("S", LlamaSizes, GptSizes, TokenizerSizes, AutoencoderSizes)
N = TypeVar("N", bound=nn.Module)

CONFIG = "config.json"


class Inert:
    """Stands for an object of a training's program in a checkpoint: it keeps nothing and does nothing."""

    def __init__(self, *_: Any) -> None:
        """Takes and forgets what the object was made of."""

    def __setstate__(self, _: Any) -> None:
        """Forgets what the object knew."""


SETTINGS = (
    argparse.Namespace,
    (Inert, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"),
    (Inert, "pytorch_lightning.callbacks.lr_monitor.LearningRateMonitor"),
    (Inert, "pytorch_lightning.callbacks.lr_logger.LearningRateMonitor"),
    (Inert, "main.SetupCallback"),
    (Inert, "main.ImageLogger"),
)
"""what published checkpoints hold beside tensors: command lines, a training's callbacks; nothing of it runs"""


def read_config(folder: Path, kind: str) -> dict[str, Any]:
    """What the folder's config.json says. Raises BadConfig if there is none of this format."""
    file = folder / CONFIG
    if not file.is_file():
        raise BadConfig(f"{folder} is no folder of a token model: it has no {CONFIG}")
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"{file} is damaged: it is not JSON") from error
    said = found.get("format") if isinstance(found, dict) else None
    if said != kind:
        raise BadConfig(f"{file} does not describe a {kind}: its format is {said!r}")
    described: dict[str, Any] = found
    return described


def format_of(folder: Path) -> str | None:
    """The format, or transformers' model type, that the folder's config.json names; None if it has none."""
    try:
        found: Any = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    said = found.get("format", found.get("model_type")) if isinstance(found, dict) else None
    return said if isinstance(said, str) else None


def from_config(kind: type[S], config: Mapping[str, Any], part: str) -> S:
    """A network's sizes as the config's part of that name says them. Raises BadConfig for others than there are."""
    said, known = config.get(part), {field.name for field in fields(kind)}
    if not isinstance(said, dict) or set(said) - known:
        raise BadConfig(f"{CONFIG} must say sizes under {part!r}, of {', '.join(sorted(known))}; got {said!r}")
    plain: dict[str, Any] = {name: tuple(it) if isinstance(it, list) else it for name, it in said.items()}
    try:
        return kind(**plain)
    except TypeError as error:
        raise BadConfig(f"{CONFIG} does not say all sizes under {part!r}, or not as numbers: {error}") from error


def to_config(sizes: LlamaSizes | GptSizes | TokenizerSizes) -> dict[str, Any]:
    """What `from_config` reads."""
    return asdict(sizes)


def read_weights(folder: Path, network: str) -> tuple[dict[str, Tensor], Path]:
    """The weights of a folder's network of that name, and their file. Raises BadConfig if it is missing or damaged."""
    file = folder / f"{network}.safetensors"
    if not file.is_file():
        raise BadConfig(f"{folder} is not complete: it has no {file.name}")
    try:
        return load_file(file), file
    except safetensors.SafetensorError as error:
        raise BadConfig(f"{file} is damaged or cut short: {error}") from error


def read_published(file: str | Path, *, parts: Sequence[str], sha256: str | None = None) -> dict[str, Tensor]:
    """The tensors of a published pickle, below the first of `parts` that it has; `sha256` as in read_checkpoint."""
    return read_checkpoint(file, sha256=sha256, parts=parts, settings=SETTINGS)


def filled(build: Callable[[], N], weights: Mapping[str, Tensor], file: Path) -> N:
    """The network that `build` builds, with exactly these weights in float32.

    It is built without content, so that nothing is drawn and nothing is held twice. Raises BadConfig if the weights
    are not all of the network's own, in their shapes.
    """
    with torch.device("meta"):
        made = build()
    fit = fitting(weights, made.state_dict(), file, to="the sizes of this model")
    # Copied: a mapped file's pages are not for training.
    made.load_state_dict({name: weight.clone() for name, weight in fit.items()}, assign=True)
    return made


def count_of(weights: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered parts follow the prefix in the weights' names. Raises KeyError if there are none."""
    numbers = {name[len(prefix) :].split(".")[0] for name in weights if name.startswith(prefix)}
    if not numbers:
        raise KeyError(f"{prefix}0")
    return len(numbers)


def write_folder(
    folder: Path, config: Mapping[str, Any], networks: Mapping[str, nn.Module], dtype: torch.dtype | None
) -> None:
    """Write what `read_config` and `read_weights` read; each file whole or not at all, the config last."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, network in networks.items():
        weights = {key: weight.detach().to(dtype=dtype).contiguous() for key, weight in network.state_dict().items()}
        write_whole(folder / f"{name}.safetensors", save(weights))
    write_whole(folder / CONFIG, (json.dumps(config, indent=2) + "\n").encode())
