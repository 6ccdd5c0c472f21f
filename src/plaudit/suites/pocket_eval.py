"""PocketEval: 553 fixed prompts about scenes in GenEval's proportions, scored by the exact judge.

"GenEval in miniature": the same six tasks with the same numbers of prompts (Ghosh et al. 2023). Half of the
two-thing prompts with colours ask for a held-out combination, which no training scene shows; they are reported
apart as unseen.
"""

import functools
from dataclasses import dataclass

import numpy as np

from plaudit.pocket.prompts import TASKS, Request, Wanted, say
from plaudit.pocket.scenes import COLOURS, SHAPES, is_held_out
from plaudit.suites.suite import Suite, SuitePrompt

NUM_PROMPTS = {
    "single_object": 80,
    "two_object": 99,
    "counting": 80,
    "colors": 94,
    "position": 100,
    "color_attr": 100,
}
"""GenEval's prompts per task; 553 in all"""

CHANCE, STRICT_CHANCE = 0.12, 0.04
"""the score of faultless pictures of the suite's other prompts, and the share of them that is right"""

_RELATIONS = ("left", "right", "above", "below")


@dataclass(frozen=True, kw_only=True)
class EvalPrompt(SuitePrompt):
    """One prompt and what it asks for; its category is the task. Unseen ones ask for a held-out combination."""

    request: Request


@dataclass(frozen=True, kw_only=True)
class PocketSuite(Suite):
    """PocketEval, or some of it."""

    prompts: tuple[EvalPrompt, ...]


@functools.cache
def pocket_eval_prompts() -> tuple[EvalPrompt, ...]:
    """All 553 prompts, in GenEval's order of tasks. They never change."""
    rng = np.random.default_rng(20_553)
    prompts: list[EvalPrompt] = []
    texts: set[str] = set()
    for task in TASKS:
        wanted_unseen = task in ("position", "color_attr")
        while sum(p.request.task == task for p in prompts) < NUM_PROMPTS[task]:
            unseen = wanted_unseen and len(prompts) % 2 == 0
            request = _request(task, rng, unseen)
            text = say(request, rng)
            if text in texts and task != "single_object":  # eight shapes cannot fill 80 different sentences
                continue
            texts.add(text)
            place = len(prompts)
            prompts.append(EvalPrompt(index=place, text=text, category=task, request=request, unseen=unseen))
    return tuple(prompts)


def spread_of(count: int) -> tuple[EvalPrompt, ...]:
    """About `count` of the prompts, every task in its proportion: for quick looks."""
    prompts = pocket_eval_prompts()
    return tuple(prompts[round(i)] for i in np.linspace(0, len(prompts) - 1, min(count, len(prompts))))


def _request(task: str, rng: np.random.Generator, unseen: bool) -> Request:
    if task in ("single_object", "colors"):
        shape, colour = _thing(rng)
        return Request(task=task, wanted=(Wanted(shape=shape, colour=colour if task == "colors" else None),))
    if task == "counting":
        shape, colour = _thing(rng)
        with_colour = colour if rng.random() < 0.6 else None
        return Request(task=task, wanted=(Wanted(shape=shape, colour=with_colour, count=int(rng.integers(2, 5))),))
    while True:
        first, second = _thing(rng), _thing(rng)
        relation = str(rng.choice(_RELATIONS)) if task == "position" else None
        if first == second or (task == "two_object" and first[0] == second[0]):
            continue
        if task == "two_object" or is_held_out(first, second, relation or "and") == unseen:
            break
    coloured = task != "two_object"
    wanted = tuple(Wanted(shape=s, colour=c if coloured else None) for s, c in (first, second))
    return Request(task=task, wanted=wanted, relation=relation)


def _thing(rng: np.random.Generator) -> tuple[str, str]:
    return SHAPES[int(rng.integers(len(SHAPES)))], list(COLOURS)[int(rng.integers(len(COLOURS)))]
