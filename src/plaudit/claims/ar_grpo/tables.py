"""The tables of the result page, as JSON types."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from plaudit.claims.ar_grpo.findings import BEFORE, RIGHT, TUNED, Found, Model, fid_ratio, fidelity_of, mean_of
from plaudit.claims.ar_grpo.variants import BASE, MAIN, variant_named
from plaudit.claims.over_seeds import over_seeds
from plaudit.suites.statistics import bootstrap_mean

FIDELITY = ("fid", "kid", "precision", "recall", "vendi")


def tables(found: Found) -> dict[str, Any]:
    """What stands behind the claims."""
    return {
        "models": model_rows(found),
        "guidance": guidance_rows(found),
        "variants": variant_rows(found),
        "curves": curves(found),
        "levels": levels(found),
        "speed": speed_rows(found),
        "nets": list(found.nets),
        "rewards": [*found.trained, found.held_out],
        "held_out": found.held_out,
        "best": asdict(found.best),
        "lowest": {net: found.lowest(net).guidance for net in found.nets},
        "entropy_target": found.entropy_target,
    }


def model_rows(found: Found) -> list[dict[str, Any]]:
    """Before and after, each without guidance and at the best one before; and real pictures."""
    best = found.best.of_all
    models = {"before, unguided": BEFORE, f"before, guidance {best:g}": found.before_best, "after, unguided": TUNED}
    models[f"after, guidance {best:g}"] = Model(name=MAIN, guidance=best)
    # If the best guidance is none, two of the four are the others again.
    rows = {model: _row(found, words, model) for words, model in reversed(models.items())}
    return [*reversed(rows.values()), _real_row(found)]


def guidance_rows(found: Found) -> list[dict[str, Any]]:
    """The model before training at every guidance."""
    return [
        {**_row(found, f"{guidance:g}", Model(name=BASE, guidance=guidance)), "guidance": guidance}
        for guidance in sorted(found.plan.guidances)
    ]


def variant_rows(found: Found) -> list[dict[str, Any]]:
    """The preset and every ablation without guidance, beside the model before training."""
    rows = [
        {
            **_row(found, model.name if model == BEFORE else f"{BASE}, guided", model),
            "words": "the model before training" + ("" if model == BEFORE else f", guidance {model.guidance:g}"),
            "seeds": len(found.plan.seeds),
        }
        for model in dict.fromkeys((BEFORE, found.before_best))
    ]
    for name in (MAIN, *found.plan.ablations):
        if not (seeds := found.seeds(name)):
            continue
        courses = [it["curve"] for it in found.each(name)]
        rows.append(
            {
                **_row(found, name, Model(name=name)),
                "words": variant_named(name).words,
                "seeds": len(seeds),
                "ratio": asdict(fid_ratio(found, Model(name=name), TUNED, net=found.decides)),
                "last_entropy": float(np.mean([course.mean() for course in found.entropies(name)])),
                "off_target": float(np.mean(found.off_target(name))),
                "off_policy": float(np.mean([np.mean(course["off_policy"]) for course in courses])),
                # It is not measured where it has no weight.
                "kl": float(np.mean([course["kl"][-1] for course in courses])) if _has_kl(found, name) else None,
                "seconds_per_update": float(np.mean([np.mean(course["seconds"]) for course in courses])),
            }
        )
    return rows


def curves(found: Found) -> list[dict[str, Any]]:
    """What the looks saw over the updates, as mean and extremes over seeds; and the entropy of every update."""
    return [_curve(found, name) for name in (MAIN, *found.plan.ablations) if found.seeds(name)]


def levels(found: Found) -> dict[str, dict[str, float]]:
    """What looks would see of the model before training at its best guidance, over seeds, by the names in a curve."""
    best = found.measured(found.before_best)
    said = {f"fid {net}": [one["first"][net]["fid"] for one in best] for net in found.nets}
    said |= {f"recall {net}": [one["first"][net]["recall"] for one in best] for net in found.nets}
    said |= {f"distance {net}": [float(np.mean(one["distance"][net])) for one in best] for net in found.nets}
    said |= {it: [float(np.mean(one["rewards"][it])) for one in best] for it in (*found.trained, found.held_out)}
    said["accuracy"] = [float(np.mean(one[RIGHT])) for one in best]
    return {name: {"mean": float(np.mean(values))} for name, values in said.items()}


def speed_rows(found: Found) -> list[dict[str, Any]]:
    """Seconds for an image and for its tokens, with guidance and without."""
    timings = [result["timing"] for result in found.each(BASE)]
    return [
        {
            "what": what,
            **{
                name: asdict(over_seeds([value for it in timings for value in it[name][what]]))
                for name in ("guided", "unguided")
            },
            "ratio": asdict(over_seeds(found.speed_ratios(what))),
        }
        for what in ("whole", "tokens")
    ]


def _row(found: Found, words: str, model: Model) -> dict[str, Any]:
    return {
        "pictures": words,
        "fidelity": {
            net: {what: asdict(fidelity_of(found, model, what, net=net)) for what in FIDELITY} for net in found.nets
        },
        "distance": {net: asdict(bootstrap_mean(found.distances(model, net=net))) for net in found.nets},
        "accuracy": asdict(mean_of(found, model, RIGHT)),
        "rewards": {it: asdict(mean_of(found, model, it)) for it in (*found.trained, found.held_out)},
        "entropy": asdict(over_seeds([float(one["entropy"]) for one in found.measured(model)])),
    }


def _has_kl(found: Found, name: str) -> bool:
    return bool(found.each(name)[0]["config"]["kl_weight"])


def _real_row(found: Found) -> dict[str, Any]:
    real, images = found.real, found.plan.images
    return {
        "pictures": "other real ones",
        "fidelity": {
            net: {what: asdict(over_seeds([float(real["fidelity"][net][what])])) for what in FIDELITY}
            for net in found.nets
        },
        "distance": {net: asdict(bootstrap_mean(real["distance"][net])) for net in found.nets},
        "accuracy": asdict(bootstrap_mean(np.array(real[RIGHT], dtype=np.float64).reshape(-1, images))),
        "rewards": {
            it: asdict(bootstrap_mean(np.array(real["rewards"][it]).reshape(-1, images)))
            for it in (*found.trained, found.held_out)
        },
        "entropy": None,
    }


def _curve(found: Found, name: str) -> dict[str, Any]:
    results = found.each(name)
    updates = sorted(map(int, results[0]["looks"]))
    looks = [[result["looks"][str(at)] for at in updates] for result in results]
    series: dict[str, Sequence[Sequence[float]]] = {}
    for net in found.nets:
        for what in ("fid", "recall"):
            series[f"{what} {net}"] = [[it["fidelity"][net][what] for it in course] for course in looks]
        series[f"distance {net}"] = [[float(np.mean(it["distance"][net])) for it in course] for course in looks]
    for reward in (*found.trained, found.held_out):
        series[reward] = [[float(np.mean(it["rewards"][reward])) for it in course] for course in looks]
    series["accuracy"] = [[float(np.mean(it[RIGHT])) for it in course] for course in looks]
    every = [result["curve"]["entropy"] for result in results]
    return {
        "name": name,
        "updates": updates,
        **{it: _spread(values) for it, values in series.items()},
        "entropy": {"updates": list(range(1, len(every[0]) + 1)), **_spread(every)},
    }


def _spread(values: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    return {
        "mean": np.mean(values, axis=0).tolist(),
        "low": np.min(values, axis=0).tolist(),
        "high": np.max(values, axis=0).tolist(),
    }
