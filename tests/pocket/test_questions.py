"""Questions about scenes: their answers are the judge's own, and a prompt's are what it asks for."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from plaudit.core.errors import BadConfig
from plaudit.pocket.build.negatives import near_scene
from plaudit.pocket.prompts import Request, Wanted, describe, parse, say
from plaudit.pocket.questions import (
    ANSWERS,
    ROWS,
    SHORT,
    YES_OR_NO,
    draw_question,
    requirements,
    requirements_of,
    say_question,
)
from plaudit.pocket.scenes import BACKGROUNDS, COLOURS, SHAPES, UNCLEAR, Scene, Thing, draw_scene, order_of
from plaudit.pocket.truth import failures
from plaudit.suites.pocket_eval import pocket_eval_prompts


def thing(shape="star", colour="red", x=16.0, y=32.0):
    return Thing(shape=shape, colour=colour, x=x, y=y, radius=10)


def scene(*things, background="white"):
    return Scene(background=background, things=things)


STAR, RING, OTHER_STAR = thing(), thing("ring", "blue", x=48), thing("star", "pink", y=55)
KNOWN = scene(STAR, RING, OTHER_STAR, background="grey")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("is there a star?", "yes"),
        ("is there a heart?", "no"),
        ("is there a red star?", "yes"),
        ("is there a blue star?", "no"),
        ("are there exactly two stars?", "yes"),
        ("is there exactly one star?", "no"),
        ("is there exactly one red star?", "yes"),
        ("are there exactly three stars?", "no"),
        ("are there at least two stars?", "yes"),
        ("are there at least two rings?", "no"),
        ("is a red star left of a blue ring?", "yes"),
        ("is a blue ring left of a red star?", "no"),
        ("is a blue ring right of a star?", "yes"),
        ("is a red star above a pink star?", "yes"),
        ("is the background grey?", "yes"),
        ("is the background black?", "no"),
    ],
)
def test_a_question_and_its_answer(question, answer):
    asked = [r for r in every_request() if say_question(r) == question]
    assert len(asked) == 1
    assert ("yes" if not failures(KNOWN, asked[0]) else "no") == answer


def every_request():
    kinds = [("star", None), ("heart", None), ("ring", None), ("star", "red"), ("star", "blue"), ("star", "pink")]
    kinds += [("ring", "blue")]
    for shape, colour in kinds:
        for count in (1, 2, 3):
            wanted = (Wanted(shape=shape, colour=colour, count=count),)
            yield Request(task="counting", wanted=wanted)
            yield Request(task="single_object", wanted=wanted)
    for first in kinds:
        for second in kinds:
            for relation in ("left", "right", "above", "below"):
                wanted = tuple(Wanted(shape=shape, colour=colour) for shape, colour in (first, second))
                yield Request(task="position", wanted=wanted, relation=relation)
    yield from (Request(task="single_object", wanted=(), background=colour) for colour in BACKGROUNDS)


def test_questions_with_one_meaning_have_one_plainest_wording():
    said = [say_question(request) for request in every_request()]
    assert len(set(said)) == len(said)


def sought(question):
    """What a yes-or-no question asks for, read from its words alone."""
    words = question.removesuffix("?").split()
    if "background" in words or "behind" in words:
        return Request(task="single_object", wanted=(), background=next(w for w in words if w in BACKGROUNDS))
    request = parse(" ".join("an exact" if word == "exactly" else word for word in words))
    assert request is not None, question
    if request.relation:
        return request
    task = "counting" if {"exactly", "number"} & set(words) else "single_object"
    wanted = request.wanted[0]
    if words[:2] == ["is", "the"]:  # "is the number of red stars two?": the number comes last
        wanted = replace(wanted, count=("one", "two", "three", "four").index(words[-1]) + 1)
    return Request(task=task, wanted=(wanted,))


def test_every_phrasing_of_a_drawn_question_is_answered_as_its_words_say():
    rng = np.random.default_rng(0)
    for _ in range(400):
        drawn = draw_scene(rng)
        for kind in YES_OR_NO:
            question = draw_question(drawn, rng, kind=kind)
            assert question.answer == ("no" if failures(drawn, sought(question.text)) else "yes"), question


def test_short_answers_are_right():
    rng, found_kinds = np.random.default_rng(1), set()
    for _ in range(400):
        drawn = draw_scene(rng)
        for kind in SHORT:
            question = draw_question(drawn, rng, kind=kind)
            if question.kind != kind:
                assert kind != "how many"
                continue
            found_kinds.add(kind)
            words = question.text.removesuffix("?").split()
            named = {t for t in drawn.things if t.shape in words or t.colour in words}
            if kind == "which background":
                assert question.answer == drawn.background
            elif kind == "which colour":
                assert {t.colour for t in named} == {question.answer}
            elif kind == "which shape":
                assert {t.shape for t in named} == {question.answer}
            elif kind == "which place":
                (one,) = (t for t in drawn.things if t.shape in words and t.colour in words)
                at, names = (one.x, ("left", "centre", "right")) if "column" in words else (one.y, ROWS)
                assert 64 * names.index(question.answer) / 3 <= at <= 64 * (names.index(question.answer) + 1) / 3
            elif kind == "which side":
                said = parse(question.text)
                assert said is not None
                turned = said.wanted[::-1] if "on which side" in question.text else said.wanted
                request = replace(said, wanted=turned, relation=question.answer)
                assert not failures(drawn, request)
            else:
                wanted = parse(question.text.replace("how many", "").replace("does the picture show", ""))
                assert wanted is not None
                found = sum(
                    t.shape == wanted.wanted[0].shape and wanted.wanted[0].colour in (None, t.colour)
                    for t in drawn.things
                )
                assert question.answer == ("zero", "one", "two", "three", "four")[found]
    assert found_kinds == set(SHORT)


def test_yes_is_as_frequent_as_no_and_no_is_hard():
    rng = np.random.default_rng(2)
    answers: dict[str, Counter[str]] = {kind: Counter() for kind in YES_OR_NO}
    near = 0
    for _ in range(1500):
        drawn = draw_scene(rng, kind="pair")
        for kind in YES_OR_NO:
            question = draw_question(drawn, rng, kind=kind)
            assert question.kind == kind
            answers[kind][question.answer] += 1
            if kind == "colour" and question.answer == "no":
                near += all(
                    word in {t.shape for t in drawn.things} | {t.colour for t in drawn.things}
                    for word in question.text.removesuffix("?").split() if word in (*SHAPES, *COLOURS)
                )  # fmt: skip
    for kind, found in answers.items():
        assert found["yes"] / 1500 == pytest.approx(0.5, abs=0.06), kind
    assert near > 0.3 * answers["colour"]["no"], "colours exchanged between the objects"


def test_a_false_relation_is_often_the_turned_one():
    rng = np.random.default_rng(3)
    false = turned = 0
    for _ in range(600):
        drawn = draw_scene(rng, kind="pair")
        request = sought(draw_question(drawn, rng, kind="relation").text)
        if failures(drawn, request):
            false += 1
            turned += not failures(drawn, replace(request, wanted=request.wanted[::-1]))
    assert turned > 0.3 * false


def test_answers_are_of_the_list_and_phrasings_are_several():
    rng = np.random.default_rng(4)
    texts: dict[str, set[str]] = {}
    one = scene(STAR, RING)
    for _ in range(3000):
        question = draw_question(one, rng)
        assert question.answer in ANSWERS
        assert question.text == question.text.lower()
        assert question.text.endswith("?")
        words = [w for w in question.text.split() if w.removesuffix("?") not in (*SHAPES, *COLOURS)]
        texts.setdefault(question.kind, set()).add(" ".join(words))
    assert set(texts) == {*YES_OR_NO, *SHORT}
    assert all(len(found) >= 2 for found in texts.values())


def test_a_scene_of_equals_has_no_relations_and_asks_for_colours_instead():
    rng = np.random.default_rng(5)
    assert draw_question(scene(STAR, replace(STAR, x=48.0)), rng, kind="relation").kind == "colour"
    assert draw_question(scene(), rng, kind="colour").answer == "no"


PROMPTS = [prompt for prompt in pocket_eval_prompts()]


def scenes_for(request, rng):
    """A scene that meets the request, and six that are near to it, of which most do not."""
    while True:
        drawn = draw_scene(rng)
        wanted = [w for w in request.wanted for _ in range(w.count)]
        if len(drawn.things) != len(wanted):
            continue
        things = tuple(
            replace(t, shape=w.shape, colour=w.colour or t.colour) for t, w in zip(drawn.things, wanted, strict=True)
        )
        if request.relation in (None, order_of(things[0], things[-1])):
            right = Scene(background=request.background or drawn.background, things=things)
            break
    near = [near_scene(right, request, rng) for _ in range(4)]
    return right, [*near, draw_scene(rng), replace(right, things=(*right.things, thing(UNCLEAR, "pink")))]


def test_the_requirements_of_every_pocket_eval_prompt_are_together_what_it_asks():
    rng = np.random.default_rng(6)
    assert len(PROMPTS) == 553
    for prompt in PROMPTS:
        right, others = scenes_for(prompt.request, rng)
        asked = requirements(prompt.text)
        assert asked
        assert all(not failures(right, sought(question)) for question in asked), prompt.text
        for other in others:
            met = all(not failures(other, sought(question)) for question in asked)
            assert met == (not failures(other, prompt.request)), (prompt.text, other)


@pytest.mark.parametrize(
    "prompt",
    [
        "a circle and a circle",
        "a red circle and a circle",
        "a circle next to a red circle",
        "a red circle and a red circle",
        "a red circle left of a circle",
        "two red circles and a blue star",
        "two circles above a circle",
        "three blue stars on a black background",
        "one blue star",
        "two stars left of two stars",
    ],
)
def test_what_users_ask_for_is_taken_apart_without_loss(prompt):
    rng = np.random.default_rng(7)
    request = parse(prompt)
    assert request is not None
    shapes, colours = ("circle", "star", UNCLEAR), ("red", "blue")
    met = 0
    for _ in range(3000):
        things = tuple(
            thing(shapes[int(rng.choice(3, p=[0.5, 0.4, 0.1]))], str(rng.choice(colours)), *rng.uniform(8, 56, size=2))
            for _ in range(int(rng.integers(0, 5)))
        )
        drawn = scene(*things, background=str(rng.choice(list(BACKGROUNDS))))
        right = not failures(drawn, request)
        met += right
        assert all(not failures(drawn, part) for part in requirements_of(request)) == right, drawn
    assert met >= 5


def test_half_right_is_half_of_the_requirements():
    request = parse("a red star left of a blue ring")
    assert request is not None
    drawn = scene(replace(STAR, colour="green"), replace(RING, colour="green"))
    assert [not failures(drawn, part) for part in requirements_of(request)] == [True, False, True, False, False]


def test_requirements_are_few_and_not_repeated():
    rng = np.random.default_rng(8)
    for _ in range(300):
        asked = requirements(say(describe(draw_scene(rng), rng)[1], rng))
        assert 1 <= len(asked) <= 6
        assert len(set(asked)) == len(asked)


def test_a_prompt_about_something_else_is_told_in_a_sentence():
    with pytest.raises(BadConfig, match="'a fox' is not about the pocket world"):
        requirements("a fox")
