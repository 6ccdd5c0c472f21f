"""The result page, made from the JSON report alone: no number on it is typed by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

from plaudit.claims.page_words import (
    ABOUT_ACCURACY,
    ABOUT_HACKING,
    ABOUT_LEFT_OUT,
    ABOUT_TIME,
    INTRODUCTION,
    QUICK_WARNING,
)


def page(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    parts = [
        "# ReNO, reproduced on the pocket world",
        INTRODUCTION.format(**_size(report)),
        QUICK_WARNING.format(**_size(report)) if report["settings"]["quick"] else "",
        "## Claims",
        claim_table(report["claims"]),
        verdict_sentence(report["claims"]),
        "## Accuracy",
        ABOUT_ACCURACY,
        _picture(report, "curve", "Accuracy of the best image so far"),
        task_table(report["tables"]["tasks"]),
        _picture(report, "before_after", "First and best pictures"),
        "## Time",
        ABOUT_TIME.format(**_size(report)),
        time_table(report["tables"]["time"]),
        "## A reward that is left out",
        ABOUT_LEFT_OUT.format(**_size(report)),
        left_out_table(report["tables"]["left_out"]),
        "## What reward hacking looks like",
        ABOUT_HACKING,
        hacking_table(report["tables"]["hacking"]),
        _picture(report, "hacking", "Accuracy against the rise of the rewards that were followed"),
        _picture(report, "hacking_grid", "The same prompts under every variant"),
        "## How it was run",
        settings_list(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def claim_table(claims: Sequence[Mapping[str, Any]]) -> str:
    """One row per claim: measured, interval, bar, met."""
    return _table(
        ("claim", "published", "measured", "95 % interval", "bar", "met", "note"),
        [
            (
                claim["claim"],
                claim["paper"],
                _number(claim["measured"]),
                _interval(claim["interval"]),
                _number(claim["bar"]),
                {True: "yes", False: "**no**", None: "-"}[claim["met"]],
                claim["note"],
            )
            for claim in claims
        ],
    )


def verdict_sentence(claims: Sequence[Mapping[str, Any]]) -> str:
    """How many bars are met, and which are missed."""
    judged = [claim for claim in claims if claim["met"] is not None]
    missed = [claim["id"] for claim in judged if not claim["met"]]
    start = f"{len(judged) - len(missed)} of {len(judged)} bars are met"
    return f"{start}; missed: {', '.join(missed)}." if missed else f"{start}."


def task_table(rows: Sequence[Mapping[str, Any]]) -> str:
    return _table(
        ("task", "prompts", "first images", "best-of-n, same time", "ReNO", "rise by ReNO"),
        [
            (
                row["group"].replace("_", " "),
                str(row["prompts"]),
                *(_estimate(row[key]) for key in ("first", "best_of_n", "reno")),
                _estimate(row["rise"], signed=True),
            )
            for row in rows
        ],
    )


def time_table(row: Mapping[str, Any]) -> str:
    return _table(
        ("method", "images drawn", "seconds per image"),
        [
            ("ReNO", str(row["steps"]), _number(row["reno_seconds"])),
            ("best-of-n", str(max(row["trials"], row["steps"])), _number(row["best_of_n_seconds"])),
        ],
    )


def left_out_table(rows: Sequence[Mapping[str, Any]]) -> str:
    return _table(
        ("left out", "images that improve", "mean score, first", "mean score, best", "rise of accuracy"),
        [
            (
                row["reward"],
                _estimate(row["improved"]),
                _number(row["before"]),
                _number(row["after"]),
                _estimate(row["accuracy_rise"], signed=True),
            )
            for row in rows
        ],
    )


def hacking_table(rows: Sequence[Mapping[str, Any]]) -> str:
    return _table(
        ("variant", "accuracy", "rise of accuracy", "rise, own rewards", "rise, all rewards", "deviation of the norm"),
        [
            (
                row["variant"],
                _estimate(row["accuracy"]),
                _estimate(row["accuracy_rise"], signed=True),
                _number(row["own_rise"], signed=True),
                _number(row["all_rise"], signed=True),
                f"{row['last_deviation']:.2f}",
            )
            for row in rows
        ],
    )


def settings_list(report: Mapping[str, Any]) -> str:
    """Model, rewards, size, versions, hardware, time."""
    settings, hardware = report["settings"], report["hardware"]
    rewards = ", ".join(f"{name} x {weight:g}" for name, weight in settings["rewards"].items())
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    command = "plaudit reproduce reno" + (" --quick" if settings["quick"] else "")
    lines = [
        f"command: `{command}`",
        f"model: {settings['model']}; rewards: {rewards}",
        f"seeds: {', '.join(map(str, settings['seeds']))}; prompts: {settings['main_prompts']} in the main comparison, "
        f"{settings['side_prompts']} in the ablations; {settings['chunk']} images a batch",
        f"machine: {hardware['cpu']}, {hardware['cores']} cores, {hardware['threads']} threads"
        + (f", {', '.join(hardware['gpus'])}" if hardware["gpus"] else ""),
        f"time: {report['seconds'] / 60:.1f} minutes",
        f"versions: {versions}",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _size(report: Mapping[str, Any]) -> dict[str, Any]:
    return {**report["settings"], **report["tables"]["time"], **_counts(report["settings"])}


def _counts(settings: Mapping[str, Any]) -> dict[str, int]:
    return {"num_seeds": len(settings["seeds"]), "num_rewards": len(settings["rewards"])}


def _picture(report: Mapping[str, Any], name: str, text: str) -> str:
    file = report["pictures"].get(name)
    return f"![{text}]({file})" if file else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)


def _estimate(estimate: Mapping[str, float], *, signed: bool = False) -> str:
    interval = _interval((estimate["low"], estimate["high"]))
    return f"{_number(estimate['value'], signed=signed)} ({interval})"


def _interval(interval: Sequence[float] | None) -> str:
    return "-" if interval is None else f"{_number(interval[0])} to {_number(interval[1])}"


def _number(value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return "-"
    return f"{value:+.3f}" if signed else f"{value:.3f}"
