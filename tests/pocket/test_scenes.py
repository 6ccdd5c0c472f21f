"""What scenes promise: things inside the picture and apart, held-out combinations kept out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaudit.pocket.scenes import (
    COLOURS,
    SHAPES,
    SIZE,
    Scene,
    Thing,
    draw_scene,
    is_held_out,
    order_of,
    scene_is_held_out,
)

things = st.tuples(st.sampled_from(SHAPES), st.sampled_from(list(COLOURS)))
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above", "and": "and"}


def thing(x: float, y: float) -> Thing:
    return Thing(shape="circle", colour="red", x=x, y=y, radius=5)


@pytest.mark.parametrize("seed", range(200))
def test_things_stay_inside_and_apart(seed: int) -> None:
    scene = draw_scene(np.random.default_rng(seed))
    assert 1 <= len(scene.things) <= 4
    for one in scene.things:
        assert one.radius <= one.x <= SIZE - one.radius
        assert one.radius <= one.y <= SIZE - one.radius
    for i, a in enumerate(scene.things):
        for b in scene.things[:i]:
            gap = max(abs(a.x - b.x), abs(a.y - b.y)) - a.radius - b.radius
            assert gap > 0


@given(first=things, second=things, order=st.sampled_from(list(OPPOSITE)))
def test_a_combination_is_held_out_however_it_is_said(
    first: tuple[str, str], second: tuple[str, str], order: str
) -> None:
    assert is_held_out(first, second, order) == is_held_out(second, first, OPPOSITE[order])


def test_about_a_tenth_of_combinations_is_held_out() -> None:
    pairs = [((s, c), (t, d)) for s in SHAPES for c in COLOURS for t in SHAPES for d in COLOURS]
    share = np.mean([is_held_out(a, b, "left") for a, b in pairs])
    assert 0.08 < share < 0.12


def test_training_never_shows_a_held_out_combination() -> None:
    rng = np.random.default_rng(0)
    assert not any(scene_is_held_out(draw_scene(rng)) for _ in range(1000))
    assert all(scene_is_held_out(draw_scene(rng, kind="pair", held_out=True)) for _ in range(50))


@pytest.mark.parametrize(
    ("x", "y", "order"), [(10, 32, "left"), (50, 30, "right"), (33, 10, "above"), (30, 55, "below")]
)
def test_the_larger_offset_names_the_order(x: float, y: float, order: str) -> None:
    assert order_of(thing(x, y), thing(32, 32)) == order


def test_the_same_stream_draws_the_same_scene() -> None:
    one, two = (draw_scene(np.random.default_rng(7)) for _ in range(2))
    assert isinstance(one, Scene)
    assert one == two
