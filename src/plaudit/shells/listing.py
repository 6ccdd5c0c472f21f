"""`plaudit list`: the tables, for people and for programs."""

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from plaudit.core.registry import Registry
from plaudit.shells.flags import Command, WrongUsage, nearest

if TYPE_CHECKING:
    from plaudit.presets.ar_grpo import ArTask


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """All that `plaudit list` takes."""

    table: str = field(metadata={"positional": 1, "placeholder": "TABLE"})
    """models, rewards, suites or presets"""
    json: bool = False
    """print an array of rows on stdout, each with its name"""


def run(options: ListOptions) -> int:
    """Print one table."""
    if options.table not in TABLES:
        hint = nearest(options.table, TABLES) or f" Known: {', '.join(TABLES)}."
        raise WrongUsage(f"no table named {options.table!r}.{hint}")
    rows = TABLES[options.table]()
    if options.json:
        print(json.dumps(rows, ensure_ascii=False))
        return 0
    width = max(len(row["name"]) for row in rows) + 2
    for row in rows:
        print(f"{row['name']:<{width}}{row['summary']}")
        print(f"{'':<{width}}{_details(row)}\n" if _details(row) else "")
    return 0


def _of_registry(table: Registry) -> list[dict[str, Any]]:
    return [
        {
            "name": entry.name,
            "summary": entry.summary,
            "licence": entry.licence,
            "restrictions": entry.restrictions,
            "licence_page": entry.licence_page,
            "hub_id": entry.hub_id,
            "revision": entry.revision,
            "size_mb": entry.size_mb,
            "extra": entry.extra,
            **{key: list(v) if isinstance(v, tuple) else v for key, v in entry.facts.items()},
        }
        for entry in table
    ]


def _models() -> list[dict[str, Any]]:
    from plaudit.generators.table import GENERATORS

    return _of_registry(GENERATORS)


def _rewards() -> list[dict[str, Any]]:
    from plaudit.rewards.table import REWARDS

    return _of_registry(REWARDS)


def _suites() -> list[dict[str, Any]]:
    from plaudit.suites.table import SUITES

    return [{"chance": None, "strict_chance": None, **row} for row in _of_registry(SUITES)]


def _presets() -> list[dict[str, Any]]:
    return _reno_presets() + _training_presets()


def _reno_presets() -> list[dict[str, Any]]:
    from plaudit.methods.reno import RenoConfig
    from plaudit.presets import reno

    functions = [value for _, value in inspect.getmembers(reno, inspect.isfunction)]
    presets = [it for it in functions if inspect.signature(it).return_annotation is RenoConfig]
    return [{"name": it.__name__, "summary": _summary(it), "method": "reno"} for it in presets]


def _training_presets() -> list[dict[str, Any]]:
    from plaudit.presets import ar_grpo, r0, reasongen, rlcm

    made = [
        (method, name, make, make())
        for method, tasks in (
            ("rlcm", rlcm.TASKS),
            ("r0", r0.TASKS),
            ("ar-grpo", ar_grpo.TASKS),
            ("plans", reasongen.LESSONS),
            ("reasongen", reasongen.TASKS),
        )
        for name, make in tasks.items()
    ]
    return [
        {
            "name": name,
            "summary": _summary(make),
            "method": method,
            "model": task.model,
            "rewards": list(task.rewards),
            "held_out": task.held_out,
            "prompts": len(task.prompts),
            "updates": task.config.updates,
            "images_per_update": task.config.images_drawn_per_update,
            "rank": task.rank,
            **(_of_tokens(task) if isinstance(task, ar_grpo.ArTask) else {}),
            "origin": task.origin,
        }
        for method, name, make, task in made
    ]


def _of_tokens(task: "ArTask") -> dict[str, Any]:
    return {"net": task.net, "reference": task.reference, "start_images": task.start_images}


def _summary(function: Callable[..., Any]) -> str:
    return " ".join((function.__doc__ or "").split())


def _details(row: dict[str, Any]) -> str:
    """Everything else in the row that says something, on one line."""
    shown = {
        key.replace("_", " "): value
        for key, value in row.items()
        if key not in ("name", "summary") and (value is False or value not in (None, "", 0.0, []))
    }
    return " · ".join(f"{key} {_in_words(value)}" for key, value in shown.items())


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        numbers = all(isinstance(it, int | float) for it in value)
        joint = (" to " if len(value) == 2 else " x ") if numbers else ", "
        return joint.join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


TABLES: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "models": _models,
    "rewards": _rewards,
    "suites": _suites,
    "presets": _presets,
}

COMMAND = Command(
    name="list",
    purpose="What there is: models, rewards, suites, presets; licence, size and scale of each.",
    examples="""
plaudit list models
plaudit list rewards --json
""",
    options=ListOptions,
    run=run,
)
