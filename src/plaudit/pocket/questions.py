"""Questions about scenes with exact answers, and the questions that a prompt comes down to.

A yes-or-no question is a small request in question form, so its answer is the judge's own: yes if the scene meets it.
Half of those drawn are true; the false ones are near misses where there are some (colours exchanged, a count off by
one, a relation turned). `requirements` takes a prompt apart into such questions, all of which a picture must meet.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plaudit.core.errors import BadConfig
from plaudit.pocket.prompts import NUMBERS, Request, Wanted, parse
from plaudit.pocket.scenes import BACKGROUNDS, COLOURS, MAX_OBJECTS, SHAPES, SIZE, Scene, Thing
from plaudit.pocket.truth import failures

YES_OR_NO = ("presence", "colour", "count", "relation", "background")
"""kinds of questions that are answered with yes or no"""
SHORT = ("how many", "which colour", "which shape", "which background", "which place", "which side")
"""kinds of questions that are answered with a number, a colour, a shape, a third of the picture or a relation"""
COLUMNS, ROWS = ("left", "centre", "right"), ("top", "centre", "bottom")
"""thirds of the picture"""
ANSWERS = ("yes", "no", "zero", *NUMBERS, *COLOURS, *SHAPES, *BACKGROUNDS, *COLUMNS, *ROWS, "above", "below")
"""every answer, a word each"""

_TRIES = 40
_CLEAR = 2.0
"""how far from a third's border an object lies that is asked for its place, in pixels"""
_OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
_WHERE = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question about a scene and its answer there."""

    kind: str
    """one of YES_OR_NO or SHORT"""
    text: str
    answer: str
    """one of ANSWERS"""


def draw_question(scene: Scene, rng: np.random.Generator, *, kind: str | None = None) -> Question:
    """A question of a kind (None draws that too) about the scene; as often yes as no where both can be.

    A kind that the scene has no questions of, such as relations of one object, gives way to "colour".
    """
    chosen = kind or str(rng.choice([*YES_OR_NO, *SHORT], p=_SHARES))
    if chosen in SHORT:
        return _short(scene, chosen, rng) or draw_question(scene, rng, kind="colour")
    if chosen == "relation" and len({_kind(thing) for thing in scene.things}) < 2:
        return draw_question(scene, rng, kind="colour")
    wanted = bool(rng.integers(2))
    request, right = _REQUESTS[chosen](scene, rng, wanted), not wanted
    for _ in range(_TRIES):
        right = not failures(scene, request)
        if right == wanted:
            break
        request = _REQUESTS[chosen](scene, rng, wanted)
        right = not failures(scene, request)
    return Question(kind=chosen, text=say_question(request, rng), answer="yes" if right else "no")


def requirements(prompt: str) -> list[str]:
    """Yes-or-no questions that a picture must all answer with yes, if it is to hold what the prompt asks for.

    Raises BadConfig for a prompt that is not about the pocket world.
    """
    request = parse(prompt)
    if request is None:
        raise BadConfig(f"{prompt!r} is not about the pocket world; questions are asked of such as 'two red stars'")
    return [say_question(part) for part in requirements_of(request)]


def requirements_of(request: Request) -> list[Request]:
    """The request taken apart: a scene meets it exactly if it meets each of these, the easiest first.

    Parts that follow from others are among them, so that an object in the wrong colour is half of what was asked for.
    """
    parts: list[Request] = []
    for wanted in request.wanted:
        parts.append(_there(Wanted(shape=wanted.shape)))
        if wanted.colour:
            parts.append(_there(Wanted(shape=wanted.shape, colour=wanted.colour)))
        if request.task != "counting" and wanted.count > 1:
            parts.append(_there(wanted))
    if request.task == "counting":
        parts.append(Request(task="counting", wanted=request.wanted))
    elif len(request.wanted) == 2 and (both := _for_both(*request.wanted)) is not None:
        parts.append(_there(both))
    if request.relation:
        named = tuple(dataclasses.replace(wanted, count=1) for wanted in request.wanted)
        parts.append(Request(task="position", wanted=named, relation=request.relation))
    if request.background:
        parts.append(Request(task="single_object", wanted=(), background=request.background))
    return list(dict.fromkeys(parts))


def say_question(request: Request, rng: np.random.Generator | None = None) -> str:
    """One requirement as a question: the plainest phrasing, or with `rng` any of them."""
    phrasings = _phrasings(request)
    return phrasings[int(rng.integers(len(phrasings)))] if rng is not None else phrasings[0]


def _there(wanted: Wanted) -> Request:
    """That at least so many are there."""
    return Request(task="colors" if wanted.colour else "single_object", wanted=(wanted,))


def _for_both(first: Wanted, second: Wanted) -> Wanted | None:
    """What there must be two of, lest one object stand for both; None if none could."""
    if first.shape != second.shape or (first.colour and second.colour and first.colour != second.colour):
        return None
    colour = first.colour if first.colour == second.colour else None
    return Wanted(shape=first.shape, colour=colour, count=max(2, first.count, second.count))


def _phrasings(request: Request) -> tuple[str, ...]:
    if not request.wanted:
        colour = request.background
        return f"is the background {colour}?", f"is the picture on a {colour} background?", f"is {colour} behind?"
    if request.relation:
        a, b = (_one(wanted) for wanted in request.wanted)
        plain, other = _WHERE[request.relation]
        the_a, the_b = (f"the {_words(wanted)}" for wanted in request.wanted)
        return f"is {a} {plain} {b}?", f"is {a} {other} {b}?", f"is {the_a} {other} {the_b}?"
    return _counted(request.wanted[0], exactly=request.task == "counting")


def _counted(wanted: Wanted, *, exactly: bool) -> tuple[str, ...]:
    number, many = NUMBERS[wanted.count - 1], _words(wanted, wanted.count)
    if exactly:
        be = "is" if wanted.count == 1 else "are"
        return (
            f"{be} there exactly {number} {many}?",
            f"does the picture show exactly {number} {many}?",
            f"is the number of {_words(wanted, 2)} {number}?",
        )
    if wanted.count > 1:
        return f"are there at least {number} {many}?", f"are there {number} or more {many}?"
    one = _one(wanted)
    return f"is there {one}?", f"is {one} in the picture?", f"does the picture show {one}?"


def _words(wanted: Wanted, count: int = 1) -> str:
    shape = wanted.shape if count == 1 else wanted.shape + ("es" if wanted.shape == "cross" else "s")
    return f"{wanted.colour} {shape}" if wanted.colour else shape


def _one(wanted: Wanted) -> str:
    words = _words(wanted)
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _some(scene: Scene, rng: np.random.Generator) -> Thing:
    return scene.things[int(rng.integers(len(scene.things)))]


def _kind(thing: Thing) -> tuple[str, str]:
    return thing.shape, thing.colour


def _about_presence(scene: Scene, rng: np.random.Generator, true: bool) -> Request:
    if not scene.things or not true:
        return _there(Wanted(shape=_pick(rng, SHAPES)))
    return _there(Wanted(shape=_some(scene, rng).shape))


def _about_colour(scene: Scene, rng: np.random.Generator, true: bool) -> Request:
    """A coloured object; a false one has another object's colour, or any other colour or shape."""
    if not scene.things:
        return _there(Wanted(shape=_pick(rng, SHAPES), colour=_pick(rng, list(COLOURS))))
    shape, colour = _kind(_some(scene, rng))
    if not true:
        change, others = rng.random(), [t.colour for t in scene.things if t.colour != colour]
        if change < 0.4 and others:
            colour = _pick(rng, others)
        elif change < 0.7:
            colour = _pick(rng, list(COLOURS))
        else:
            shape = _pick(rng, SHAPES)
    return _there(Wanted(shape=shape, colour=colour))


