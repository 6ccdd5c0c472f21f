"""Prompts about scenes, in varied natural English, and the way back: from a prompt to what it asks for.

`describe` puts a scene into words; `parse` reads such words, from `describe` or from a user, into a `Request`,
which the judge checks. The six tasks and their meaning are GenEval's: objects must be there, counts must be exact,
relations must hold between the named objects; other objects do no harm, except to a count.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plaudit.pocket.scenes import BACKGROUNDS, COLOURS, Scene, order_of

TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
"""GenEval's task names, as published"""

NUMBERS = ("one", "two", "three", "four")

_NOUNS = {
    "circle": ("circle", "disc"),
    "square": ("square",),
    "triangle": ("triangle",),
    "star": ("star",),
    "cross": ("cross", "plus sign"),
    "ring": ("ring",),
    "diamond": ("diamond", "rhombus"),
    "heart": ("heart",),
}
_OPENINGS = ("", "", "a photo of ", "a picture of ", "an image of ", "a drawing of ", "there is ", "we see ")
_RELATIONS = {
    "left": ("left of", "to the left of", "on the left of"),
    "right": ("right of", "to the right of", "on the right of"),
    "above": ("above", "over", "on top of"),
    "below": ("below", "under", "beneath"),
}
_JOINTS = (" and ", " and ", " next to ", " together with ", " beside ")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Some equal objects a prompt asks for; `colour` None means any."""

    shape: str
    colour: str | None = None
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a prompt asks for."""

    task: str
    """one of TASKS"""
    wanted: tuple[Wanted, ...]
    relation: str | None = None
    """where the first wanted object lies as seen from the second: left, right, above, below"""
    background: str | None = None


def describe(scene: Scene, rng: np.random.Generator, *, task: str | None = None) -> tuple[str, Request]:
    """A prompt that is true of the scene, and what it asks for; the task is drawn if not given.

    Raises ValueError if the task cannot describe the scene.
    """
    request = _request(scene, task or _draw_task(scene, rng), rng)
    if task is None and rng.random() < 0.25:
        request = Request(
            task=request.task, wanted=request.wanted, relation=request.relation, background=scene.background
        )
    return say(request, rng), request


def say(request: Request, rng: np.random.Generator) -> str:
    """The request in words, one of many phrasings."""
    parts = [_phrase(w, rng) for w in request.wanted]
    if request.relation:
        verb = "is " if rng.random() < 0.2 else ""
        text = f"{parts[0]} {verb}{_pick(rng, _RELATIONS[request.relation])} {parts[1]}"
        opening = "" if verb else _pick(rng, _OPENINGS)
    else:
        text = _pick(rng, _JOINTS).join(parts)
        opening = _pick(rng, _OPENINGS)
    if opening == "there is " and request.wanted[0].count > 1:
        opening = "there are "
    if request.background:
        text += f" {_pick(rng, ('on', 'on', 'in front of'))} a {request.background} background"
    return opening + text


def parse(prompt: str) -> Request | None:
    """What the prompt asks for, or None if it is not about the pocket world."""
    words = re.sub(r"[^a-z0-9 ]", " ", prompt.lower()).split()
    words, background = _take_background(words)
    found = _find_things(words)
    if not found or len(found) > 2:
        return None
    wanted = tuple(thing for _, thing in found)
    relation = _find_relation(words[found[0][0] : found[1][0]]) if len(found) == 2 else None
    return Request(task=_task_of(wanted, relation), wanted=wanted, relation=relation, background=background)


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _draw_task(scene: Scene, rng: np.random.Generator) -> str:
    things = scene.things
    if len(things) == 1:
        return _pick(rng, ("single_object", "colors", "colors"))
    if len({(t.shape, t.colour) for t in things}) == 1:
        return "counting"
    if things[0].shape == things[1].shape:
        return _pick(rng, ("position", "color_attr"))
    return _pick(rng, ("two_object", "position", "position", "color_attr"))


