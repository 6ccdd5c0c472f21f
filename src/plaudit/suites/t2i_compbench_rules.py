"""T2I-CompBench's rules of space and number (Huang et al. 2023): what detections say. No network is involved.

As in the released evaluation at commit 1b70949, but for two things. "On top of" means the same as "on the top of",
which the release knows no rule for. And "near" is measured in parts of the picture, where the release counts 150 of
the pixels that its detector reads, as near as makes no difference on pictures of 512.
"""

from collections.abc import Mapping, Sequence

from plaudit.suites.detectors import Box, Detection, area, centre, overlap
from plaudit.suites.t2i_compbench_phrases import Relation, Side

MAX_OVERLAP = 0.1
"""of boxes of things that lie beside each other; more lowers the score"""
NEAR = 150 / 512
"""how far centres of things that are near each other lie apart at most, in parts of the picture's longer side"""
LEAST = 0.5
"""a lower score of space is none"""
SAME_OBJECT = 0.9
"""of the smaller of two boxes of one name, or of their union: what both cover of one and the same object"""


def place_score(side: Side, first: Box, second: Box, *, picture: float) -> float:
    """How well the first box lies at that side of the second, 0 to 1. `picture`: its longer side, in pixels."""
    (ax, ay), (bx, by) = centre(first), centre(second)
    dx, dy = ax - bx, ay - by
    if side == "near":
        reach = NEAR * picture
        return 1.0 if min(abs(dx), abs(dy)) < reach else reach / max(abs(dx), abs(dy))
    along, across = {"left": (-dx, dy), "right": (dx, dy), "top": (-dy, dx), "bottom": (dy, dx)}[side]
    if along <= abs(across):
        return 0.0
    shared = overlap(first, second)
    return 1.0 if shared < MAX_OVERLAP else MAX_OVERLAP / shared


def spatial_parts(found: Sequence[Detection], relation: Relation, *, picture: float) -> dict[str, float]:
    """What the score of space is made of: how sure each thing is, and their place, each in [0, 1].

    `found`: the surest first; each thing is its surest detection.
    """
    first = next((one for one in found if one.label == relation.first), None)
    second = next((one for one in found if one.label == relation.second and one is not first), None)
    place = 0.0
    if first is not None and second is not None:
        place = place_score(relation.side, first.box, second.box, picture=picture)
    where = "near" if relation.side == "near" else f"{relation.side} of"
    names = relation.first, relation.second if relation.second != relation.first else f"{relation.second} (2)"
    return {
        names[0]: first.score if first is not None else 0.0,
        names[1]: second.score if second is not None else 0.0,
        f"{relation.first} {where} {relation.second}": place,
    }


def spatial_score(parts: Mapping[str, float]) -> float:
    """Half the place, a quarter of each thing's score; 0 if that is less than a half."""
    first, second, place = parts.values()
    score = 0.25 * first + 0.25 * second + 0.5 * place
    return score if score >= LEAST else 0.0


def numeracy_parts(found: Sequence[Detection], counts: Mapping[str, int]) -> dict[str, float]:
    """For each thing 1 if as many as asked are there, a half if any other number is, else 0."""
    parts = {}
    for name, wanted in counts.items():
        seen = len(each_once([one for one in found if one.label == name]))
        parts[f"{wanted} {name}"] = 0.0 if not seen else 1.0 if seen == wanted else 0.5
    return parts


def each_once(found: Sequence[Detection]) -> list[Detection]:
    """Without those whose box is nearly that of one before it, or lies nearly all within it, or holds nearly all."""
    taken: list[Detection] = []
    for detection in found:
        if not any(_is_same(detection.box, one.box) for one in taken):
            taken.append(detection)
    return taken


def _is_same(first: Box, second: Box) -> bool:
    """As published, an edge belongs to its box, so that each side is a pixel longer."""
    first, second = ((box[0], box[1], box[2] + 1, box[3] + 1) for box in (first, second))
    shared = overlap(first, second)
    both = shared * (area(first) + area(second)) / (1 + shared)
    return max(shared, both / area(first), both / area(second)) > SAME_OBJECT