def _about_count(scene: Scene, rng: np.random.Generator, true: bool) -> Request:
    """An exact count, or with one in four "at least"; a false one is off by one or two, or counts another colour."""
    if not scene.things:
        return Request(task="counting", wanted=(Wanted(shape=_pick(rng, SHAPES), count=_count(rng)),))
    shape, colour = _kind(_some(scene, rng))
    if not true and rng.random() < 0.2:
        colour = _pick(rng, list(COLOURS))
    named = colour if rng.random() < 0.6 else None
    count = sum(t.shape == shape and named in (None, t.colour) for t in scene.things)
    if not true:
        count += int(rng.choice([-2, -1, -1, 1, 1, 2]))
    count = min(MAX_OBJECTS, max(1, count))
    wanted = Wanted(shape=shape, colour=named, count=count)
    if rng.random() < 0.25 and count > 1:
        return _there(wanted)
    return Request(task="counting", wanted=(wanted,))


def _count(rng: np.random.Generator) -> int:
    return int(rng.integers(1, MAX_OBJECTS + 1))


def _about_relation(scene: Scene, rng: np.random.Generator, true: bool) -> Request:
    """Two of the scene's objects; false ones are turned, stand for each other, exchange colours, or are another."""
    things = [scene.things[i] for i in rng.permutation(len(scene.things))]
    first = things[0]
    second = next(thing for thing in things if _kind(thing) != _kind(first))
    relation = _pick(rng, list(_OPPOSITE))
    if rng.random() < 0.7:  # along the axis on which they lie apart: the others are mostly false
        across = abs(first.x - second.x) > abs(first.y - second.y)
        relation = _pick(rng, ("left", "right") if across else ("above", "below"))
    a, b = (Wanted(shape=t.shape, colour=t.colour) for t in (first, second))
    change = rng.random()
    if not true and change < 0.2:
        a, b = dataclasses.replace(a, colour=b.colour), dataclasses.replace(b, colour=a.colour)
    elif not true and change < 0.3:
        a = dataclasses.replace(a, colour=_pick(rng, list(COLOURS)))
    elif not true and change < 0.4:
        b = dataclasses.replace(b, shape=_pick(rng, SHAPES))
    if a.shape != b.shape and rng.random() < 0.2:
        a, b = Wanted(shape=a.shape), Wanted(shape=b.shape)
    return Request(task="position", wanted=(a, b), relation=relation)