def _request(scene: Scene, task: str, rng: np.random.Generator) -> Request:
    things = list(scene.things)
    equal = len({(t.shape, t.colour) for t in things}) == 1
    first = things[0]
    if task in ("single_object", "colors") and len(things) == 1:
        colour = first.colour if task == "colors" else None
        return Request(task=task, wanted=(Wanted(shape=first.shape, colour=colour),))
    if task == "counting" and equal and len(things) > 1:
        colour = first.colour if rng.random() < 0.6 else None
        return Request(task=task, wanted=(Wanted(shape=first.shape, colour=colour, count=len(things)),))
    if task in ("two_object", "position", "color_attr") and len(things) == 2 and not equal:
        a, b = (things[1], things[0]) if rng.random() < 0.5 else (things[0], things[1])
        coloured = task != "two_object"
        wanted = tuple(Wanted(shape=t.shape, colour=t.colour if coloured else None) for t in (a, b))
        return Request(task=task, wanted=wanted, relation=order_of(a, b) if task == "position" else None)
    raise ValueError(f"a scene of {len(things)} things cannot be described as {task!r}")


def _phrase(wanted: Wanted, rng: np.random.Generator) -> str:
    noun = _pick(rng, _NOUNS[wanted.shape]) if rng.random() < 0.25 else wanted.shape
    if wanted.count > 1:
        noun += "es" if noun == "cross" else "s"
        number = NUMBERS[wanted.count - 1] if rng.random() < 0.85 else str(wanted.count)
        return f"{number} {wanted.colour} {noun}" if wanted.colour else f"{number} {noun}"
    if wanted.colour is None:
        return f"a {noun}"
    if rng.random() < 0.15:
        return f"a {noun} that is {wanted.colour}"
    return f"{'an' if wanted.colour[0] in 'aeiou' else 'a'} {wanted.colour} {noun}"


def _take_background(words: list[str]) -> tuple[list[str], str | None]:
    """The words without "on a black background", and its colour."""
    for index, word in enumerate(words):
        if word == "background" and index and words[index - 1] in BACKGROUNDS:
            start = index - 1
            while start and words[start - 1] in (
                "a",
                "the",
                "plain",
                "on",
                "of",
                "in",
                "front",
                "against",
                "with",
            ):
                start -= 1
            return words[:start] + words[index + 1 :], words[index - 1]
    return words, None


def _find_things(words: list[str]) -> list[tuple[int, Wanted]]:
    """(index of the noun, what) of every object named."""
    found: list[tuple[int, Wanted]] = []
    colour, count = None, 1
    for index, word in enumerate(words):
        if word in COLOURS and found and words[index - 2 : index] in (["that", "is"], ["that", "are"]):
            noun, thing = found[-1]
            found[-1] = (noun, Wanted(shape=thing.shape, colour=word, count=thing.count))
            continue
        if word in COLOURS:
            colour = word
        if word in NUMBERS or word in ("1", "2", "3", "4"):
            count = NUMBERS.index(word) + 1 if word in NUMBERS else int(word)
        if shape := _NOUN_TO_SHAPE.get(word):
            found.append((index, Wanted(shape=shape, colour=colour, count=count)))
            colour, count = None, 1
    return found


def _find_relation(between: list[str]) -> str | None:
    for word in between:
        if relation := _WORD_TO_RELATION.get(word):
            return relation
    return None


def _task_of(wanted: tuple[Wanted, ...], relation: str | None) -> str:
    if len(wanted) == 2:
        if relation:
            return "position"
        return "color_attr" if any(w.colour for w in wanted) else "two_object"
    if wanted[0].count > 1:
        return "counting"
    return "colors" if wanted[0].colour else "single_object"


_NOUN_TO_SHAPE = {"plus": "cross", "crosses": "cross"} | {
    form: shape for shape, nouns in _NOUNS.items() for noun in nouns for form in (noun, noun + "s") if " " not in noun
}
_WORD_TO_RELATION = {
    "left": "left", "right": "right", "above": "above", "over": "above", "top": "above",
    "below": "below", "under": "below", "beneath": "below", "underneath": "below",
}  # fmt: skip
