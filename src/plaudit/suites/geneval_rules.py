"""GenEval's rules (Ghosh et al. 2023): what detections say about a prompt's requirements. No network is involved.

A prompt's own row of the benchmark says what is required, under two keys:

include   clauses that must all hold: {"class", "count", and if asked for "color" and "position": [relation, clause]}
exclude   clauses none of which may hold: {"class", "count"}: so many of the class are too many

The decisions are the released evaluation's, at commit af4902f: which detections count, in what order objects are
looked at, and when a relation holds. Ours is the partial credit beside its right or wrong: the share of requirements
that hold, where each clause's count, colour and position is one requirement. An exclusion goes with the count of its
class ("exactly two dogs"): alone it would hold in an empty picture. One of a class that is not asked for is a
requirement of its own, and holds only where all that is asked for is there.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from plaudit.core.errors import BadConfig
from plaudit.suites.detectors import Box, Detection, centre

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
"""an object is the likeliest of these"""
RELATIONS = ("left of", "right of", "above", "below")
COUNTING = "counting"
"""the task whose objects must be surer"""

ColoursOf = Callable[[Sequence[Detection], str], Sequence[str]]
"""the colours of objects of one class, one for each"""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The published numbers."""

    threshold: float = 0.3
    """an object is there if its detection is surer than this"""
    counting_threshold: float = 0.9
    """the same, for prompts that ask for a number"""
    max_objects: int = 16
    """of a class; the surest are kept"""
    max_overlap: float = 1.0
    """of two boxes of a class, above which only the surer is kept; 1 keeps all"""
    margin: float = 0.1
    """how far centres must lie apart on an axis to count there, in parts of both objects' sizes"""


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What became of one requirement."""

    requirement: str
    """in words"""
    holds: bool
    reason: str = ""
    """why it does not"""


def kept(found: Sequence[Detection], *, counting: bool, rules: Rules | None = None) -> dict[str, list[Detection]]:
    """The detections that count, by class, the surest first."""
    rules = rules or Rules()
    threshold = rules.counting_threshold if counting else rules.threshold
    by_class: dict[str, list[Detection]] = {}
    for detection in sorted(found, key=lambda it: -it.score):
        if detection.score > threshold:
            by_class.setdefault(detection.label, []).append(detection)
    return {label: _apart(many[: rules.max_objects], rules.max_overlap) for label, many in by_class.items()}


def relations_of(first: Box, second: Box, *, margin: float = Rules.margin) -> frozenset[str]:
    """Where the first box lies as seen from the second: of RELATIONS none, one or, between two, both.

    Centres' offset less the margin on each axis, over the length of the whole offset, must be above a half.
    """
    (ax, ay), (bx, by) = centre(first), centre(second)
    offsets = ax - bx, ay - by
    widths = abs(first[2] - first[0]) + abs(second[2] - second[0])
    heights = abs(first[3] - first[1]) + abs(second[3] - second[1])
    beyond = [
        math.copysign(max(abs(offset) - margin * size, 0.0), offset)
        for offset, size in zip(offsets, (widths, heights), strict=True)
    ]
    if all(abs(value) < 1e-3 for value in beyond):
        return frozenset()
    length = math.hypot(*offsets)
    dx, dy = (value / length for value in beyond)
    holds = {"left of": dx < -0.5, "right of": dx > 0.5, "above": dy < -0.5, "below": dy > 0.5}
    return frozenset(name for name, there in holds.items() if there)


def rulings(
    objects: Mapping[str, Sequence[Detection]],
    requirements: Mapping[str, Any],
    colours_of: ColoursOf,
    *,
    margin: float = Rules.margin,
) -> list[Ruling]:
    """What becomes of each requirement, in their order. `objects`: the detections that count, the surest first.

    Of a clause's objects only the surest, as many as it asks for, are looked at for colour and place. Raises BadConfig
    for clauses that cannot be read.
    """
    made: list[Ruling] = []
    met: list[Sequence[Detection] | None] = []
    counts: dict[str, int] = {}
    for clause in clauses_of(requirements, "include"):
        counts.setdefault(clause["class"], len(made))
        found = objects.get(clause["class"], ())[: clause["count"]]
        ruled = [_count(clause, found)]
        if "color" in clause:
            ruled.append(_colour(clause, found, colours_of) if ruled[0].holds else _not_there(clause, "color"))
        if "position" in clause:
            whole = all(one.holds for one in ruled)
            ruled.append(_position(clause, found, met, margin) if whole else _not_there(clause, "position"))
        met.append(found if all(one.holds for one in ruled) else None)
        made += ruled
    included = all(one is not None for one in met)
    for clause in clauses_of(requirements, "exclude"):
        seen = len(objects.get(clause["class"], ()))
        if (place := counts.get(clause["class"])) is None:
            made.append(_absent(clause, seen, included=included))
        else:
            made[place] = _no_more(made[place], clause, seen)
    return made


def clauses_of(requirements: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The clauses under "include" or "exclude". Raises BadConfig if they lack what the rules read."""
    clauses = list(requirements.get(key, ()))
    if key == "include" and not clauses:
        raise BadConfig(f"GenEval's rules need a prompt's requirements under 'include', got {dict(requirements)}")
    for clause in clauses:
        if not isinstance(clause.get("class"), str) or not isinstance(clause.get("count"), int) or clause["count"] < 1:
            raise BadConfig(f"a clause of GenEval must have a 'class' and a 'count' of at least 1, got {dict(clause)}")
        if "position" in clause and not _is_position(clause["position"], clauses.index(clause)):
            raise BadConfig(
                f"the position in {dict(clause)} must be one of {', '.join(RELATIONS)} and the number of a clause "
                "before it"
            )
    return clauses


