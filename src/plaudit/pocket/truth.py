"""What a prompt asks for, held against a scene: counts must be exact, objects must be there, relations must hold.

The rules are GenEval's (Ghosh et al. 2023, section 3): other objects do no harm except to a count, and a relation
holds if the unit offset between two objects points that way by more than a half.
"""

import math

from plaudit.pocket.prompts import Request, Wanted
from plaudit.pocket.scenes import UNCLEAR, Scene, Thing

MIN_OFFSET = 4.0
"""objects closer than this stand in no relation, in pixels"""


def failures(scene: Scene, request: Request) -> tuple[str, ...]:
    """One phrase for each requirement that the scene does not meet; empty if it is all that was asked for."""
    reasons = []
    if request.background and scene.background != request.background:
        reasons.append(f"the background is {scene.background}, not {request.background}")
    if request.task == "counting":
        reasons += _miscount(scene, request.wanted[0])
    else:
        reasons += _missing(scene, request)
    return tuple(reasons)


def _miscount(scene: Scene, wanted: Wanted) -> list[str]:
    reasons = []
    count = sum(_matches(thing, wanted) for thing in scene.things)
    if count != wanted.count:
        reasons.append(f"{count} of {wanted.count} {_words(wanted)} objects")
    if unclear := sum(thing.shape == UNCLEAR for thing in scene.things):
        reasons.append(f"{unclear} unclear objects")
    return reasons


def _missing(scene: Scene, request: Request) -> list[str]:
    absent = [w for w in request.wanted if sum(_matches(t, w) for t in scene.things) < w.count]
    if absent:
        return [f"no {_words(w)}" for w in absent]
    if len(request.wanted) < 2:
        return []
    first, second = request.wanted
    pairs = [
        (a, b) for a in scene.things for b in scene.things
        if a is not b and _matches(a, first) and _matches(b, second)
    ]  # fmt: skip
    if not pairs:
        return [f"one object for both {_words(first)} and {_words(second)}"]
    if request.relation and not any(_holds(request.relation, a, b) for a, b in pairs):
        return [f"{_words(first)} is not {request.relation} of {_words(second)}"]
    return []


def _matches(thing: Thing, wanted: Wanted) -> bool:
    return thing.shape == wanted.shape and wanted.colour in (None, thing.colour)


def _holds(relation: str, first: Thing, second: Thing) -> bool:
    """GenEval's rule: the unit offset points that way by more than a half; and by more than 4 pixels."""
    dx, dy = first.x - second.x, first.y - second.y
    along = {"left": -dx, "right": dx, "above": -dy, "below": dy}[relation]
    return along > max(MIN_OFFSET, 0.5 * math.hypot(dx, dy))


def _words(wanted: Wanted) -> str:
    return f"{wanted.colour} {wanted.shape}" if wanted.colour else wanted.shape
