"""What a detector of objects promises, and how one is loaded. To add one, write a class and a row in its table."""

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.suites.detectors_table import DETECTORS, FAMILIES

Box = tuple[float, float, float, float]
"""left, top, right and bottom edge in pixels, x to the right and y downwards"""


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One object that was found in an image."""

    label: str
    """one of those that were asked for, as it was spelt there"""
    score: float
    """how sure the detector is, in [0, 1]"""
    box: Box
    """inside the image"""
    mask: Tensor | None = None
    """(H, W) bool, which pixels of the image are the object's; None if the detector does not say"""


class Detector(Protocol):
    """Finds objects.

    images   (B, 3, H, W), floating point, in [0, 1], any H and W
    labels   B lists of what to look for, each in its own image
    returns  B lists, the surest detection first; of labels that were asked for only

    What is found in an image depends on that image and its labels only. A detector resizes and normalises for itself
    and moves its model to the images' device. It leaves out only what is too unsure for any use.
    """

    def __call__(self, images: Tensor, labels: Sequence[Sequence[str]]) -> list[list[Detection]]: ...


def load_detector(name_or_path: str, *, device: torch.device | str | None = None) -> Detector:
    """The detector of a row's name or hub id, or of a folder in a format of FAMILIES.

    `device` is where the model is put first; it follows the images afterwards. Raises UnknownName with the nearest
    name, or BadConfig.
    """
    if (entry := DETECTORS.row_of(name_or_path)) is not None:
        made: Detector = entry.build(device=device)
        return made
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return _load_folder(folder, device)
    found: Detector = DETECTORS.find(name_or_path).build(device=device)
    return found


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes, 0 for empty ones."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(0.0, width) * max(0.0, height)
    union = area(first) + area(second) - shared
    return shared / union if union > 0 else 0.0


def area(box: Box) -> float:
    """Of a box, in square pixels."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def centre(box: Box) -> tuple[float, float]:
    """Of a box, (x, y) in pixels."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _load_folder(folder: Path, device: torch.device | str | None) -> Detector:
    config = folder / "config.json"
    kind = json.loads(config.read_text()).get("model_type") if config.is_file() else None
    if kind not in FAMILIES:
        known = " or ".join(map(repr, FAMILIES))
        raise BadConfig(f"{folder} holds no detector: its config.json must say model_type {known}, got {kind!r}")
    module, name = FAMILIES[kind].split(":")
    made: Detector = getattr(importlib.import_module(module), name)(folder, device=device)
    return made
