"""The tables of the result page, as JSON types."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from plaudit.claims.over_seeds import over_seeds
from plaudit.claims.reasongen.findings import (
    BEFORE,
    BEFORE_PLANNED,
    KINDS,
    RIGHT,
    TAUGHT,
    TUNED,
    TUNED_DIRECT,
    Found,
    Model,
    accuracy,
    accuracy_by_task,
    accuracy_unseen,
    gain,
    mean_of,
    planning_costs,
    plans_mean,
    split_by_plan,
    understanding_gain,
)
from plaudit.claims.reasongen.variants import BASE, DIRECT, MAIN, SFT, variant_named
from plaudit.suites.statistics import Estimate, bootstrap_mean

COMPARED: Mapping[str, Model] = {
    "before, without a plan": BEFORE,
    "before, with its plans": BEFORE_PLANNED,
    "rewards without plans": TUNED_DIRECT,
    "lessons": TAUGHT,
    "lessons and rewards": TUNED,
}
LOOKED = ("accuracy", "distance", "readable", "meets", "agrees")
"""by looks"""
EVERY_UPDATE = ("reward", "word_entropy", "token_entropy", "plan_words", "word_coefficient", "token_coefficient")
"""by every update of a training by rewards"""


def tables(found: Found) -> dict[str, Any]:
    """What stands behind the claims."""
    return {
        "models": model_rows(found),
        "plans": plan_rows(found),
        "variants": variant_rows(found),
        "understanding": understanding_rows(found),
        "curves": curves(found),
        "levels": {name: asdict(over_seeds(values)) for name, values in levels(found).items() if values},
        "targets": {kind: found.target(kind) for kind in KINDS},
        "speed": speed_row(found),
        "rewards": list(found.rewards),
        "guidance": found.guidance,
    }


def compared(found: Found) -> dict[str, Model]:
    """The models that stand beside each other, by their words."""
    return {words: model for words, model in COMPARED.items() if found.seeds(model.name)}


def model_rows(found: Found) -> list[dict[str, Any]]:
    """Each model without guidance, and with."""
    scales = dict.fromkeys((1.0, found.guidance))
    return [
        _row(found, words, replace(model, guidance=scale))
        for scale in scales
        for words, model in compared(found).items()
    ]


def plan_rows(found: Found) -> list[dict[str, Any]]:
    """What is said of the plans of all that write some, without guidance."""
    models = {words: model for words, model in compared(found).items() if model.plan}
    others = (name for name in found.plan.ablations if found.seeds(name) and variant_named(name).plan)
    models |= {name: Model(name=name) for name in others}
    return [
        {
            "pictures": words,
            **{
                what: _maybe(plans_mean(found, model, what))
                for what in ("readable", "meets", "agrees", "agrees_whole", "words")
            },
            **{side: _maybe(value) for side, value in split_by_plan(found, model).items()},
        }
        for words, model in models.items()
    ]


def variant_rows(found: Found) -> list[dict[str, Any]]:
    """The preset and every ablation without guidance, beside the model before and the lessons."""
    rows = []
    for name in (BASE, SFT, MAIN, *found.plan.ablations):
        if not (seeds := found.seeds(name)):
            continue
        model = BEFORE if name == BASE else Model(name=name, plan=variant_named(name).plan)
        rows.append(
            {
                "pictures": name,
                "words": variant_named(name).words,
                "seeds": len(seeds),
                "accuracy": asdict(accuracy(found, model)),
                "gain": asdict(gain(found, model, TUNED)),
                "rewards": {it: asdict(mean_of(found, model, it)) for it in found.rewards},
                "understanding": float(found.understood(name).mean()),
                **_course(found, name),
            }
        )
    return rows


def understanding_rows(found: Found) -> list[dict[str, Any]]:
    """Questions answered right, and how that differs from before."""
    names = [name for name in (BASE, SFT, MAIN, DIRECT) if found.seeds(name)]
    return [
        {
            "pictures": name,
            "right": asdict(bootstrap_mean(found.understood(name))),
            "gain": None if name == BASE else asdict(understanding_gain(found, name)),
        }
        for name in names
    ]


def curves(found: Found) -> list[dict[str, Any]]:
    """What looks and updates told over the trainings by rewards, as mean and extremes over seeds."""
    names = [MAIN, *found.plan.ablations]
    return [_curve(found, name) for name in names if found.seeds(name) and variant_named(name).way != "lessons"]


def levels(found: Found) -> dict[str, list[float]]:
    """By seed, what the last look saw of the lessons, by the names in a curve: where trainings by rewards start."""
    last = [_last_look(result) for result in found.each(SFT)]
    return {what: [value for it in last if (value := _looked(it, what)) is not None] for what in LOOKED}


def speed_row(found: Found) -> dict[str, Any]:
    """Seconds of a picture with its plan and without, and their ratio."""
    return {
        "planned": asdict(over_seeds(found.seconds(True))),
        "direct": asdict(over_seeds(found.seconds(False))),
        "ratio": asdict(planning_costs(found)),
    }


def _row(found: Found, words: str, model: Model) -> dict[str, Any]:
    unseen, seen = (accuracy_unseen(found, model, unseen=it) for it in (True, False))
    return {
        "pictures": words,
        "guidance": model.guidance,
        "seeds": len(found.seeds(model.name)),
        "accuracy": asdict(accuracy(found, model)),
        "tasks": {task: asdict(it) for task, it in accuracy_by_task(found, model).items()},
        "unseen": _maybe(unseen),
        "seen": _maybe(seen),
        "rewards": {it: asdict(mean_of(found, model, it)) for it in found.rewards},
        "distance": asdict(bootstrap_mean(found.distances(model))),
    }


def _course(found: Found, name: str) -> dict[str, Any]:
    """How a training by rewards went; nothing of others."""
    if not variant_named(name).way.startswith("rewards"):
        return {}
    told: dict[str, Any] = {
        "equal_groups": _mean_of_updates(found, name, "equal_groups"),
        "seconds_per_update": _mean_of_updates(found, name, "seconds"),
    }
    kinds = KINDS if variant_named(name).plan else ("token",)
    for kind in kinds:
        told[f"{kind}_entropy"] = float(np.mean([it.mean() for it in found.last_third(name, f"{kind}_entropy")]))
        told[f"{kind}_off"] = float(np.mean(found.off_target(name, kind)))
    if variant_named(name).plan:
        told["plan_words"] = float(np.mean([it.mean() for it in found.last_third(name, "plan_words")]))
    return told


def _mean_of_updates(found: Found, name: str, what: str) -> float:
    return float(np.mean([np.mean(it["curve"][what]) for it in found.each(name)]))


def _curve(found: Found, name: str) -> dict[str, Any]:
    results = found.each(name)
    updates = sorted(map(int, results[0]["looks"]))
    looks = [[result["looks"][str(at)] for at in updates] for result in results]
    looked = {what: [[_looked(it, what) for it in course] for course in looks] for what in LOOKED}
    told = {what: [result["curve"][what] for result in results] for what in EVERY_UPDATE}
    return {
        "name": name,
        "looks": {"updates": updates, **{what: _spread(it) for what, it in looked.items() if _whole(it)}},
        "updates": {"updates": list(range(1, len(results[0]["curve"]["reward"]) + 1))}
        | {what: _spread(it) for what, it in told.items() if variant_named(name).plan or "word" not in what},
    }


def _looked(look: Mapping[str, Any], what: str) -> float | None:
    """The mean of what a look saw; None if it saw none."""
    if what == "accuracy":
        return float(np.mean(look[RIGHT]))
    if what == "distance":
        return float(np.mean(look["distance"]))
    values = [] if look["plans"] is None else [value for value in look["plans"][what] if value is not None]
    return float(np.mean(values)) if values else None


def _last_look(result: Mapping[str, Any]) -> Mapping[str, Any]:
    looks: Mapping[str, Mapping[str, Any]] = result["looks"]
    return looks[max(looks, key=int)]


def _whole(values: Sequence[Sequence[float | None]]) -> bool:
    return all(value is not None for course in values for value in course)


def _spread(values: Sequence[Sequence[Any]]) -> dict[str, list[float]]:
    return {
        "mean": np.mean(values, axis=0).tolist(),
        "low": np.min(values, axis=0).tolist(),
        "high": np.max(values, axis=0).tolist(),
    }


def _maybe(found: Estimate | None) -> dict[str, Any] | None:
    return None if found is None else asdict(found)
