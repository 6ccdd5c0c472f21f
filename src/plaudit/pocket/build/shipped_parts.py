"""Models that this installation holds, as parts of a build: one model is trained without those that it starts from."""

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from plaudit.core.errors import BadConfig
from plaudit.pocket.folders import WEIGHTS, pocket_folder

PARTS: Mapping[str, tuple[str, str]] = {
    "vae": ("pocket-base", "vae"),
    "text_encoder": ("pocket-base", "text_encoder"),
    "tokenizer": ("pocket-base", "tokenizer"),
    "base_unet": ("pocket-base", "unet"),
    "t5": ("pocket-pixart", "text_encoder"),
    "t5_tokenizer": ("pocket-pixart", "tokenizer"),
    "clip": ("pocket-clip", ""),
    "imagereward": ("pocket-imagereward", ""),
    "vqa": ("pocket-vqa", ""),
    "vq.safetensors": ("pocket-llamagen", "tokenizer.safetensors"),
}
"""of a work folder: whose it is, and where it lies in that model's folder"""


def take_shipped(work_dir: Path, *, to_train: Collection[str], root: Path = WEIGHTS) -> list[str]:
    """Copy what the work folder lacks from the models below `root`, and return the copied parts' names.

    Nothing is taken of the models `to_train`, and nothing of those that are not there. Raises BadConfig if the work
    folder cannot be written.
    """
    taken = []
    for part, (model, inside) in PARTS.items():
        if model in to_train or not (root / model).is_dir() or (work_dir / part).exists():
            continue
        source, target = pocket_folder(model, root=root) / inside, work_dir / part
        try:
            work_dir.mkdir(parents=True, exist_ok=True)
            _copy(source, target)
        except OSError as error:
            raise BadConfig(
                f"{part} cannot be copied into {work_dir}: {error.strerror}; name another --work-dir"
            ) from error
        taken.append(part)
    return taken


def _copy(source: Path, target: Path) -> None:
    """Whole or not at all; links become files."""
    part = target.with_name(f"{target.name}.part")
    if source.is_dir():
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(source, part)
    else:
        shutil.copyfile(source, part)
    part.rename(target)
