"""Mask2Former (Cheng et al. 2022) as a detector: objects of COCO's classes with their masks.

The steps from queries to instances are the published instance segmentation's: the surest hundred pairs of query and
class, each scored by the class's probability times the mean probability inside its mask, boxes drawn around masks.
Pictures are read at the published test size, 800 pixels for the short side and at most 1333 for the long one, and
padded below and to the right to whole blocks of 32, whatever size the folder's preprocessor file names. Preprocessing
is a few lines of torch, so that no package for images is needed; resizing is Pillow's up to whole bytes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.rewards.preprocess import normalise
from plaudit.suites.detectors import Detection

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
NUM_CANDIDATES = 100
"""pairs of query and class that are looked at in a picture, as published"""
FLOOR = 0.05
"""what is less sure than this is of no use to anybody"""

_OTHER_NAMES = (
    ("motorcycle", "motorbike"),
    ("airplane", "aeroplane"),
    ("couch", "sofa"),
    ("potted plant", "pottedplant"),
    ("dining table", "diningtable"),
    ("tv", "tvmonitor"),
    ("computer mouse", "mouse"),
    ("tv remote", "remote"),
    ("computer keyboard", "keyboard"),
    ("hair drier", "hair dryer"),
)
"""one class under the names that benchmarks and checkpoints give it"""


@dataclass(frozen=True, kw_only=True)
class ReadingSize:
    """How large a picture is read."""

    short: int = 800
    """of the short side, in pixels"""
    long: int = 1333
    """at most, of the long side; the picture is made smaller until it fits"""
    block: int = 32
    """height and width are padded to multiples of this"""

    def of(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that a picture is resized to, before the padding."""
        short, long = min(height, width), max(height, width)
        scale = min(self.short / short, self.long / long)
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


class Mask2Former:
    """Objects of a fixed set of classes. Keeps the Detector contract."""

    def __init__(
        self,
        model: Any,
        *,
        size: ReadingSize | None = None,
        normalisation: tuple[Sequence[float], Sequence[float]] = (IMAGENET_MEAN, IMAGENET_STD),
        at_once: int = 4,
    ) -> None:
        """`normalisation`: the channels' mean and spread; `at_once`: images that the model sees together."""
        self.model = model.eval().requires_grad_(False)
        self.size = size or ReadingSize()
        self.at_once = at_once
        self._mean, self._std = normalisation
        self._classes = {_plain(name): int(index) for index, name in model.config.id2label.items()}

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, size: ReadingSize | None = None, device: torch.device | str | None = None
    ) -> Self:
        """The detector of a Mask2FormerForUniversalSegmentation folder. Raises BadConfig if it does not hold one."""
        from transformers import Mask2FormerForUniversalSegmentation

        check_folder(Path(folder), "mask2former")
        model, loaded = Mask2FormerForUniversalSegmentation.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
        )
        if missing := sorted(loaded["missing_keys"]):
            raise BadConfig(
                f"{folder} lacks {len(missing)} weights of its config.json's model, {missing[0]} among them"
            )
        return cls(model.to(device=device), size=size, normalisation=read_normalisation(Path(folder)))

    def class_of(self, label: str) -> int:
        """The number of a label's class, under any name that it goes by. Raises BadConfig if there is none."""
        label = _plain(label)
        names = [label, *(name for group in _OTHER_NAMES if label in group for name in group)]
        for name in names:
            if name in self._classes:
                return self._classes[name]
        raise BadConfig(
            f"this detector has no class {label!r}, it knows {len(self._classes)} such as "
            f"{', '.join(list(self._classes)[:3])}; take one that finds anything with a name: owlv2-base"
        )

    @torch.no_grad()
    def __call__(self, images: Tensor, labels: Sequence[Sequence[str]]) -> list[list[Detection]]:
        """The surest hundred objects of each image, of its labels. Raises BadConfig for a label without a class."""
        wanted = [{self.class_of(label): label for label in asked} for asked in labels]
        parameter = next(self.model.parameters())
        if parameter.device != images.device:
            self.model.to(images.device)
        found: list[list[Detection]] = []
        for part, asked in zip(images.split(self.at_once), _chunks(wanted, self.at_once), strict=True):
            pixels, height, width = self.preprocess(part)
            seen = self.model(pixel_values=pixels.to(parameter.dtype))
            masks = F.interpolate(
                seen.masks_queries_logits.float(), pixels.shape[-2:], mode="bilinear", align_corners=False
            )[..., :height, :width]
            for classes, mask_QHW, known in zip(seen.class_queries_logits.float(), masks, asked, strict=True):
                found.append(_instances(classes, mask_QHW, known, images.shape[-2:]))
        return found

    def preprocess(self, images: Tensor) -> tuple[Tensor, int, int]:
        """Pixels (B, 3, H', W') for the model, and the height and width in them that are picture and not padding."""
        height, width = self.size.of(*images.shape[-2:])
        images = images.float()
        if (height, width) != images.shape[-2:]:
            images = F.interpolate(images, (height, width), mode="bilinear", antialias=True, align_corners=False)
        below, right = (-height) % self.size.block, (-width) % self.size.block
        return F.pad(normalise(images, self._mean, self._std), (0, right, 0, below)), height, width


