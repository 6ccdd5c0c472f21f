"""Which colour an object has, by CLIP and without training, as GenEval asks it (Ghosh et al. 2023).

Each object is cut out of the picture along its box, with all that is not the object painted over in grey, and the
colour whose three sentences are nearest on average is its colour.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.rewards.clip_towers import ClipTowers
from plaudit.rewards.table import load_reward
from plaudit.suites.detectors import Detection
from plaudit.suites.geneval_rules import COLOURS

TEMPLATES = ("a photo of a {colour} {label}", "a photo of a {colour}-colored {label}", "a photo of a {colour} object")
"""as published"""
BLANK = 0x99 / 255
"""the grey of what is not the object, as published"""


class ColourNamer(Protocol):
    """Names the colours of objects of one class that were found in an image (3, H, W) in [0, 1], one for each."""

    def __call__(self, image: Tensor, found: Sequence[Detection], label: str) -> list[str]: ...


class ClipColours:
    """CLIP as a ColourNamer."""

    def __init__(
        self,
        towers: ClipTowers,
        *,
        colours: Sequence[str] = COLOURS,
        templates: Sequence[str] = TEMPLATES,
        blank: float = BLANK,
        crop: bool = True,
    ) -> None:
        """`crop`: show CLIP the object's box, else the whole picture with all else painted over."""
        self.towers = towers
        self.colours = tuple(colours)
        self.templates = tuple(templates)
        self.blank = blank
        self.crop = crop

    @torch.no_grad()
    def __call__(self, image: Tensor, found: Sequence[Detection], label: str) -> list[str]:
        """The colours of objects in an image (3, H, W)."""
        if not found:
            return []
        # One by one: boxes have sizes of their own.
        seen = torch.cat([self.towers.embed_images(self.cut_out(image, it)[None]) for it in found])
        nearest = (seen @ self._names(label).T).argmax(dim=1)
        return [self.colours[index] for index in nearest.tolist()]

    def cut_out(self, image: Tensor, detection: Detection) -> Tensor:
        """The picture (3, h, w) of one object alone; without a mask, of its whole box."""
        if detection.mask is not None:
            image = torch.where(detection.mask.to(image.device), image, self.blank)
        if not self.crop:
            return image
        height, width = image.shape[-2:]
        left, top, right, bottom = (round(edge) for edge in detection.box)
        # A detection may be thinner than a pixel; what is shown is not.
        left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
        return image[:, top : max(bottom, top + 1), left : max(right, left + 1)]

    def _names(self, label: str) -> Tensor:
        """Unit vectors (colours, D)."""
        sentences = [
            template.format(colour=colour, label=label) for colour in self.colours for template in self.templates
        ]
        each = self.towers.embed_texts(sentences).unflatten(0, (len(self.colours), len(self.templates)))
        return F.normalize(each.mean(dim=1), dim=-1)


def load_clip_colours(name_or_path: str = "clip-vit-l14", *, device: torch.device | str | None = None) -> ClipColours:
    """The colour namer of a reward that is a CLIP score. Raises BadConfig if it is another."""
    towers = load_reward(name_or_path, device=device)
    if not isinstance(towers, ClipTowers):
        raise BadConfig(
            f"colours are named by a CLIP score, which {name_or_path!r} is not; take one such as 'clip-vit-l14'"
        )
    return ClipColours(towers)
