"""The audit of a training's folder: the verdict on the weights that were left, and its numbers as tables."""

from typing import Any

from plaudit.runs.audit import Audit, Change, audit
from plaudit.runs.lineage import follows_rewards
from plaudit.runs.looks import ACCURACY, COLOUR, DIVERSITY, DRIFT, SATURATION, read_looks
from plaudit.runs.training_folder import TrainingFolder

MEASURES = {
    "reward": "reward that was trained on",
    "held_out": "held-out reward, never trained on",
    ACCURACY: "share of pictures that the exact judge calls right",
    DIVERSITY: "diversity: distance of a prompt's pictures, 0 to 1",
    DRIFT: "drift: distance from the first look's pictures, 0 to 1",
    COLOUR: "colour: how strong colours are, 0 to 1",
    SATURATION: "saturation: share of the pictures' numbers that are fully off or on",
}
"""by the name in the log, what a look measures"""


def audit_of(folder: TrainingFolder) -> Audit:
    """The verdict on the weights that were left, or on those of the last look while it is in training."""
    logged = {line["update"] for line in folder.lines() if any(name.startswith("look_") for name in line)}
    left = folder.manifest.get("weights_of", max(logged, default=0))
    looks = [look for look in read_looks(folder.path) if look.done in logged and look.done <= left]
    return audit(looks, followed=follows_rewards(folder.manifest))


def measure(name: str, *, followed: bool = True) -> str:
    """What a metric of a look is, in words; of a sum each part goes by its reward's own name."""
    if name == "reward" and not followed:
        return "reward, watched only"
    if name.startswith("reward_"):
        return f"reward {name.removeprefix('reward_')} by itself, raw"
    return MEASURES.get(name, name.replace("_", " "))


def looks_table(folder: TrainingFolder) -> list[dict[str, Any]]:
    """Every look's means: a row of the update's number and the metrics by name."""
    found = []
    for line in folder.lines():
        means = {name.removeprefix("look_"): value for name, value in line.items() if name.startswith("look_")}
        if means:
            found.append({"update": line["update"], **means})
    return found


def audit_table(found: Audit) -> list[dict[str, Any]]:
    """The changes that the verdict rests on, a row for each measure."""
    return [
        {
            "measure": change.name,
            "before": change.before,
            "after": change.after,
            "change": change.after - change.before,
            "low": change.low,
            "high": change.high,
            "pairs": change.pairs,
            "says": says(change),
        }
        for change in found.changes.values()
    ]


def says(change: Change) -> str:
    """Rose, fell, or unclear where the interval holds zero."""
    return "rose" if change.rose else "fell" if change.fell else "unclear"
