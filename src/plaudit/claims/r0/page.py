"""R0's result page, made from the JSON report alone: no number on it is typed by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

from plaudit.claims.markdown import estimate, number, picture, table
from plaudit.claims.r0.page_words import (
    ABOUT_ABLATIONS,
    ABOUT_COLLAPSE,
    ABOUT_CURVES,
    ABOUT_FIDELITY,
    ABOUT_REWARDS,
    ABOUT_STEPS,
    ABOUT_TASKS,
    INTRODUCTION,
    QUICK_WARNING,
)
from plaudit.claims.result_page import command_line, result_page, seeds_line


def page(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    size, tables = _size(report), report["tables"]
    return result_page(
        report,
        title="R0+, reproduced on the pocket world",
        introduction=INTRODUCTION.format(**size),
        quick_warning=QUICK_WARNING.format(**size),
        body=(
            "## Rewards",
            ABOUT_REWARDS.format(**size),
            reward_table(tables["rewards"]),
            "## Accuracy",
            ABOUT_TASKS.format(**size),
            task_table(tables["tasks"]),
            "## Likeness and variety",
            ABOUT_FIDELITY.format(**size),
            fidelity_table(tables["fidelity"]),
            "## Steps and time",
            ABOUT_STEPS.format(**size),
            step_table(tables["steps"]),
            speed_table(tables["speed"], size),
            picture(report, "steps", "The same prompts and noises in other numbers of steps"),
            "## While it is trained",
            ABOUT_CURVES.format(**size),
            picture(report, "curves", "Rewards, accuracy and drift over the updates of R0+"),
            "## Ablations and neighbours",
            ABOUT_ABLATIONS.format(**size),
            ablation_table(tables["ablations"]),
            ablation_rewards_table(tables["ablations"]),
            picture(report, "ablations", "Accuracy against the rise of the rewards that were followed"),
            picture(report, "courses", "Accuracy and rewards over the updates of every variant"),
            "## What each collapse looks like",
            ABOUT_COLLAPSE,
            picture(report, "variants", "The same prompts and noises under every variant"),
        ),
        how=how_it_was_run(report),
    )


def reward_table(rows: Sequence[Mapping[str, Any]]) -> str:
    return table(
        ("reward", "trained on", "base", "few steps, before", "R0+", "R0+ over base"),
        [
            (
                row["reward"],
                "yes" if row["trained"] else "no",
                *(estimate(row[name]) for name in ("base", "start", "tuned")),
                estimate(row["rise"], signed=True),
            )
            for row in rows
        ],
    )


def task_table(rows: Sequence[Mapping[str, Any]]) -> str:
    return table(
        ("task", "prompts", "base", "R0+", "R0+ over base"),
        [
            (
                row["task"].replace("_", " "),
                str(row["prompts"]),
                estimate(row["base"]),
                estimate(row["tuned"]),
                estimate(row["rise"], signed=True),
            )
            for row in rows
        ],
    )


def fidelity_table(rows: Sequence[Mapping[str, Any]]) -> str:
    return table(
        ("pictures", "of each prompt", "FID", "KID", "precision", "recall", "Vendi", "distance within a prompt"),
        [
            (
                row["pictures"],
                row["which"],
                estimate(row["fid"]),
                *(number(row[name]["value"]) for name in ("kid", "precision", "recall", "vendi")),
                "-" if row["distance"] is None else estimate(row["distance"]),
            )
            for row in rows
        ],
    )


def step_table(rows: Sequence[Mapping[str, Any]]) -> str:
    rewards = list(rows[0]["rewards"])
    return table(
        ("pictures", "right", *rewards, "FID"),
        [
            (
                row["pictures"],
                estimate(row["accuracy"]),
                *(number(row["rewards"][name]["value"]) for name in rewards),
                number(row["fid"]["value"]),
            )
            for row in rows
        ],
    )


def speed_table(row: Mapping[str, Any], size: Mapping[str, Any]) -> str:
    return table(
        ("", "calls of the network", "seconds per image"),
        [
            (
                f"base, {size['base_steps']} guided steps",
                str(2 * size["base_steps"]),
                estimate(row["guided"], digits=4),
            ),
            (f"R0+, {size['steps']} steps", str(size["steps"]), estimate(row["few"], digits=4)),
            ("ratio", f"{2 * size['base_steps'] / size['steps']:g}", estimate(row["ratio"])),
        ],
    )


def ablation_table(rows: Sequence[Mapping[str, Any]]) -> str:
    return table(
        ("variant", "what is different", "seeds", "right", "over R0+", "its rewards over R0+", "held out over R0+",
         "verdict"),
        [
            (
                row["name"],
                row["words"],
                str(row["seeds"]),
                estimate(row["accuracy"]),
                _rise(row, "accuracy_rise"),
                _rise(row, "trained_rise"),
                _rise(row, "held_out_rise"),
                row.get("verdict", "-"),
            )
            for row in rows
        ],
    )  # fmt: skip


def ablation_rewards_table(rows: Sequence[Mapping[str, Any]]) -> str:
    rewards = list(rows[0]["rewards"])
    return table(
        ("variant", *rewards, "FID", "recall", "distance within a prompt", "drift", "s per update"),
        [
            (
                row["name"],
                *(number(row["rewards"][name]["value"]) for name in rewards),
                number(row["fid"]["value"]),
                number(row["recall"]["value"]),
                number(row["distance"]["value"]),
                number(row.get("drift")),
                number(row.get("seconds_per_update"), digits=1),
            )
            for row in rows
        ],
    )


def how_it_was_run(report: Mapping[str, Any]) -> Sequence[str]:
    """Command, size and settings, a line each."""
    settings = report["settings"]
    longer = settings["long_updates"]
    beside = f"R0+ beside the base: {longer} updates, all else: " if longer else ""
    size = (
        f"{beside}{settings['updates']} updates of {settings['config']['images_per_update']} images in "
        f"{settings['precision']}; ablations with {len(settings['ablation_seeds'])} seed(s)"
    )
    rewards = ", ".join(settings["rewards"])
    return (command_line(report), seeds_line(report, size), f"model: {settings['model']}; trained on: {rewards}")


def _rise(row: Mapping[str, Any], name: str) -> str:
    return estimate(row[name], signed=True) if name in row else "-"


def _size(report: Mapping[str, Any]) -> dict[str, Any]:
    return {**report["settings"], "num_seeds": len(report["settings"]["seeds"])}
