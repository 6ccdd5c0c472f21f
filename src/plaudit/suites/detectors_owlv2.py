"""OWLv2 (Minderer et al. 2023) as a detector: anything that has a name, without masks.

A picture is padded with black below and to the right until it is square, as in the authors' code, and read at the
checkpoint's own size; each label is asked for as "a photo of a {label}". A box is its likeliest label's, with that
label's probability, as in the model library's own reading. In addition, of boxes of one label that nearly coincide,
only the surest is kept, since the model has no other way to say that two boxes are one object; and what lies in the
padding alone is left out. Preprocessing is a few lines of torch.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.rewards.preprocess import CLIP_MEAN, CLIP_STD, normalise
from plaudit.suites.detectors import Box, Detection, area, overlap
from plaudit.suites.detectors_mask2former import check_folder

FLOOR = 0.05
MAX_OVERLAP = 0.5
"""boxes of one label that overlap more are one object"""
NUM_CANDIDATES = 300
"""boxes of a picture that are looked at, the surest ones"""


class Owlv2:
    """Objects of any name. Keeps the Detector contract."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        rivals: Sequence[str] = (),
        normalisation: tuple[Sequence[float], Sequence[float]] = (CLIP_MEAN, CLIP_STD),
        at_once: int = 4,
    ) -> None:
        """`rivals`: names that boxes may be of besides those asked for, so that a cat is not half a dog.

        `at_once`: images that the model sees together.
        """
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.rivals = tuple(rivals)
        self.at_once = at_once
        self._mean, self._std = normalisation
        self._names: dict[str, Tensor] = {}

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, rivals: Sequence[str] = (), device: torch.device | str | None = None
    ) -> Self:
        """The detector of an Owlv2ForObjectDetection folder. Raises BadConfig if it does not hold one."""
        from transformers import CLIPTokenizer, Owlv2ForObjectDetection

        folder = Path(folder)
        check_folder(folder, "owlv2")
        if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
            raise BadConfig(f"{folder} has no tokenizer: it needs tokenizer.json or vocab.json")
        model, loaded = Owlv2ForObjectDetection.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
        )
        if missing := sorted(loaded["missing_keys"]):
            raise BadConfig(
                f"{folder} lacks {len(missing)} weights of its config.json's model, {missing[0]} among them"
            )
        file = folder / "preprocessor_config.json"
        settings = json.loads(file.read_text()) if file.is_file() else {}
        normalisation = settings.get("image_mean", CLIP_MEAN), settings.get("image_std", CLIP_STD)
        tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
        return cls(model.to(device=device), tokenizer, rivals=rivals, normalisation=normalisation)

    def against(self, rivals: Sequence[str]) -> "Owlv2":
        """The same detector with these rivals."""
        return Owlv2(
            self.model,
            self.tokenizer,
            rivals=rivals,
            normalisation=(self._mean, self._std),
            at_once=self.at_once,
        )

    @torch.no_grad()
    def __call__(self, images: Tensor, labels: Sequence[Sequence[str]]) -> list[list[Detection]]:
        """What each image shows of its labels."""
        parameter = next(self.model.parameters())
        if parameter.device != images.device:
            self.model.to(images.device)
        found: list[list[Detection]] = []
        for start in range(0, len(images), self.at_once):
            part = self.preprocess(images[start : start + self.at_once])
            grids, _ = self.model.image_embedder(pixel_values=part.to(parameter.dtype))
            for row, grid in enumerate(grids):
                found.append(self._detections(grid, labels[start + row], images.shape[-2:]))
        return found

    def preprocess(self, images: Tensor) -> Tensor:
        """Pixels (B, 3, S, S) for the model."""
        height, width = images.shape[-2:]
        side, size = max(height, width), int(self.model.config.vision_config.image_size)
        square = F.pad(images.float(), (0, side - width, 0, side - height))
        if side != size:
            square = F.interpolate(square, (size, size), mode="bilinear", antialias=True, align_corners=False)
        return normalise(square, self._mean, self._std)

    def _detections(self, grid: Tensor, labels: Sequence[str], size: tuple[int, int] | torch.Size) -> list[Detection]:
        """Of one picture, from its grid of features (rows, columns, D)."""
        if not labels:
            return []
        names = list(dict.fromkeys([*labels, *self.rivals]))
        features = grid.flatten(0, 1)[None]
        logits, _ = self.model.class_predictor(features, self._name_features(names)[None], None)
        best = logits[0].float().max(dim=-1)
        boxes = self.model.box_predictor(features, grid[None])[0].float()
        found: list[Detection] = []
        surest = best.values.sigmoid().topk(min(NUM_CANDIDATES, len(best.values)))
        for score, at in zip(surest.values.tolist(), surest.indices.tolist(), strict=True):
            label = names[int(best.indices[at])]
            if score < FLOOR or label not in labels:
                continue
            box = _pixels(boxes[at].tolist(), size)
            if area(box) > 0 and all(one.label != label or overlap(one.box, box) <= MAX_OVERLAP for one in found):
                found.append(Detection(label=label, score=score, box=box))
        return found

    def _name_features(self, names: Sequence[str]) -> Tensor:
        """Unit vectors (N, D) of names; each is read once in the life of this detector."""
        device = next(self.model.parameters()).device
        if new := [name for name in names if name not in self._names]:
            asked = [f"a photo of {'an' if name[:1].lower() in 'aeiou' else 'a'} {name}" for name in new]
            length = int(self.model.config.text_config.max_position_embeddings)
            read = self.tokenizer(asked, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
            pooled = self.model.owlv2.text_model(
                input_ids=read["input_ids"].to(device), attention_mask=read["attention_mask"].to(device)
            ).pooler_output
            vectors = F.normalize(self.model.owlv2.text_projection(pooled), dim=-1)
            self._names.update(zip(new, vectors, strict=True))
        return torch.stack([self._names[name] for name in names]).to(device)


def load_owlv2(folder: Path, *, device: torch.device | str | None = None) -> Owlv2:
    """A table row's detector."""
    return Owlv2.from_pretrained(folder, device=device)


def _pixels(box: Sequence[float], size: tuple[int, int] | torch.Size) -> Box:
    """Corners inside the picture, from centre and extent in parts of the padded square."""
    height, width = size
    side = max(height, width)
    x, y, wide, tall = (side * value for value in box)
    corners = (x - wide / 2, width), (y - tall / 2, height), (x + wide / 2, width), (y + tall / 2, height)
    left, top, right, bottom = (min(max(value, 0.0), float(end)) for value, end in corners)
    return left, top, right, bottom