def _about_background(scene: Scene, rng: np.random.Generator, true: bool) -> Request:
    return Request(
        task="single_object", wanted=(), background=scene.background if true else _pick(rng, list(BACKGROUNDS))
    )


_REQUESTS = {
    "presence": _about_presence,
    "colour": _about_colour,
    "count": _about_count,
    "relation": _about_relation,
    "background": _about_background,
}
_SHARES = (0.08, 0.14, 0.17, 0.22, 0.05, 0.08, 0.03, 0.04, 0.02, 0.07, 0.10)
"""how often each kind is drawn: the harder, the oftener; places and sides are what relations are learned by"""


def _short(scene: Scene, kind: str, rng: np.random.Generator) -> Question | None:
    """A question with one right answer other than yes or no; None if the scene leaves it open."""
    if kind == "which background":
        text = _pick(rng, ("what colour is the background?", "which colour is behind?"))
        return Question(kind=kind, text=text, answer=scene.background)
    if not scene.things:
        return None
    return _SHORT[kind](scene, rng)


def _how_many(scene: Scene, rng: np.random.Generator) -> Question:
    shape, colour = _kind(_some(scene, rng))
    if rng.random() < 0.15:
        shape = _pick(rng, SHAPES)
    named = colour if rng.random() < 0.6 else None
    count = sum(t.shape == shape and named in (None, t.colour) for t in scene.things)
    many = _words(Wanted(shape=shape, colour=named), 2)
    text = _pick(rng, (f"how many {many} are there?", f"how many {many} does the picture show?"))
    # More than four is what no scene has, though a picture might.
    return Question(kind="how many", text=text, answer=("zero", *NUMBERS)[min(count, MAX_OBJECTS)])


def _which_colour(scene: Scene, rng: np.random.Generator) -> Question | None:
    shape, colour = _kind(_some(scene, rng))
    if len({t.colour for t in scene.things if t.shape == shape}) > 1:
        return None
    text = _pick(rng, (f"what colour is the {shape}?", f"which colour has the {shape}?"))
    return Question(kind="which colour", text=text, answer=colour)


def _which_shape(scene: Scene, rng: np.random.Generator) -> Question | None:
    shape, colour = _kind(_some(scene, rng))
    if len({t.shape for t in scene.things if t.colour == colour}) > 1:
        return None
    text = _pick(rng, (f"what shape is {colour}?", f"which shape has the {colour} object?"))
    return Question(kind="which shape", text=text, answer=shape)


def _which_place(scene: Scene, rng: np.random.Generator) -> Question | None:
    """The third of the picture that an object without equals lies in, if it is clear which."""
    thing = _some(scene, rng)
    if sum(_kind(t) == _kind(thing) for t in scene.things) > 1:
        return None
    names, what, at = (COLUMNS, "column", thing.x) if rng.random() < 0.5 else (ROWS, "row", thing.y)
    third = SIZE / len(names)
    if min(abs(at - third), abs(at - 2 * third)) < _CLEAR:
        return None
    the = f"the {_words(Wanted(shape=thing.shape, colour=thing.colour))}"
    text = _pick(rng, (f"in which {what} is {the}?", f"which {what} holds {the}?"))
    return Question(kind="which place", text=text, answer=names[min(2, max(0, int(at / third)))])


def _which_side(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Where one object lies as seen from another, if that is one relation only and both are without equals."""
    pair = [scene.things[i] for i in rng.permutation(len(scene.things))[:2]]
    if len(pair) < 2 or any(sum(_kind(t) == _kind(thing) for t in scene.things) > 1 for thing in pair):
        return None
    wanted = tuple(Wanted(shape=t.shape, colour=t.colour) for t in pair)
    asked = {side: Request(task="position", wanted=wanted, relation=side) for side in _OPPOSITE}
    sides = [side for side, request in asked.items() if not failures(scene, request)]
    if len(sides) != 1:
        return None
    a, b = (f"the {_words(one)}" for one in wanted)
    text = _pick(rng, (f"on which side of {b} is {a}?", f"where is {a} seen from {b}?"))
    return Question(kind="which side", text=text, answer=sides[0])


_SHORT = {
    "how many": _how_many,
    "which colour": _which_colour,
    "which shape": _which_shape,
    "which place": _which_place,
    "which side": _which_side,
}
