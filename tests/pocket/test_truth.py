"""GenEval's rules on scenes that are known."""

import pytest

from plaudit.pocket.prompts import parse
from plaudit.pocket.scenes import UNCLEAR, Scene, Thing
from plaudit.pocket.truth import failures


def thing(shape: str, colour: str, x: float = 20, y: float = 32) -> Thing:
    return Thing(shape=shape, colour=colour, x=x, y=y, radius=9)


def scene(*things: Thing, background: str = "white") -> Scene:
    return Scene(background=background, things=things)


RED_STAR, BLUE_RING = thing("star", "red", x=16), thing("ring", "blue", x=48)


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("a star", True),
        ("a ring and a star", True),
        ("a red star and a blue ring", True),
        ("a blue star and a red ring", False),
        ("a red star left of a blue ring", True),
        ("a blue ring to the right of a red star", True),
        ("a red star right of a blue ring", False),
        ("a red star above a blue ring", False),
        ("a heart", False),
        ("a red star on a white background", True),
        ("a red star on a black background", False),
        ("two stars", False),
    ],
)
def test_each_requirement_by_hand(prompt: str, right: bool) -> None:
    request = parse(prompt)
    assert request is not None
    assert (failures(scene(RED_STAR, BLUE_RING), request) == ()) is right


def test_counts_are_exact_and_an_unclear_thing_spoils_them() -> None:
    request = parse("three blue stars")
    assert request is not None
    three = [thing("star", "blue", x=x) for x in (10, 30, 50)]
    assert failures(scene(*three), request) == ()
    assert failures(scene(*three[:2]), request) == ("2 of 3 blue star objects",)
    assert failures(scene(*three, thing("star", "blue", y=10)), request) == ("4 of 3 blue star objects",)
    assert failures(scene(*three, thing(UNCLEAR, "red")), request) == ("1 unclear objects",)


def test_one_thing_cannot_stand_for_two() -> None:
    request = parse("a red star and a red star")
    assert request is not None
    assert failures(scene(RED_STAR, BLUE_RING), request)


def test_a_diagonal_offset_is_both_left_and_above() -> None:
    pair = scene(thing("star", "red", x=16, y=16), thing("ring", "blue", x=48, y=48))
    for prompt in ("a star left of a ring", "a star above a ring"):
        request = parse(prompt)
        assert request is not None
        assert failures(pair, request) == ()