def load_mask2former(folder: Path, *, device: torch.device | str | None = None) -> Mask2Former:
    """A table row's detector."""
    return Mask2Former.from_pretrained(folder, device=device)


def check_folder(folder: Path, kind: str) -> None:
    """Raise BadConfig if the folder lacks the settings or the weights of a model of that kind."""
    config = folder / "config.json"
    got = json.loads(config.read_text()).get("model_type") if config.is_file() else None
    if got != kind:
        raise BadConfig(f"{folder} holds no {kind}: its config.json must say model_type {kind!r}, got {got!r}")
    if not any(folder.glob("model*.safetensors")):
        raise BadConfig(f"{folder} has no weights: it needs a model.safetensors")


def read_normalisation(folder: Path) -> tuple[Sequence[float], Sequence[float]]:
    """The channels' mean and spread that the folder's preprocessor file says, else ImageNet's."""
    file = folder / "preprocessor_config.json"
    settings = json.loads(file.read_text()) if file.is_file() else {}
    return settings.get("image_mean", IMAGENET_MEAN), settings.get("image_std", IMAGENET_STD)


def _instances(
    classes_QC: Tensor, masks_QHW: Tensor, known: dict[int, str], size: tuple[int, int] | torch.Size
) -> list[Detection]:
    """The detections of one picture, from its queries' logits of classes (the last is "nothing") and of masks."""
    probability = classes_QC.softmax(dim=-1)[:, :-1]
    best = probability.flatten().topk(min(NUM_CANDIDATES, probability.numel()))
    found = []
    for score, at in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        query, kind = divmod(at, probability.shape[1])
        # The mask can only lower the score: what is too unsure already needs no full-size mask.
        if kind not in known or score < FLOOR:
            continue
        logits = F.interpolate(masks_QHW[query][None, None], tuple(size), mode="bilinear", align_corners=False)[0, 0]
        mask = logits > 0
        score *= float((logits.sigmoid() * mask).sum() / (mask.sum() + 1e-6))
        if score >= FLOOR:
            found.append(Detection(label=known[kind], score=min(score, 1.0), box=_around(mask), mask=mask.cpu()))
    return sorted(found, key=lambda detection: -detection.score)


def _around(mask_HW: Tensor) -> tuple[float, float, float, float]:
    """The smallest box that holds all of a mask that is not empty."""
    rows, columns = mask_HW.any(1).nonzero().flatten(), mask_HW.any(0).nonzero().flatten()
    return float(columns[0]), float(rows[0]), float(columns[-1]) + 1, float(rows[-1]) + 1


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def _chunks(rows: list[dict[int, str]], size: int) -> list[list[dict[int, str]]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
