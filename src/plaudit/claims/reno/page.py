"""The result page, made from the JSON report alone: no number on it is typed by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

from plaudit.claims.markdown import claim_table, estimate, number, picture, run_facts, table, verdict_sentence
from plaudit.claims.reno.page_words import (
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
        f"# ReNO, reproduced on the pocket world: {report['settings']['model']}",
        INTRODUCTION.format(**_size(report)),
        QUICK_WARNING.format(**_size(report)) if report["settings"]["quick"] else "",
        "## Claims",
        claim_table(report["claims"]),
        verdict_sentence(report["claims"]),
        "## Accuracy",
        ABOUT_ACCURACY,
        picture(report, "curve", "Accuracy of the best image so far"),
        task_table(report["tables"]["tasks"]),
        picture(report, "before_after", "First and best pictures"),
        "## Time",
        ABOUT_TIME.format(**_size(report)),
        time_table(report["tables"]["time"]),
        "## A reward that is left out",
        ABOUT_LEFT_OUT.format(**_size(report)),
        left_out_table(report["tables"]["left_out"]),
        *(_hacking(report) if report["tables"]["hacking"] else ()),
        "## How it was run",
        settings_list(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _hacking(report: Mapping[str, Any]) -> Sequence[str]:
    return (
        "## What reward hacking looks like",
        ABOUT_HACKING,
        hacking_table(report["tables"]["hacking"]),
        picture(report, "hacking", "Accuracy against the rise of the rewards that were followed"),
        picture(report, "hacking_grid", "The same prompts under every variant"),
    )


def task_table(rows: Sequence[Mapping[str, Any]]) -> str:
    return table(
        ("task", "prompts", "first images", "best-of-n, same time", "ReNO", "rise by ReNO"),
        [
            (
                row["group"].replace("_", " "),
                str(row["prompts"]),
                *(estimate(row[key]) for key in ("first", "best_of_n", "reno")),
                estimate(row["rise"], signed=True),
            )
            for row in rows
        ],
    )


def time_table(row: Mapping[str, Any]) -> str:
    return table(
        ("method", "images drawn", "seconds per image"),
        [
            ("ReNO", str(row["steps"]), number(row["reno_seconds"])),
            ("best-of-n", str(max(row["trials"], row["steps"])), number(row["best_of_n_seconds"])),
        ],
    )


def left_out_table(rows: Sequence[Mapping[str, Any]]) -> str:
    return table(
        ("left out", "images that improve", "mean score, first", "mean score, best", "rise of accuracy"),
        [
            (
                row["reward"],
                estimate(row["improved"]),
                number(row["before"]),
                number(row["after"]),
                estimate(row["accuracy_rise"], signed=True),
            )
            for row in rows
        ],
    )


def hacking_table(rows: Sequence[Mapping[str, Any]]) -> str:
    return table(
        ("variant", "accuracy", "rise of accuracy", "rise, own rewards", "rise, all rewards", "deviation of the norm"),
        [
            (
                row["variant"],
                estimate(row["accuracy"]),
                estimate(row["accuracy_rise"], signed=True),
                number(row["own_rise"], signed=True),
                number(row["all_rise"], signed=True),
                f"{row['last_deviation']:.2f}",
            )
            for row in rows
        ],
    )


def settings_list(report: Mapping[str, Any]) -> str:
    """Model, rewards, size, versions, hardware, time."""
    settings = report["settings"]
    rewards = ", ".join(f"{name} x {weight:g}" for name, weight in settings["rewards"].items())
    command = f"plaudit reproduce reno --model {settings['model']}" + (" --quick" if settings["quick"] else "")
    lines = [
        f"command: `{command}`",
        f"model: {settings['model']}; rewards: {rewards}",
        f"seeds: {', '.join(map(str, settings['seeds']))}; prompts: {settings['main_prompts']} in the main comparison, "
        f"{settings['side_prompts']} in the ablations; {settings['chunk']} images a batch",
        *run_facts(report),
    ]
    return "\n".join(f"- {line}" for line in lines)


def _size(report: Mapping[str, Any]) -> dict[str, Any]:
    return {**report["settings"], **report["tables"]["time"], **_counts(report["settings"])}


def _counts(settings: Mapping[str, Any]) -> dict[str, int]:
    return {"num_seeds": len(settings["seeds"]), "num_rewards": len(settings["rewards"])}
