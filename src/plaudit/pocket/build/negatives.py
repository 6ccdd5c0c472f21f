"""Near misses: prompts that are almost true of a scene, and scenes that are almost what a prompt asks for.

They are what teaches a reward model to bind attributes: swapped colours, a wrong count, a turned relation, one
shape or colour replaced (cf. Yuksekgonul et al. 2023, on bags of words).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from plaudit.pocket.prompts import Request, Wanted
from plaudit.pocket.scenes import COLOURS, SHAPES, Scene, Thing, draw_scene
from plaudit.pocket.truth import failures

_RELATIONS = ("left", "right", "above", "below")
_OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}


def false_requests(scene: Scene, request: Request, rng: np.random.Generator, count: int) -> list[Request]:
    """`count` different requests close to `request` that the scene does not meet."""
    found: list[Request] = []
    for attempt in range(200):
        changed = _changed(request, rng)
        if attempt % 8 == 7:  # a request with few neighbours needs more
            changed = _changed(changed, rng) if request.wanted[0].colour else _coloured(request, rng)
        if changed not in found and changed != request and failures(scene, changed):
            found.append(changed)
            if len(found) == count:
                return found
    raise ValueError(f"found only {len(found)} of {count} near misses of {request}")


def near_scene(scene: Scene, request: Request, rng: np.random.Generator) -> Scene:
    """A scene like this one with one thing changed, so that it no longer meets the request it met."""
    for _ in range(200):
        changed = _changed_scene(scene, rng)
        if failures(changed, request):
            return changed
    return draw_scene(rng, kind="pair")


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _changed(request: Request, rng: np.random.Generator) -> Request:
    wanted = list(request.wanted)
    slot = int(rng.integers(len(wanted)))
    change = rng.integers(4)
    if change == 0 and request.relation:
        other = _OPPOSITE[request.relation] if rng.random() < 0.7 else _pick(rng, _RELATIONS)
        return dataclasses.replace(request, relation=other)
    if change == 0 and request.task == "counting":
        return _with(request, [dataclasses.replace(wanted[0], count=int(rng.integers(2, 5)))])
    if change == 1 and len(wanted) == 2:
        return _with(request, _swapped(wanted[0], wanted[1], rng))
    if change == 2 and wanted[slot].colour:
        wanted[slot] = dataclasses.replace(wanted[slot], colour=_pick(rng, list(COLOURS)))
    else:
        wanted[slot] = dataclasses.replace(wanted[slot], shape=_pick(rng, SHAPES))
    if len(wanted) == 2 and wanted[0] == wanted[1]:
        return request
    return _with(request, wanted)


def _coloured(request: Request, rng: np.random.Generator) -> Request:
    """The request with a colour for its first object, which it left open."""
    task = {"single_object": "colors", "two_object": "color_attr"}.get(request.task, request.task)
    first = dataclasses.replace(request.wanted[0], colour=_pick(rng, list(COLOURS)))
    return dataclasses.replace(request, task=task, wanted=(first, *request.wanted[1:]))


def _with(request: Request, wanted: Sequence[Wanted]) -> Request:
    return dataclasses.replace(request, wanted=tuple(wanted))


def _swapped(first: Wanted, second: Wanted, rng: np.random.Generator) -> list[Wanted]:
    """The two with their colours exchanged, or, under a relation, their places."""
    if first.colour and rng.random() < 0.6:
        return [
            dataclasses.replace(first, colour=second.colour), dataclasses.replace(second, colour=first.colour)
        ]  # fmt: skip
    return [second, first]


def _changed_scene(scene: Scene, rng: np.random.Generator) -> Scene:
    things = list(scene.things)
    change, slot = rng.integers(5), int(rng.integers(len(things)))
    if change == 0 and len(things) == 2:  # exchange places
        a, b = things
        things = [dataclasses.replace(a, x=b.x, y=b.y), dataclasses.replace(b, x=a.x, y=a.y)]
    elif change == 1 and len(things) == 2:  # exchange colours
        a, b = things
        things = [dataclasses.replace(a, colour=b.colour), dataclasses.replace(b, colour=a.colour)]
    elif change == 2 and len(things) > 1:  # leave one out
        del things[slot]
    elif change == 3:
        things = _recoloured(things, slot, _pick(rng, list(COLOURS)))
    else:
        things = _reshaped(things, slot, _pick(rng, SHAPES))
    return Scene(background=scene.background, things=tuple(things))


def _recoloured(things: list[Thing], slot: int, colour: str) -> list[Thing]:
    return [dataclasses.replace(t, colour=colour) if i == slot else t for i, t in enumerate(things)]


def _reshaped(things: list[Thing], slot: int, shape: str) -> list[Thing]:
    return [dataclasses.replace(t, shape=shape) if i == slot else t for i, t in enumerate(things)]
