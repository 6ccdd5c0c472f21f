"""Scenes: what a picture of the pocket world may hold, and how scenes are drawn at random.

A scene is a background and one to four objects, each a shape in a colour at a place (64 x 64 pixels, x to the
right, y downwards). Its layouts follow GenEval's six tasks (Ghosh et al. 2023): one object, two objects, a count
of equal objects, and pairs with a clear left-right or above-below order. One tenth of the
(shape, colour, shape, colour, order) combinations never occurs in training; see `is_held_out`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

SIZE = 64
"""height and width of a picture, in pixels"""

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "diamond", "heart")

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (222, 36, 36),
    "orange": (246, 140, 24),
    "yellow": (248, 222, 40),
    "green": (36, 160, 64),
    "cyan": (60, 208, 216),
    "blue": (36, 72, 224),
    "purple": (136, 44, 184),
    "pink": (248, 130, 196),
}
"""name to RGB, 0 to 255"""

BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (245, 245, 245),
    "grey": (128, 128, 128),
    "black": (16, 16, 16),
}

UNCLEAR = "unclear"
"""the shape of a thing that was read from a picture and is none of SHAPES"""

MAX_OBJECTS = 4
HELD_OUT_SHARE = 10
"""one in so many combinations is never trained on"""


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One object: a shape in a colour; centre and half extent in pixels."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A background and one to four things that do not touch."""

    background: str
    things: tuple[Thing, ...]


def order_of(first: Thing, second: Thing) -> str:
    """Where `first` lies as seen from `second`: "left", "right", "above" or "below" (the larger offset decides)."""
    dx, dy = first.x - second.x, first.y - second.y
    if abs(dx) >= abs(dy):
        return "left" if dx < 0 else "right"
    return "above" if dy < 0 else "below"


def is_held_out(first: tuple[str, str], second: tuple[str, str], order: str) -> bool:
    """Whether the pair of (shape, colour) in this order ("left", ..., or "and" for any) is kept out of training.

    The answer is the same for both ways of saying it: A left of B, B right of A.
    """
    if order in ("right", "below"):
        first, second, order = second, first, {"right": "left", "below": "above"}[order]
    if order == "and" and second < first:
        first, second = second, first
    text = "|".join((*first, *second, order))
    return hashlib.sha256(text.encode()).digest()[0] % HELD_OUT_SHARE == 0


def scene_is_held_out(scene: Scene) -> bool:
    """Whether a pair of different things in the scene stands in a held-out combination."""
    if len(scene.things) != 2:
        return False
    a, b = scene.things
    first, second = (a.shape, a.colour), (b.shape, b.colour)
    if first == second:
        return False
    return is_held_out(first, second, order_of(a, b)) or is_held_out(first, second, "and")


def draw_scene(rng: np.random.Generator, *, kind: str | None = None, held_out: bool = False) -> Scene:
    """A random scene of a kind ("one", "pair" or "count"; None draws the kind too).

    With `held_out`, pairs come from the held-out combinations only; without, never from them.
    """
    chosen = kind or str(rng.choice(["one", "pair", "count"], p=[0.22, 0.52, 0.26]))
    while True:
        scene = {"one": _draw_one, "pair": _draw_pair, "count": _draw_count}[chosen](rng)
        if chosen != "pair" or scene_is_held_out(scene) == held_out:
            return scene


def draw_scenes(rng: np.random.Generator, count: int) -> Iterator[Scene]:
    """`count` training scenes, one after the other."""
    for _ in range(count):
        yield draw_scene(rng)


def _draw_one(rng: np.random.Generator) -> Scene:
    radius = rng.uniform(10, 17)
    low, high = radius + 2, SIZE - radius - 2
    # Near the middle more often than not, as the subject of a photograph is.
    x, y = (float(np.clip(rng.normal(SIZE / 2, 7), low, high)) for _ in range(2))
    return _scene(rng, [_thing(rng, x, y, radius)])


def _draw_pair(rng: np.random.Generator) -> Scene:
    (ax, ay), (bx, by) = _pair_places(rng)
    a = _thing(rng, ax, ay, rng.uniform(9, 12))
    while True:
        b = _thing(rng, bx, by, rng.uniform(9, 12))
        if (a.shape, a.colour) != (b.shape, b.colour):
            return _scene(rng, [a, b])


def _pair_places(rng: np.random.Generator) -> tuple[tuple[float, float], tuple[float, float]]:
    """Two places with a clear order: far apart on one axis, close on the other."""
    near, far = rng.uniform(14, 18), rng.uniform(46, 50)
    level = rng.uniform(22, 42)
    other = float(np.clip(level + rng.uniform(-6, 6), 14, 50))
    places = ((near, level), (far, other)) if rng.random() < 0.5 else ((level, near), (other, far))
    return places if rng.random() < 0.5 else (places[1], places[0])


def _draw_count(rng: np.random.Generator) -> Scene:
    count = int(rng.integers(2, MAX_OBJECTS + 1))
    shape, colour = _shape_and_colour(rng)
    if count == 2:
        places = list(_pair_places(rng))
    else:
        quarters = [(16, 16), (48, 16), (16, 48), (48, 48)]
        chosen = rng.permutation(4)[:count]
        places = [(quarters[i][0] + rng.uniform(-2, 2), quarters[i][1] + rng.uniform(-2, 2)) for i in chosen]
    things = [
        Thing(shape=shape, colour=colour, x=float(x), y=float(y), radius=float(rng.uniform(9, 12))) for x, y in places
    ]
    return _scene(rng, things)


def _shape_and_colour(rng: np.random.Generator) -> tuple[str, str]:
    return SHAPES[int(rng.integers(len(SHAPES)))], list(COLOURS)[int(rng.integers(len(COLOURS)))]


def _thing(rng: np.random.Generator, x: float, y: float, radius: float) -> Thing:
    shape, colour = _shape_and_colour(rng)
    return Thing(shape=shape, colour=colour, x=float(x), y=float(y), radius=float(radius))


def _scene(rng: np.random.Generator, things: list[Thing]) -> Scene:
    return Scene(background=list(BACKGROUNDS)[int(rng.integers(len(BACKGROUNDS)))], things=tuple(things))
