"""The exact judge: reads a scene back out of any image by rule, and says whether it holds what a prompt asks for.

No network is involved. Pixels go to the nearest palette colour; connected regions of one colour that are thicker
than a rim become objects; an object's shape is the template of equal area and centre that it overlaps best
(intersection over union of coverages). The judge is the held-out measure of every experiment: nothing is trained
on it."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from plaudit.pocket.prompts import Request
from plaudit.pocket.render import coverage_of, coverages
from plaudit.pocket.scenes import BACKGROUNDS, COLOURS, SHAPES, SIZE, UNCLEAR, Scene, Thing
from plaudit.pocket.truth import failures

MIN_AREA = 24.0
"""smaller regions are specks, in pixels"""
MIN_OVERLAP = 0.78
"""an object that overlaps no template this well has no shape and is reported as unclear"""

_PALETTE = np.array([*BACKGROUNDS.values(), *COLOURS.values()], dtype=np.float32)
_NAMES = (*BACKGROUNDS, *COLOURS)
_SQUARE3 = np.ones((3, 3), dtype=bool)

Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether an image holds all its request asks for; if not, why."""

    right: bool
    reasons: tuple[str, ...]
    """one phrase per requirement that fails"""
    seen: Scene
    """what the judge read; a thing's shape may be "unclear" """


@dataclass(frozen=True, kw_only=True)
class _Region:
    image: int
    colour: str
    alpha: Array
    """(64, 64), how much of each pixel the region covers"""


def judge(images: Tensor, requests: Sequence[Request]) -> list[Verdict]:
    """One verdict per image. images: (B, 3, H, W) in [0, 1]; other sizes than 64 x 64 are resized first."""
    verdicts = []
    for scene, request in zip(read(images), requests, strict=True):
        reasons = failures(scene, request)
        verdicts.append(Verdict(right=not reasons, reasons=reasons, seen=scene))
    return verdicts


def read(images: Tensor) -> list[Scene]:
    """The scenes in images (B, 3, H, W) in [0, 1]; things that fit no template have the shape "unclear"."""
    backgrounds: list[str] = []
    regions: list[_Region] = []
    for index, pixels in enumerate(_to_bytes(images)):
        background, found = _regions(pixels, index)
        backgrounds.append(background)
        regions += found
    things: list[list[Thing]] = [[] for _ in backgrounds]
    for region, thing in zip(regions, _recognise(regions), strict=True):
        things[region.image].append(thing)
    return [
        Scene(background=b, things=tuple(sorted(t, key=lambda thing: (thing.x, thing.y))))
        for b, t in zip(backgrounds, things, strict=True)
    ]


def _to_bytes(images: Tensor) -> Array:
    """(B, 64, 64, 3) float32, 0 to 255."""
    images = images.detach().to("cpu", torch.float32)
    if images.shape[-2:] != (SIZE, SIZE):
        images = F.interpolate(images, (SIZE, SIZE), mode="bilinear", antialias=True)
    return (images.clamp(0, 1) * 255).permute(0, 2, 3, 1).numpy()


def _regions(pixels: Array, image: int) -> tuple[str, list[_Region]]:
    """The background's name, and the regions of other colours that are thicker than a rim."""
    distance = np.square(pixels[:, :, None] - _PALETTE).sum(-1)
    labels = distance.argmin(-1)
    border = np.concatenate([labels[0], labels[-1], labels[1:-1, 0], labels[1:-1, -1]])
    background = int(np.bincount(border, minlength=len(_NAMES))[: len(BACKGROUNDS)].argmax())
    masks = []
    for colour in range(len(_NAMES)):
        # A colour's blend with the background may pass through a third colour: a rim, at most two pixels thick.
        if colour == background or not ndimage.binary_erosion(labels == colour, _SQUARE3).any():
            continue
        parts, count = ndimage.label(labels == colour, _SQUARE3)
        cores = ndimage.binary_erosion(labels == colour, _SQUARE3)
        thick = np.unique(parts[cores])
        masks += [(colour, parts == part) for part in range(1, count + 1) if part in thick]
    if not masks:
        return _NAMES[background], []
    owner = _nearest_owner([mask for _, mask in masks])
    found = []
    for index, (colour, _) in enumerate(masks):
        line = _PALETTE[colour] - _PALETTE[background]
        alpha = ((pixels - _PALETTE[background]) @ line / (line @ line)).clip(0, 1) * (owner == index)
        alpha[alpha < 0.1] = 0  # the background's noise is nobody's
        if alpha.sum() >= MIN_AREA:
            found.append(_Region(image=image, colour=_NAMES[colour], alpha=alpha.astype(np.float32)))
    return _NAMES[background], found


def _nearest_owner(masks: list[NDArray[np.bool_]]) -> NDArray[np.int64]:
    """For each pixel the index of the nearest mask within two pixels, else -1."""
    distances = np.stack([ndimage.distance_transform_edt(~mask) for mask in masks])
    return np.where(distances.min(0) <= 2.3, distances.argmin(0), -1)


@functools.cache
def _template(shape: str) -> tuple[float, float, float]:
    """A shape's area, and its centroid's offset from its centre (x, y), at radius 1."""
    size, radius = 256, 100.0
    cover = coverage_of(shape, centre=(size / 2, size / 2), radius=radius, size=size)
    axis = torch.arange(size) + 0.5 - size / 2
    area = float(cover.sum())
    x, y = float((cover.sum(0) * axis).sum()) / area, float((cover.sum(1) * axis).sum()) / area
    return area / radius**2, x / radius, y / radius


def _recognise(regions: Sequence[_Region]) -> list[Thing]:
    """Each region as the template it overlaps best."""
    if not regions:
        return []
    # Twice the contrast: a blurred edge covers as its crisp original would.
    alpha = (2 * torch.from_numpy(np.stack([r.alpha for r in regions])) - 0.5).clamp(0, 1)
    area = alpha.sum((1, 2)).clamp(min=1e-3)
    axis = torch.arange(SIZE) + 0.5
    x, y = (alpha.sum(1) * axis).sum(1) / area, (alpha.sum(2) * axis).sum(1) / area
    fits = []
    for shape in SHAPES:
        unit, dx, dy = _template(shape)
        radius = (area / unit).sqrt()
        centres = torch.stack([x - dx * radius, y - dy * radius], dim=1)
        cover = coverages(shape, centres, radius)
        overlap = torch.minimum(alpha, cover).sum((1, 2)) / torch.maximum(alpha, cover).sum((1, 2))
        fits.append(torch.cat([overlap[:, None], centres, radius[:, None]], dim=1))
    best = torch.stack(fits)  # (shapes, regions, 4)
    choice = best[:, :, 0].argmax(0)
    things = []
    for index, region in enumerate(regions):
        overlap, cx, cy, radius_ = best[choice[index], index].tolist()
        shape = SHAPES[int(choice[index])] if overlap >= MIN_OVERLAP else UNCLEAR
        things.append(Thing(shape=shape, colour=region.colour, x=cx, y=cy, radius=radius_))
    return things
