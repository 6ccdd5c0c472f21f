"""Plans say all of a scene, are read back exactly, and are held against requests and pictures."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.pocket.build.negatives import false_requests, near_scene
from plaudit.pocket.judge import read
from plaudit.pocket.plans import (
    NUM_PHRASINGS,
    PLACES,
    SIZES,
    Plan,
    PlannedThing,
    agreement,
    agrees,
    draw_planned,
    longest_plan,
    plan_meets,
    plan_of,
    plan_words,
    read_plan,
    say_plan,
    scene_of,
    words_in,
    write_plan,
)
from plaudit.pocket.prompts import describe, parse
from plaudit.pocket.render import render
from plaudit.pocket.scenes import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    UNCLEAR,
    Scene,
    Thing,
    draw_scene,
    scene_is_held_out,
)
from plaudit.pocket.truth import failures


def thing(shape="star", colour="red", x=32.0, y=32.0, radius=12.0):
    return Thing(shape=shape, colour=colour, x=x, y=y, radius=radius)


def scene(*things, background="white"):
    return Scene(background=background, things=things)


THINGS = st.builds(
    Thing,
    shape=st.sampled_from(SHAPES),
    colour=st.sampled_from(list(COLOURS)),
    x=st.floats(0, 64),
    y=st.floats(0, 64),
    radius=st.floats(4, 30),
)
SCENES = st.builds(
    Scene, background=st.sampled_from(list(BACKGROUNDS)), things=st.lists(THINGS, min_size=1, max_size=4).map(tuple)
)
"""any scene, drawn or not: overlapping objects, several of one kind, four of different kinds"""


@given(SCENES, st.integers(0, NUM_PHRASINGS - 1))
@settings(max_examples=300, deadline=None)
def test_what_is_written_is_read_back_exactly(drawn, phrasing):
    plan = plan_of(drawn)
    assert read_plan(say_plan(plan, phrasing)) == plan
    assert sorted((t.shape, t.colour) for t in plan.things) == sorted((t.shape, t.colour) for t in drawn.things)


@given(SCENES, st.integers(0, NUM_PHRASINGS - 1), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_a_spoilt_plan_reads_as_what_it_says_or_as_nothing(drawn, phrasing, random):
    words = words_in(say_plan(plan_of(drawn), phrasing))
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(words))
        words[at : at + random.randint(0, 1)] = [random.choice([*plan_words(), "five", "0", "elephant"])]
    found = read_plan(" ".join(words))
    if found is not None:
        assert any(words_in(say_plan(found, number)) == words for number in range(NUM_PHRASINGS))


@given(st.one_of(st.text(max_size=200), st.lists(st.sampled_from(plan_words()), max_size=30).map(" ".join)))
@settings(max_examples=500, deadline=None)
def test_no_text_is_an_error(text):
    plan = read_plan(text)
    assert plan is None or isinstance(plan, Plan)


PLAN = "on a white background: a small red star at the left, a large blue ring at the right."


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a red star left of a blue ring",
        PLAN.replace(" a white background", " a green background"),
        PLAN.replace("star", "elephant"),
        PLAN.replace("small ", ""),
        PLAN.replace(" at the left", ""),
        PLAN.replace("right.", "right. and so on"),
        PLAN.replace("blue ring", "red star"),  # equal objects are counted
        PLAN + " " + PLAN,
        "there are two red stars on white",
        "red stars. " + PLAN,
        "the background is white. there are three red stars: a small one at the left, a small one at the right.",
        "a red star at the top, small; a blue ring at the left, small; a red star at the right, small; white behind",
        "on a white background: " + ", ".join(f"a small {c} star at the top" for c in list(COLOURS)[:5]) + ".",
    ],
)
def test_what_is_no_plan_is_none(text):
    assert read_plan(PLAN) is not None
    assert read_plan(text) is None


def test_case_and_spaces_do_not_matter_and_neither_does_the_order_of_the_objects():
    plan = read_plan(PLAN)
    assert plan == read_plan("On a WHITE background :  a small red star at the left ,a large blue ring at the right .")
    turned = read_plan("on a white background: a large blue ring at the right, a small red star at the left.")
    assert turned is not None
    assert plan is not None
    assert turned.things == plan.things[::-1]


def test_objects_are_told_as_one_reads_and_equals_together():
    drawn = scene(
        thing("ring", "blue", x=50, y=50),
        thing("star", "red", x=50, y=10),
        thing("ring", "blue", x=10, y=10),
        thing("heart", "pink", x=10, y=30),
    )
    assert [(t.shape, t.place) for t in plan_of(drawn).things] == [
        ("ring", "top left"), ("ring", "bottom right"), ("star", "top right"), ("heart", "left")
    ]  # fmt: skip


def test_phrasings_are_many_short_and_of_few_words():
    rng = np.random.default_rng(0)
    four = scene(*(thing(s, c, x=10, y=10) for s, c in zip(SHAPES, list(COLOURS)[:4], strict=False)))
    equal = scene(*(thing(x=x, y=y) for x in (10, 50) for y in (10, 50)))
    for drawn in (four, equal):
        said = {say_plan(plan_of(drawn), number) for number in range(NUM_PHRASINGS)}
        assert len(said) == NUM_PHRASINGS >= 4
        assert all(len(text.split()) <= 40 for text in said)
        assert all(text == text.lower() for text in said)
    written = [words_in(write_plan(draw_scene(rng), rng)) for _ in range(500)]
    assert {word for words in written for word in words} == set(plan_words())
    assert max(map(len, written)) <= longest_plan() < 50
    assert len(plan_words()) < 64


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("size", SIZES)
def test_every_word_stands_for_itself(background, size):
    for row, names in enumerate(PLACES):
        for column, place in enumerate(names):
            radius = {"small": 5.0, "medium": 12.0, "large": 20.0}[size]
            drawn = scene(thing(x=64 * column / 3 + 1, y=64 * row / 3 + 20, radius=radius), background=background)
            plan = Plan(
                background=background, things=(PlannedThing(shape="star", colour="red", size=size, place=place),)
            )
            assert plan_of(drawn) == plan
            assert plan_of(scene_of(plan)) == plan


@pytest.mark.parametrize("drawn", [scene(), scene(*[thing()] * 5), scene(thing(UNCLEAR))])
def test_what_no_plan_can_tell_is_refused(drawn):
    with pytest.raises(ValueError, match="a plan has 1 to 4 objects of known shapes"):
        plan_of(drawn)


def test_a_plan_meets_what_its_scene_meets():
    rng = np.random.default_rng(1)
    met = 0
    for _ in range(600):
        drawn = draw_scene(rng)
        _, request = describe(drawn, rng)
        near = near_scene(drawn, request, rng)
        assert plan_meets(plan_of(drawn), request)
        assert not plan_meets(plan_of(near), request)
        for other in (*false_requests(drawn, request, rng, 3), describe(draw_scene(rng), rng)[1]):
            right = not failures(drawn, other)
            met += right
            assert plan_meets(plan_of(drawn), other) == right
    assert met > 5, "some of the others are true as well"


def test_a_plan_read_from_words_is_held_against_a_prompt():
    plan = read_plan(PLAN)
    assert plan is not None
    asked = {
        "a red star left of a blue ring": True,
        "a blue ring on a white background": True,
        "a blue ring left of a red star": False,
        "two red stars": False,
        "a red star on a black background": False,
    }
    for prompt, right in asked.items():
        request = parse(prompt)
        assert request is not None
        assert plan_meets(plan, request) == right, prompt


def test_a_clean_picture_shows_its_whole_plan():
    rng = np.random.default_rng(2)
    drawn = [draw_scene(rng, held_out=index % 5 == 0) for index in range(400)]
    for plan, seen in zip(map(plan_of, drawn), read(render(drawn)), strict=True):
        assert agreement(plan, seen).whole, (plan, seen)
        assert agrees(plan, seen) == 1


def test_another_picture_does_not():
    rng = np.random.default_rng(3)
    pairs = [(draw_scene(rng), draw_scene(rng)) for _ in range(200)]
    shares = [agrees(plan_of(planned), drawn) for planned, drawn in pairs if plan_of(planned) != plan_of(drawn)]
    assert np.mean(shares) < 0.4


STAR, RING = thing(x=10), thing("ring", "blue", x=53)
SEEN = {
    "the same": (scene(STAR, RING), 9, 9),
    "another order": (scene(RING, STAR), 9, 9),
    "background": (scene(STAR, RING, background="grey"), 8, 9),
    "colour": (scene(replace(STAR, colour="pink"), RING), 8, 9),
    "colours exchanged": (scene(replace(STAR, colour="blue"), replace(RING, colour="red")), 7, 9),
    "shape": (scene(replace(STAR, shape=UNCLEAR), RING), 8, 9),
    "place": (scene(replace(STAR, y=60.0), RING), 8, 9),
    "just beyond the border": (scene(replace(STAR, x=23.0), RING), 9, 9),
    "too far beyond it": (scene(replace(STAR, x=25.0), RING), 8, 9),
    "size": (scene(replace(STAR, radius=16.0), RING), 8, 9),
    "almost that size": (scene(replace(STAR, radius=14.0), RING), 9, 9),
    "one missing": (scene(STAR), 5, 9),
    "all missing": (scene(), 1, 9),
    "one too many": (scene(STAR, RING, thing(y=60)), 9, 10),
    "something else": (scene(STAR, thing("heart", "green", x=53)), 5, 9),
}


@pytest.mark.parametrize(("seen", "held", "claims"), SEEN.values(), ids=SEEN.keys())
def test_every_difference_costs_its_claim(seen, held, claims):
    found = agreement(plan_of(scene(STAR, RING)), seen)
    assert (found.held, found.claims) == (held, claims)
    assert found.whole == (held == claims)
    assert agrees(plan_of(scene(STAR, RING)), seen) == pytest.approx(held / claims)


def test_of_equal_objects_each_is_paired_once():
    planned = plan_of(scene(thing(x=10, y=10), thing(x=53, y=10), thing(x=53, y=53)))
    assert agreement(planned, scene(thing(x=10, y=10), thing(x=10, y=10), thing(x=53, y=53))).held == 12


def test_a_lesson_is_true_and_leaves_held_out_pairs_out():
    rng = np.random.default_rng(4)
    for _ in range(300):
        lesson = draw_planned(rng)
        plan = read_plan(lesson.plan)
        assert plan == plan_of(lesson.scene)
        assert plan is not None
        assert plan_meets(plan, lesson.request)
        assert parse(lesson.prompt) is not None
        assert not scene_is_held_out(lesson.scene)
    assert all(scene_is_held_out(draw_planned(rng, kind="pair", held_out=True).scene) for _ in range(20))


def test_a_stream_gives_the_same_lessons_again():
    first, again = (draw_planned(np.random.default_rng(5)) for _ in range(2))
    assert first == again
    assert not torch.equal(render([first.scene]), render([draw_planned(np.random.default_rng(6)).scene]))
