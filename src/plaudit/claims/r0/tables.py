"""The tables of R0's result page, as JSON types."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from plaudit.claims.over_seeds import over_seeds
from plaudit.claims.r0.findings import (
    RIGHT,
    Found,
    fidelity_over_seeds,
    judged_ablation,
    mean_of,
)
from plaudit.claims.r0.plan import FEW, FEW_SEVERAL, GUIDED_FEW, PICTURES, SEVERAL, STEPS, in_steps
from plaudit.claims.r0.variants import BASE, MAIN, variant_named
from plaudit.suites.statistics import bootstrap_mean, paired_difference, share

FIDELITY = ("fid", "kid", "precision", "recall", "vendi")


def tables(found: Found) -> dict[str, Any]:
    """What stands behind the claims."""
    return {
        "rewards": reward_rows(found),
        "tasks": task_rows(found),
        "fidelity": fidelity_rows(found),
        "steps": step_rows(found),
        "ablations": ablation_rows(found),
        "curves": curves(found),
        "speed": speed_row(found),
    }


def reward_rows(found: Found) -> list[dict[str, Any]]:
    """Every reward of the base, of the same model in few steps before training, and of R0+."""
    rows = []
    for name in (*found.trained, found.held_out):
        ours, theirs = (found.scores(it, name) for it in (found.tuned, BASE))
        rows.append(
            {
                "reward": name,
                "trained": name in found.trained,
                "base": asdict(mean_of(found, BASE, name)),
                "start": asdict(mean_of(found, BASE, name, measure=FEW)),
                "tuned": asdict(mean_of(found, found.tuned, name)),
                "rise": asdict(paired_difference(ours, theirs)),
                "spread": found.spread(name),
            }
        )
    return rows


def task_rows(found: Found) -> list[dict[str, Any]]:
    """Accuracy by task, base and R0+."""
    strata = np.array(found.strata())
    base, tuned = (found.scores(name, RIGHT) for name in (BASE, found.tuned))
    rows = [
        {
            "task": "all",
            "prompts": len(strata),
            "base": asdict(mean_of(found, BASE, RIGHT)),
            "tuned": asdict(mean_of(found, found.tuned, RIGHT)),
            "rise": asdict(found.accuracy_gain(found.tuned, over=BASE, images=0)),
        }
    ]
    for task in dict.fromkeys(strata.tolist()):
        its = strata == task
        rows.append(
            {
                "task": task,
                "prompts": int(its.sum()),
                "base": asdict(share(base[its])),
                "tuned": asdict(share(tuned[its])),
                "rise": asdict(paired_difference(tuned[its], base[its])),
            }
        )
    return rows


def fidelity_rows(found: Found) -> list[dict[str, Any]]:
    """Likeness to real pictures and variety: the base, R0+, the untrained model in few steps, real pictures."""
    few, guided = f"{STEPS} steps before training", f"{STEPS} steps before training, guided"
    models: tuple[tuple[str, str, str, str, str | None], ...] = (
        ("base", "all", BASE, PICTURES, SEVERAL),
        ("R0+", "all", found.tuned, PICTURES, SEVERAL),
        ("base", "first", BASE, PICTURES, None),
        ("R0+", "first", found.tuned, PICTURES, None),
        (few, "first", BASE, FEW, FEW_SEVERAL),
        (guided, "first", BASE, GUIDED_FEW, None),
    )
    rows: list[dict[str, Any]] = []
    for words, which, name, measure, several in models:
        numbers = {
            what: asdict(fidelity_over_seeds(found, name, what, which=which, measure=measure)) for what in FIDELITY
        }
        distance = asdict(bootstrap_mean(found.distances(name, several))) if several else None
        rows.append({"pictures": words, "which": which, **numbers, "distance": distance})
    for which in ("all", "first"):
        numbers = {what: asdict(over_seeds([float(found.real[which][what])])) for what in FIDELITY}
        distance = asdict(bootstrap_mean(found.real["distance"])) if which == "all" else None
        rows.append({"pictures": "other real ones", "which": which, **numbers, "distance": distance})
    return rows


def step_rows(found: Found) -> list[dict[str, Any]]:
    """R0+ in other numbers of steps than it was trained in, and the model before training; first pictures."""
    rows = [_drawn(found, BASE, "base", PICTURES)]
    rows += [
        _drawn(found, BASE, f"{STEPS} steps before training{words}", measure)
        for measure, words in ((FEW, ""), (GUIDED_FEW, ", guided"))
    ]
    every = {steps: in_steps(steps) for steps in found.plan.other_steps} | {STEPS: PICTURES}
    return rows + [_drawn(found, found.tuned, f"R0+ in {steps}", every[steps]) for steps in sorted(every)]


def _drawn(found: Found, name: str, words: str, measure: str) -> dict[str, Any]:
    return {
        "pictures": words,
        "accuracy": asdict(mean_of(found, name, RIGHT, measure=measure, images=1)),
        "rewards": {
            it: asdict(mean_of(found, name, it, measure=measure, images=1)) for it in (*found.trained, found.held_out)
        },
        "fid": asdict(fidelity_over_seeds(found, name, "fid", which="first", measure=measure)),
    }


def ablation_rows(found: Found) -> list[dict[str, Any]]:
    """Base, R0+ and every ablation, by the first picture of each prompt, with the verdict on each ablation."""
    rows = []
    for name in (BASE, *_every_r0_plus(found), *found.plan.ablations):
        if not found.seeds(name):
            continue
        row = {
            "name": name,
            "words": "the pretrained model, guided" if name == BASE else variant_named(name).words,
            "seeds": len(found.seeds(name)),
            "accuracy": asdict(mean_of(found, name, RIGHT, images=1)),
            "rewards": {
                it: asdict(mean_of(found, name, it, images=1)) for it in (*found.trained, found.held_out)
            },
            "fid": asdict(fidelity_over_seeds(found, name, "fid", which="first")),
            "recall": asdict(fidelity_over_seeds(found, name, "recall", which="first")),
            "distance": asdict(bootstrap_mean(found.distances(name))),
        }  # fmt: skip
        if name != BASE:
            last = [_last_look(result) for result in found.each(name)]
            row["drift"] = float(np.mean([look["drift"] for look in last]))
            row["seconds_per_update"] = float(np.mean([np.mean(it["curve"]["seconds"]) for it in found.each(name)]))
        if name not in (BASE, MAIN):
            trained, judged, said = judged_ablation(found, name)
            held_out = paired_difference(
                *(
                    found.scores(it, found.held_out, seeds=found.seeds(name), images=1) / found.spread(found.held_out)
                    for it in (name, MAIN)
                )
            )
            row |= {
                "follows": found.follows(name),
                "trained_rise": asdict(trained),
                "accuracy_rise": asdict(judged),
                "held_out_rise": asdict(held_out),
                "verdict": said,
            }
        rows.append(row)
    return rows


def curves(found: Found) -> list[dict[str, Any]]:
    """What the looks saw over the updates, as mean and extremes over seeds; and the seconds of training until then."""
    return [_curve(found, name) for name in (*_every_r0_plus(found), *found.plan.ablations) if found.seeds(name)]


def _curve(found: Found, name: str) -> dict[str, Any]:
    results = found.each(name)
    updates = sorted(map(int, results[0]["looks"]))
    series: dict[str, Sequence[Sequence[float]]] = {
        it: [[float(np.mean(result["looks"][str(at)]["rewards"][it])) for at in updates] for result in results]
        for it in (*found.trained, found.held_out)
    }
    series["accuracy"] = [[float(np.mean(result["looks"][str(at)][RIGHT])) for at in updates] for result in results]
    series["drift"] = [[float(result["looks"][str(at)]["drift"]) for at in updates] for result in results]
    series["seconds"] = [[float(np.sum(result["curve"]["seconds"][:at])) for at in updates] for result in results]
    return {
        "name": name,
        "updates": updates,
        **{
            it: {
                "mean": np.mean(values, axis=0).tolist(),
                "low": np.min(values, axis=0).tolist(),
                "high": np.max(values, axis=0).tolist(),
            }
            for it, values in series.items()
        },
    }


def speed_row(found: Found) -> dict[str, Any]:
    """Seconds for an image, by the base and in few steps."""
    timings = [result["timing"] for result in found.each(BASE)]
    return {
        "guided": asdict(over_seeds([value for it in timings for value in it["guided"]])),
        "few": asdict(over_seeds([value for it in timings for value in it["few"]])),
        "ratio": asdict(over_seeds(found.speed_ratios())),
    }


def _every_r0_plus(found: Found) -> tuple[str, ...]:
    """As ablations are compared with it, and as it is set beside the base, if that is another."""
    return tuple(dict.fromkeys((MAIN, found.tuned)))


def _last_look(result: Any) -> Any:
    return result["looks"][max(result["looks"], key=int)]
