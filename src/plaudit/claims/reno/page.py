"""The result page, made from the JSON report alone: no number on it is typed by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

from plaudit.claims.markdown import estimate, number, picture, table
from plaudit.claims.reno.page_words import (
    ABOUT_ACCURACY,
    ABOUT_HACKING,
    ABOUT_LEFT_OUT,
    ABOUT_TIME,
    INTRODUCTION,
    QUICK_WARNING,
)
from plaudit.claims.result_page import command_line, result_page, seeds_line


def page(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    size, tables = _size(report), report["tables"]
    return result_page(
        report,
        title=f"ReNO, reproduced on the pocket world: {report['settings']['model']}",
        introduction=INTRODUCTION.format(**size),
        quick_warning=QUICK_WARNING.format(**size),
        body=(
            "## Accuracy",
            ABOUT_ACCURACY,
            picture(report, "curve", "Accuracy of the best image so far"),
            task_table(tables["tasks"]),
            picture(report, "before_after", "First and best pictures"),
            "## Time",
            ABOUT_TIME.format(**size),
            time_table(tables["time"]),
            "## A reward that is left out",
            ABOUT_LEFT_OUT.format(**size),
            left_out_table(tables["left_out"]),
            *(_hacking(report) if tables["hacking"] else ()),
        ),
        how=how_it_was_run(report),
    )


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


def how_it_was_run(report: Mapping[str, Any]) -> Sequence[str]:
    """Command, model, rewards and size, a line each."""
    settings = report["settings"]
    rewards = ", ".join(f"{name} x {weight:g}" for name, weight in settings["rewards"].items())
    size = (
        f"prompts: {settings['main_prompts']} in the main comparison, {settings['side_prompts']} in the ablations; "
        f"{settings['chunk']} images a batch"
    )
    return (
        command_line(report, "--model", settings["model"]),
        f"model: {settings['model']}; rewards: {rewards}",
        seeds_line(report, size),
    )


def _size(report: Mapping[str, Any]) -> dict[str, Any]:
    return {**report["settings"], **report["tables"]["time"], **_counts(report["settings"])}


def _counts(settings: Mapping[str, Any]) -> dict[str, int]:
    return {"num_seeds": len(settings["seeds"]), "num_rewards": len(settings["rewards"])}
