"""RLCM's result page, made from the JSON report alone: no number on it is typed by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

from plaudit.claims.markdown import estimate, number, picture, table
from plaudit.claims.result_page import command_line, result_page, seeds_line

INTRODUCTION = """RLCM (Oertell et al. 2024, arXiv 2404.03673) follows a policy gradient through the few steps of a \
consistency model; DDPO (Black et al. 2023) does so through the many steps of a diffusion model. Here both run in the \
same code with the same settings: {consistency} in {horizon} steps, and its teacher {diffusion} in {diffusion_steps} \
steps of DDIM with noise. Rewards are measured on {look_prompts} prompts of the task with noises that never change; \
the exact judge, which nothing is trained on, says whether a picture shows what the prompt asks for. Intervals are \
95 %: over prompts with {num_seeds} seed(s) averaged per prompt, or, for times, over seeds (Student). This page is \
generated from the JSON file beside it."""

QUICK_WARNING = """> This was the quick run: {updates} updates, {num_seeds} seed. It decides nothing."""

ABOUT_TASKS = """Each update draws {prompts_per_update} prompts, four images of each. "Same queries" is after as many \
images judged as DDPO's whole training had. PocketEval's prompts are others than the task's: their accuracy says what \
the model has unlearned."""

ABOUT_STEPS = """Tuned in {horizon} steps on the aesthetic task, then drawn in other numbers of steps, beside the \
model before tuning. Right: the judge's word on the task's prompts, and on PocketEval's."""

ABOUT_LONG = """The aesthetic task for {long_updates} updates, {times} times as long, once as it is and once with the \
divergence from the starting model in the loss (weight {kl_weight:g}). Over-optimisation is a trained reward that \
rises while the held-out reward and the judge's word fall."""


def page(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    size, tables = _size(report), report["tables"]
    return result_page(
        report,
        title="RLCM, reproduced on the pocket world",
        introduction=INTRODUCTION.format(**size),
        quick_warning=QUICK_WARNING.format(**size),
        body=(
            "## Reward by query and by second",
            picture(report, "queries", "Reward by images judged"),
            picture(report, "seconds", "Reward by seconds of training"),
            "## Four tasks",
            ABOUT_TASKS.format(**size),
            task_table(tables["tasks"]),
            picture(report, "tasks", "The same prompts and noises, before and after"),
            "## Fewer steps",
            ABOUT_STEPS.format(**size),
            step_table(tables["steps"]),
            "## Horizons",
            horizon_table(tables["horizons"]),
            "## Too long",
            ABOUT_LONG.format(**size),
            picture(report, "long", "Trained reward, held-out reward and the judge's word"),
            picture(report, "long_pictures", "The same prompts and noises while training goes on"),
        ),
        how=how_it_was_run(report),
    )


def task_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Two lines per task."""
    return table(
        (
            "task", "method", "reward, start", "same queries", "end", "held-out rise", "right, start to end",
            "PocketEval, start to end", "s per update",
        ),
        [
            (
                row["task"] if method == "rlcm" else "",
                method.upper(),
                *(estimate(row[method][name]) for name in ("start", "same_queries", "end")),
                estimate(row[method]["held_out_rise"], signed=True),
                f"{number(row[method]['right_start'])} to {number(row[method]['right_end'])}",
                f"{number(row[method]['general_start'])} to {number(row[method]['general_end'])}",
                number(row[method]["seconds_per_update"], digits=1),
            )
            for row in rows
            for method in ("rlcm", "ddpo")
        ],
    )  # fmt: skip


def step_table(rows: Sequence[Mapping[str, Any]]) -> str:
    return table(
        ("steps", "reward before tuning", "reward after", "right", "PocketEval"),
        [
            (
                str(row["steps"]),
                estimate(row["untuned"]),
                estimate(row["tuned"]),
                number(row["right"]),
                number(row["general"]),
            )
            for row in rows
        ],
    )


def horizon_table(rows: Sequence[Mapping[str, Any]]) -> str:
    return table(
        ("trained and drawn in", "reward, start", "end", "s per update"),
        [
            (
                f"{row['horizon']} steps",
                estimate(row["start"]),
                estimate(row["end"]),
                number(row["seconds_per_update"], digits=1),
            )
            for row in rows
        ],
    )


def how_it_was_run(report: Mapping[str, Any]) -> Sequence[str]:
    """Command and size, a line each."""
    settings = report["settings"]
    size = (
        f"updates: {settings['updates']} of RLCM, {settings['diffusion_updates']} of DDPO, "
        f"{settings['prompts_per_update']} prompts with 4 images each"
    )
    return (command_line(report), seeds_line(report, size))


def _size(report: Mapping[str, Any]) -> dict[str, Any]:
    settings = report["settings"]
    times = f"{settings['long_updates'] / settings['updates']:g}"
    return {**settings, "num_seeds": len(settings["seeds"]), "times": times}
