"""GenEval's requirements and scorer for scenes of the pocket world, found by its exact judge instead of a network."""

from typing import Any

import torch

from plaudit.pocket.prompts import Request, Wanted
from plaudit.pocket.scenes import COLOURS
from plaudit.rewards.clip_towers import ClipTowers
from plaudit.rewards.table import load_reward
from plaudit.suites.detectors_pocket import PocketDetector
from plaudit.suites.geneval import GenevalScorer
from plaudit.suites.geneval_colours import ClipColours

_RELATIONS = {"left": "left of", "right": "right of", "above": "above", "below": "below"}


def pocket_requirements(request: Request) -> dict[str, Any]:
    """A request in GenEval's own words: the facts of a prompt for its scorer.

    A colour is asked of the surest object of a shape. GenEval counts classes, though, and no prompt of it names one
    class twice: in counts, and of two things of one shape, the colour is part of the class ("red star"). A request for
    a background asks for more than GenEval knows, which is left out.
    """
    if request.task == "counting":
        (clause,) = (_clause(wanted, one_class=True) for wanted in request.wanted)
        too_many = {"class": clause["class"], "count": clause["count"] + 1}
        return {"tag": request.task, "include": [clause], "exclude": [too_many]}
    same = len({wanted.shape for wanted in request.wanted}) < len(request.wanted)
    clauses = [_clause(wanted, one_class=same) for wanted in request.wanted]
    if request.relation:
        # The published rows name what something lies beside first.
        clauses = [clauses[1], {**clauses[0], "position": [_RELATIONS[request.relation], 0]}]
    return {"tag": request.task, "include": clauses}


def pocket_geneval_scorer(*, device: torch.device | str | None = None) -> GenevalScorer:
    """GenEval's scorer on the pocket world: objects by its judge, colours by pocket-clip.

    pocket-clip knows whole pictures of its own eight colours, so that is what it is shown: all but the object in grey,
    the box not cut out.
    """
    towers = load_reward("pocket-clip", device=device)
    assert isinstance(towers, ClipTowers)
    colours = ClipColours(
        towers,
        colours=tuple(COLOURS),
        templates=("a photo of a {colour} {label}", "a {colour} {label}"),
        blank=128 / 255,
        crop=False,
    )
    return GenevalScorer(PocketDetector(), colours)


def _clause(wanted: Wanted, *, one_class: bool) -> dict[str, Any]:
    if one_class and wanted.colour:
        return {"class": f"{wanted.colour} {wanted.shape}", "count": wanted.count}
    clause: dict[str, Any] = {"class": wanted.shape, "count": wanted.count}
    return {**clause, "color": wanted.colour} if wanted.colour else clause
