"""Prompts say what is true of a scene, in many ways, and can be read back."""

import numpy as np
import pytest

from plaudit.pocket.prompts import TASKS, Request, Wanted, describe, parse, say
from plaudit.pocket.scenes import draw_scene
from plaudit.pocket.truth import failures


@pytest.mark.parametrize("seed", range(300))
def test_what_is_said_is_true_and_read_back_as_meant(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = draw_scene(rng)
    text, request = describe(scene, rng)
    assert failures(scene, request) == ()
    assert parse(text) == request


def test_one_request_has_many_phrasings() -> None:
    rng = np.random.default_rng(0)
    request = parse("a red ring left of a green square")
    assert request is not None
    said = {say(request, rng) for _ in range(300)}
    assert len(said) > 40
    assert all(parse(text) == request for text in said)


def test_all_six_tasks_occur() -> None:
    rng = np.random.default_rng(0)
    assert {describe(draw_scene(rng), rng)[1].task for _ in range(300)} == set(TASKS)


@pytest.mark.parametrize(
    ("prompt", "task", "relation", "background"),
    [
        ("three blue stars", "counting", None, None),
        ("A red ring left of a green square.", "position", "left", None),
        ("a heart, on a black background!", "single_object", None, "black"),
        ("an orange disc", "colors", None, None),
        ("a cross next to a triangle", "two_object", None, None),
        ("a pink heart and a blue plus sign", "color_attr", None, None),
        ("a circle that is red underneath a cyan star", "position", "below", None),
    ],
)
def test_what_a_user_types_is_understood(prompt: str, task: str, relation: str | None, background: str | None) -> None:
    request = parse(prompt)
    assert request is not None
    assert (request.task, request.relation, request.background) == (task, relation, background)


def test_colours_belong_to_their_own_shapes() -> None:
    request = parse("a ring that is red above a green square")
    assert request == Request(
        task="position",
        wanted=(Wanted(shape="ring", colour="red"), Wanted(shape="square", colour="green")),
        relation="above",
    )


@pytest.mark.parametrize("prompt", ["a fox in the snow", "", "red", "a star, a ring and a heart"])
def test_other_prompts_are_not_understood(prompt: str) -> None:
    assert parse(prompt) is None


def test_a_scene_cannot_be_described_by_a_task_it_does_not_fit() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="cannot be described"):
        describe(draw_scene(rng, kind="one"), rng, task="counting")
