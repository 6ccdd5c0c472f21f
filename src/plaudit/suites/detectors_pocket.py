"""The pocket world's exact judge as a detector: what it reads by rule, as boxes and masks."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.pocket.judge import read
from plaudit.pocket.render import coverage_of
from plaudit.pocket.scenes import COLOURS, SHAPES, SIZE, UNCLEAR, Thing
from plaudit.suites.detectors import Detection


class PocketDetector:
    """Finds shapes ("star") and shapes of a colour ("red star"), each with a score of 1. Keeps the Detector contract.

    An object's mask is the template that it fits best, in the image's own size; an object that fits none is not found.
    """

    def __call__(self, images: Tensor, labels: Sequence[Sequence[str]]) -> list[list[Detection]]:
        """What is asked for and there. Raises BadConfig for a label that names no shape of the pocket world."""
        height, width = images.shape[-2:]
        wanted = [{label: _shape_and_colour(label) for label in asked} for asked in labels]
        found = []
        for scene, asked in zip(read(images), wanted, strict=True):
            things = [thing for thing in scene.things if thing.shape != UNCLEAR]
            found.append(
                [
                    _detection(thing, label, height, width)
                    for thing in things
                    for label, (shape, colour) in asked.items()
                    if thing.shape == shape and colour in (None, thing.colour)
                ]
            )
        return found


def load_pocket_detector(*, device: torch.device | str | None = None) -> PocketDetector:  # noqa: ARG001
    """The table's row; there is no model to put on a device."""
    return PocketDetector()


def _shape_and_colour(label: str) -> tuple[str, str | None]:
    *before, shape = label.lower().split() or [""]
    if shape not in SHAPES or len(before) > 1 or any(word not in COLOURS for word in before):
        raise BadConfig(
            f"the pocket detector knows no {label!r}; it finds {', '.join(SHAPES)}, or one of them after a colour, "
            f"as in 'red {SHAPES[0]}'"
        )
    return shape, before[0] if before else None


def _detection(thing: Thing, label: str, height: int, width: int) -> Detection:
    cover = coverage_of(thing.shape, centre=(thing.x, thing.y), radius=thing.radius)
    if (height, width) != (SIZE, SIZE):
        cover = F.interpolate(cover[None, None], (height, width), mode="bilinear", align_corners=False)[0, 0]
    mask = cover > 0.5
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    box = (float(columns[0]), float(rows[0]), float(columns[-1]) + 1, float(rows[-1]) + 1)
    return Detection(label=label, score=1.0, box=box, mask=mask)
