"""The result page of ReasonGen-R1, made from the JSON report alone: no number on it is typed by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

from plaudit.claims.markdown import estimate, number, picture, table
from plaudit.claims.reasongen.examples import NO_PLAN
from plaudit.claims.reasongen.page_words import (
    ABOUT_COST,
    ABOUT_CURVES,
    ABOUT_DISAGREEMENTS,
    ABOUT_EXAMPLES,
    ABOUT_MODELS,
    ABOUT_PLANS,
    ABOUT_UNDERSTANDING,
    ABOUT_VARIANTS,
    INTRODUCTION,
    QUICK_WARNING,
    THE_WORST,
)
from plaudit.claims.result_page import command_line, result_page, seeds_line


def page(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    size, tables, grids = _size(report), report["tables"], report["grids"]
    return result_page(
        report,
        title="ReasonGen-R1, reproduced on the pocket world",
        introduction=INTRODUCTION.format(**size),
        quick_warning=QUICK_WARNING.format(**size),
        body=(
            "## Drawing, planning, learning",
            ABOUT_MODELS.format(**size),
            accuracy_table(tables["models"]),
            score_table(tables["models"], tables["rewards"]),
            "## Plans",
            ABOUT_PLANS,
            plan_table(tables["plans"]),
            "## Pictures and their plans",
            ABOUT_EXAMPLES,
            picture(report, "examples", "The same prompts and random numbers by every model, over their plans"),
            example_table(grids["examples"]),
            "### Where picture and plan disagree",
            ABOUT_DISAGREEMENTS.format(**grids["disagreements"]),
            THE_WORST if grids["disagreements"]["places"] else "",
            picture(report, "disagreements", "Pictures that show the least of their plans"),
            disagreement_table(grids["disagreements"]),
            "## What is understood",
            ABOUT_UNDERSTANDING.format(**size),
            understanding_table(tables["understanding"]),
            "## Cost",
            ABOUT_COST,
            speed_table(tables["speed"]),
            "## While it is trained",
            ABOUT_CURVES.format(**size),
            picture(report, "curves", "Reward, entropies, plans and accuracy over the updates of the preset"),
            "## Ablations",
            ABOUT_VARIANTS,
            variant_table(tables["variants"]),
            course_table(tables["variants"], tables["rewards"]),
            picture(report, "variants", "The accuracy of every variant"),
            picture(report, "courses", "Reward, accuracy, entropies and plans over the updates of every variant"),
        ),
        how=how_it_was_run(report),
    )


def accuracy_table(rows: Sequence[Mapping[str, Any]]) -> str:
    tasks = list(rows[0]["tasks"])
    return table(
        ("pictures", "guidance", "accuracy", *(task.replace("_", " ") for task in tasks), "unseen",
         "their tasks' others"),
        [
            (
                row["pictures"],
                f"{row['guidance']:g}",
                estimate(row["accuracy"]),
                *(number(row["tasks"][task]["value"]) for task in tasks),
                *(_maybe(row[which]) for which in ("unseen", "seen")),
            )
            for row in rows
        ],
    )  # fmt: skip


def score_table(rows: Sequence[Mapping[str, Any]], rewards: Sequence[str]) -> str:
    return table(
        ("pictures", "guidance", *rewards, "distance within a prompt", "seeds"),
        [
            (
                row["pictures"],
                f"{row['guidance']:g}",
                *(estimate(row["rewards"][name]) for name in rewards),
                estimate(row["distance"]),
                str(row["seeds"]),
            )
            for row in rows
        ],
    )


def plan_table(rows: Sequence[Mapping[str, Any]]) -> str:
    return table(
        ("plans", "can be read", "meet the prompt", "shown of a plan", "all of it shown", "words",
         "right where it meets", "right elsewhere"),
        [
            (
                row["pictures"],
                *(_maybe(row[name]) for name in ("readable", "meets", "agrees", "agrees_whole")),
                _maybe(row["words"], digits=1),
                *(_maybe(row[side]) for side in ("met", "missed")),
            )
            for row in rows
        ],
    )  # fmt: skip


def example_table(grid: Mapping[str, Any]) -> str:
    """Every prompt, and what each model planned for it, in words that can be copied."""
    planned = [row for row in grid["rows"] if any(tile["plan"] != NO_PLAN for tile in row["tiles"])]
    return table(
        ("prompt", *(f"{row['name']}: its plan" for row in planned)),
        [
            (caption, *(_judged(row["tiles"][place]) for row in planned))
            for place, caption in enumerate(grid["captions"])
        ],
    )


def disagreement_table(grid: Mapping[str, Any]) -> str:
    tiles = grid["rows"][0]["tiles"]
    if not tiles:
        return ""
    return table(
        ("prompt", "plan", "what the judge saw", "shown of the plan", "right"),
        [
            (caption, tile["plan"], tile["seen"], number(tile["share"]), "yes" if tile["right"] else "no")
            for caption, tile in zip(grid["captions"], tiles, strict=True)
        ],
    )


def understanding_table(rows: Sequence[Mapping[str, Any]]) -> str:
    return table(
        ("model", "answered right", "less before"),
        [
            (
                row["pictures"],
                estimate(row["right"]),
                "-" if row["gain"] is None else estimate(row["gain"], signed=True),
            )
            for row in rows
        ],
    )


def speed_table(row: Mapping[str, Any]) -> str:
    return table(
        ("with its plan", "without", "ratio"),
        [
            (
                estimate(row["planned"], digits=4), estimate(row["direct"], digits=4), estimate(row["ratio"])
            )
        ],
    )  # fmt: skip


def variant_table(rows: Sequence[Mapping[str, Any]]) -> str:
    return table(
        ("variant", "what it is", "seeds", "accuracy", "over the preset", "questions answered right"),
        [
            (
                row["pictures"],
                row["words"],
                str(row["seeds"]),
                estimate(row["accuracy"]),
                estimate(row["gain"], signed=True),
                number(row["understanding"]),
            )
            for row in rows
        ],
    )


def course_table(rows: Sequence[Mapping[str, Any]], rewards: Sequence[str]) -> str:
    return table(
        ("variant", *rewards, "entropy of words", "from its target", "entropy of tokens", "from its target",
         "words of a plan", "groups of equals", "s per update"),
        [
            (
                row["pictures"],
                *(number(row["rewards"][name]["value"]) for name in rewards),
                *(number(row.get(name)) for name in ("word_entropy", "word_off", "token_entropy", "token_off")),
                number(row.get("plan_words"), digits=1),
                number(row.get("equal_groups")),
                number(row.get("seconds_per_update"), digits=1),
            )
            for row in rows
        ],
    )  # fmt: skip


def how_it_was_run(report: Mapping[str, Any]) -> Sequence[str]:
    """Command, size and settings, a line each."""
    settings = report["settings"]
    config, lessons = settings["config"], settings["lessons_config"]
    size = (
        f"{settings['updates']} updates of {config['prompts_per_update']} x {config['images_per_prompt']} pictures by "
        f"rewards in {settings['precision']}; ablations with {len(settings['ablation_seeds'])} seed(s)"
    )
    return (
        command_line(report),
        seeds_line(report, size),
        f"lessons: {lessons['updates']} updates of {lessons['lessons_per_update']}, of {settings['lessons']} scenes, "
        f"rate {lessons['lr']:g}",
        f"rewards: {', '.join(settings['followed'])}; rate {config['lr']:g}; {config['balance']} count the same; "
        f"entropies by {config['entropy_control']!r} at {config['word_entropy']:g} and {config['token_entropy']:g} "
        f"nats, rate {config['entropy_rate']:g}, limit {config['entropy_limit']:g}",
        "prompts of the rewards held against PocketEval's: " + "; ".join(settings["overlaps"]),
        "prompts of the lessons, but for an opening 'a photo of': " + "; ".join(settings["lesson_overlaps"]),
    )


def _judged(tile: Mapping[str, Any]) -> str:
    return f"{tile['plan']} ({'right' if tile['right'] else 'wrong'})"


def _maybe(found: Mapping[str, float] | None, *, digits: int = 3) -> str:
    return "-" if found is None else estimate(found, digits=digits)


def _size(report: Mapping[str, Any]) -> dict[str, Any]:
    settings, tables = report["settings"], report["tables"]
    return {
        **settings,
        "num_seeds": len(settings["seeds"]),
        "followed": tables["rewards"][0],
    }
