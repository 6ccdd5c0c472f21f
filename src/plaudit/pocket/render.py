"""The renderer: scenes to pictures, vectorised over the batch and anti-aliased.

Every shape is a signed distance in pixels (negative inside; exact near the edge, which is all anti-aliasing
needs), and a pixel's coverage is the distance clamped over one pixel's width.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from plaudit.pocket.scenes import BACKGROUNDS, COLOURS, MAX_OBJECTS, SHAPES, SIZE, Scene


def render(scenes: Sequence[Scene]) -> Tensor:
    """The scenes as pictures, (B, 3, 64, 64) float32 in [0, 1]. Later things cover earlier ones."""
    backgrounds = torch.tensor([BACKGROUNDS[s.background] for s in scenes]).view(-1, 3) / 255
    images = backgrounds[:, :, None, None].expand(-1, 3, SIZE, SIZE).clone()
    coverage, colours = _layers(scenes)
    for layer in range(MAX_OBJECTS):
        alpha = coverage[:, layer, None]
        images = images + alpha * (colours[:, layer, :, None, None] - images)
    return images


def coverage_of(shape: str, *, centre: tuple[float, float], radius: float, size: int = SIZE) -> Tensor:
    """How much of each pixel one shape covers, (size, size) in [0, 1]."""
    return coverages(shape, torch.tensor([centre]), torch.tensor([radius]), size=size)[0]


def coverages(shape: str, centres_N2: Tensor, radius_N: Tensor, *, size: int = SIZE) -> Tensor:
    """How much of each pixel N objects of one shape cover, each on a canvas of its own: (N, size, size)."""
    u, v = _offsets(centres_N2, radius_N, size)
    return _coverage(_DISTANCES[shape](u, v), radius_N)


def _layers(scenes: Sequence[Scene]) -> tuple[Tensor, Tensor]:
    """Coverage (B, 4, 64, 64) and colours (B, 4, 3); empty layers cover nothing."""
    coverage = torch.zeros(len(scenes) * MAX_OBJECTS, SIZE, SIZE)
    colours = torch.zeros(len(scenes) * MAX_OBJECTS, 3)
    by_shape: dict[str, list[tuple[int, float, float, float]]] = {name: [] for name in SHAPES}
    for index, scene in enumerate(scenes):
        for layer, thing in enumerate(scene.things):
            row = index * MAX_OBJECTS + layer
            by_shape[thing.shape].append((row, thing.x, thing.y, thing.radius))
            colours[row] = torch.tensor(COLOURS[thing.colour]) / 255
    for shape, members in by_shape.items():
        if members:
            table = torch.tensor(members, dtype=torch.float32)
            coverage[table[:, 0].long()] = coverages(shape, table[:, 1:3], table[:, 3])
    shape4 = (len(scenes), MAX_OBJECTS)
    return coverage.view(*shape4, SIZE, SIZE), colours.view(*shape4, 3)


def _offsets(centres_N2: Tensor, radius_N: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Pixel centres as seen from the shape's centre in units of its radius: two (N, size, size)."""
    axis = torch.arange(size, dtype=torch.float32) + 0.5
    u = (axis[None, None, :] - centres_N2[:, 0, None, None]) / radius_N[:, None, None]
    v = (axis[None, :, None] - centres_N2[:, 1, None, None]) / radius_N[:, None, None]
    return u.expand(-1, size, size), v.expand(-1, size, size)


def _coverage(distance: Tensor, radius_N: Tensor) -> Tensor:
    return (0.5 - distance * radius_N[:, None, None]).clamp(0, 1)


def _box(u: Tensor, v: Tensor, half_width: float, half_height: float) -> Tensor:
    return torch.maximum(u.abs() - half_width, v.abs() - half_height)


def _circle(u: Tensor, v: Tensor) -> Tensor:
    return torch.hypot(u, v) - 0.97


def _square(u: Tensor, v: Tensor) -> Tensor:
    return _box(u, v, 0.86, 0.86)


def _triangle(u: Tensor, v: Tensor) -> Tensor:
    """Pointing up: apex (0, -0.95), base from (-1, 0.8) to (1, 0.8)."""
    length = math.hypot(1.75, 1.0)
    side = (u.abs() * 1.75 - (v + 0.95)) / length
    return torch.maximum(side, v - 0.8)


def _star(u: Tensor, v: Tensor) -> Tensor:
    """Five points, one up; folded onto a tenth of itself, where its edge is one straight line."""
    fifth = 2 * math.pi / 5
    angle = torch.atan2(u, -v)
    folded = (torch.remainder(angle + fifth / 2, fifth) - fifth / 2).abs()
    radius = torch.hypot(u, v)
    x, y = radius * torch.cos(folded), radius * torch.sin(folded)
    inner = 0.46
    ix, iy = inner * math.cos(fifth / 2), inner * math.sin(fifth / 2)
    length = math.hypot(1.05 - ix, iy)
    return ((x - 1.05) * iy + y * (1.05 - ix)) / length


def _cross(u: Tensor, v: Tensor) -> Tensor:
    return torch.minimum(_box(u, v, 1.0, 0.34), _box(u, v, 0.34, 1.0))


def _ring(u: Tensor, v: Tensor) -> Tensor:
    return (torch.hypot(u, v) - 0.75).abs() - 0.25


def _diamond(u: Tensor, v: Tensor) -> Tensor:
    return (u.abs() / 0.86 + v.abs() / 1.05 - 1) / math.hypot(1 / 0.86, 1 / 1.05)


def _heart(u: Tensor, v: Tensor) -> Tensor:
    """A square on its tip with a half disc on each upper side."""
    side, centre = 1.15, 0.08
    square = (u.abs() + (v - centre).abs()) / math.sqrt(2) - side / 2
    middle = side / (2 * math.sqrt(2))
    disc = torch.hypot(u.abs() - middle, v - centre + middle) - side / 2
    return torch.minimum(square, disc)


_DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "diamond": _diamond,
    "heart": _heart,
}