def _is_position(position: Any, clause: int) -> bool:
    if not isinstance(position, Sequence) or len(position) != 2:
        return False
    relation, target = position
    return relation in RELATIONS and isinstance(target, int) and 0 <= target < clause


def _count(clause: Mapping[str, Any], found: Sequence[Detection]) -> Ruling:
    kind, wanted = clause["class"], clause["count"]
    holds = len(found) == wanted
    words = kind if wanted == 1 else f"{wanted} {kind}"
    none = f"no {kind}" if not found else f"{len(found)} of {wanted} {kind}"
    return Ruling(requirement=words, holds=holds, reason="" if holds else none)


def _no_more(counted: Ruling, clause: Mapping[str, Any], seen: int) -> Ruling:
    """What becomes of a count if so many are too many."""
    within = replace(counted, requirement=f"{counted.requirement}, fewer than {clause['count']}")
    return within if seen < clause["count"] else replace(within, holds=False, reason=_too_many(clause, seen))


def _absent(clause: Mapping[str, Any], seen: int, *, included: bool) -> Ruling:
    """What becomes of an exclusion by itself. It is to no picture's credit that nothing at all is there."""
    fewer = seen < clause["count"]
    reason = "" if fewer else _too_many(clause, seen)
    return Ruling(
        requirement=f"fewer than {clause['count']} {clause['class']}", holds=fewer and included, reason=reason
    )


def _too_many(clause: Mapping[str, Any], seen: int) -> str:
    return f"{seen} {clause['class']}, wanted fewer than {clause['count']}"


def _colour(clause: Mapping[str, Any], found: Sequence[Detection], colours_of: ColoursOf) -> Ruling:
    kind, wanted, colour = clause["class"], clause["count"], clause["color"]
    seen = list(colours_of(found, kind))
    holds = seen.count(colour) >= wanted
    reason = "" if holds else f"{kind} is {' and '.join(dict.fromkeys(seen))}, not {colour}"
    return Ruling(requirement=f"{colour} {kind}", holds=holds, reason=reason)


def _position(
    clause: Mapping[str, Any], found: Sequence[Detection], met: Sequence[Sequence[Detection] | None], margin: float
) -> Ruling:
    kind, (relation, target) = clause["class"], clause["position"]
    words = f"{kind} {relation} object {target + 1}"
    others = met[target]
    if others is None:
        return Ruling(requirement=words, holds=False, reason=f"nothing for {kind} to be {relation}")
    for one in found:
        for other in others:
            there = relations_of(one.box, other.box, margin=margin)
            if relation not in there:
                where = " and ".join(name for name in RELATIONS if name in there) or "at no side of"
                return Ruling(
                    requirement=words, holds=False, reason=f"{kind} is {where} {other.label}, not {relation} it"
                )
    return Ruling(requirement=words, holds=True)


def _not_there(clause: Mapping[str, Any], what: str) -> Ruling:
    """A colour or a position of what is not there. Its reason is said already."""
    kind = clause["class"]
    if what == "color":
        return Ruling(requirement=f"{clause['color']} {kind}", holds=False)
    relation, target = clause["position"]
    return Ruling(requirement=f"{kind} {relation} object {target + 1}", holds=False)


def _apart(found: Sequence[Detection], most: float) -> list[Detection]:
    """Without those that overlap a surer one by `most` or more."""
    if most >= 1:
        return list(found)
    taken: list[Detection] = []
    for detection in found:
        if all(_published_overlap(one.box, detection.box) < most for one in taken):
            taken.append(detection)
    return taken


def _published_overlap(first: Box, second: Box) -> float:
    """Intersection over union where an edge belongs to the box, so that each side is a pixel longer."""
    shared = _sides(
        (max(first[0], second[0]), max(first[1], second[1]), min(first[2], second[2]), min(first[3], second[3]))
    )
    union = _sides(first) + _sides(second) - shared
    return shared / union if union else 0.0


def _sides(box: Box) -> float:
    return max(box[2] - box[0] + 1, 0.0) * max(box[3] - box[1] + 1, 0.0)
