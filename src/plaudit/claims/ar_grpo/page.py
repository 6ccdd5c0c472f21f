"""The result page of AR-GRPO with LOO-FID, made from the JSON report alone: no number on it is typed by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

from plaudit.claims.ar_grpo.page_words import (
    ABOUT_CLASSES,
    ABOUT_COST,
    ABOUT_CURVES,
    ABOUT_GUIDANCE,
    ABOUT_MODELS,
    ABOUT_VARIANTS,
    INTRODUCTION,
    QUICK_WARNING,
)
from plaudit.claims.markdown import estimate, number, picture, table
from plaudit.claims.result_page import command_line, result_page, seeds_line


def page(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    size, tables = _size(report), report["tables"]
    return result_page(
        report,
        title="AR-GRPO with LOO-FID, reproduced on the pocket world",
        introduction=INTRODUCTION.format(**size),
        quick_warning=QUICK_WARNING.format(**size),
        body=(
            "## Before and after",
            ABOUT_MODELS.format(**size),
            *(fidelity_table(tables["models"], net) for net in tables["nets"]),
            score_table(tables["models"], tables["rewards"]),
            "## Guidance before training",
            ABOUT_GUIDANCE.format(**size),
            guidance_table(tables["guidance"], tables),
            picture(report, "guidance", "FID, recall, distance and accuracy over the guidance, before and after"),
            "## Cost",
            ABOUT_COST,
            speed_table(tables["speed"]),
            "## While it is trained",
            ABOUT_CURVES.format(**size),
            picture(report, "curves", "Likeness, variety, rewards and entropy over the updates of the preset"),
            "## Ablations",
            ABOUT_VARIANTS.format(**size),
            variant_table(tables["variants"], tables["nets"][0]),
            variant_scores_table(tables["variants"], tables["rewards"]),
            picture(report, "variants", "FID against the distance within a class, for every variant"),
            picture(report, "courses", "FID, distance, entropy and the held-out reward over the updates, all variants"),
            "## Pictures by class",
            ABOUT_CLASSES,
            picture(report, "classes", "The same classes and random numbers before and after, and by rewards alone"),
            picture(report, "all", "The same classes and random numbers under every variant"),
        ),
        how=how_it_was_run(report),
    )


def fidelity_table(rows: Sequence[Mapping[str, Any]], net: str) -> str:
    """One net's word on each row's pictures."""
    return table(
        (f"by {net}", "FID", "KID", "precision", "recall", "distance within a class", "Vendi"),
        [
            (
                row["pictures"],
                estimate(row["fidelity"][net]["fid"]),
                number(row["fidelity"][net]["kid"]["value"]),
                number(row["fidelity"][net]["precision"]["value"]),
                estimate(row["fidelity"][net]["recall"]),
                estimate(row["distance"][net]),
                number(row["fidelity"][net]["vendi"]["value"]),
            )
            for row in rows
        ],
    )


def score_table(rows: Sequence[Mapping[str, Any]], rewards: Sequence[str]) -> str:
    return table(
        ("pictures", "show their class", *_headed(rewards), "entropy"),
        [
            (
                row["pictures"],
                estimate(row["accuracy"]),
                *(estimate(row["rewards"][name]) for name in rewards),
                "-" if row["entropy"] is None else number(row["entropy"]["value"]),
            )
            for row in rows
        ],
    )


def guidance_table(rows: Sequence[Mapping[str, Any]], tables: Mapping[str, Any]) -> str:
    nets, rewards = tables["nets"], tables["rewards"]
    return table(
        ("guidance", *(f"FID by {net}" for net in nets), "recall", "distance within a class", "show their class",
         *_headed(rewards)),
        [
            (
                row["pictures"],
                *(estimate(row["fidelity"][net]["fid"]) for net in nets),
                number(row["fidelity"][nets[0]]["recall"]["value"]),
                number(row["distance"][nets[0]]["value"]),
                number(row["accuracy"]["value"]),
                *(number(row["rewards"][name]["value"]) for name in rewards),
            )
            for row in rows
        ],
    )  # fmt: skip


def speed_table(rows: Sequence[Mapping[str, Any]]) -> str:
    words = {"whole": "the whole image", "tokens": "its tokens alone"}
    return table(
        ("seconds per image", "guided", "unguided", "ratio"),
        [
            (
                words[row["what"]],
                *(estimate(row[way], digits=4) for way in ("guided", "unguided")),
                estimate(row["ratio"]),
            )
            for row in rows
        ],
    )


def variant_table(rows: Sequence[Mapping[str, Any]], net: str) -> str:
    return table(
        ("variant", "what is different", "seeds", "FID", "of the preset's", "recall", "distance within a class",
         "show their class"),
        [
            (
                row["pictures"],
                row["words"],
                str(row["seeds"]),
                estimate(row["fidelity"][net]["fid"]),
                estimate(row["ratio"]) if "ratio" in row else "-",
                estimate(row["fidelity"][net]["recall"]),
                estimate(row["distance"][net]),
                estimate(row["accuracy"]),
            )
            for row in rows
        ],
    )  # fmt: skip


def variant_scores_table(rows: Sequence[Mapping[str, Any]], rewards: Sequence[str]) -> str:
    return table(
        (
            "variant",
            *_headed(rewards),
            "entropy, last third",
            "from its target",
            "nats off-policy",
            "KL",
            "s per update",
        ),
        [
            (
                row["pictures"],
                *(number(row["rewards"][name]["value"]) for name in rewards),
                *(number(row.get(name)) for name in ("last_entropy", "off_target", "off_policy", "kl")),
                number(row.get("seconds_per_update"), digits=1),
            )
            for row in rows
        ],
    )


def how_it_was_run(report: Mapping[str, Any]) -> Sequence[str]:
    """Command, size and settings, a line each."""
    settings = report["settings"]
    config, memory = settings["config"], settings["memory"]
    size = (
        f"{settings['updates']} updates of {config['prompts_per_update']} x {config['images_per_prompt']} images in "
        f"{settings['precision']}; ablations with {len(settings['ablation_seeds'])} seed(s)"
    )
    return (
        command_line(report),
        seeds_line(report, size),
        f"model: {settings['model']}; trained on: {', '.join(settings['rewards'])}; weights of the two kinds of "
        f"advantages: {config['instance_weight']:g} and {config['distribution_weight']:g}",
        f"LOO-FID: {memory['covariance']} covariance, {memory['form']} form, decay {memory['decay']:g}, by "
        f"{settings['net']}, against {settings['training_renders']} renders of each class, beginning with "
        f"{settings['start_images']} pictures",
    )


def _headed(rewards: Sequence[str]) -> list[str]:
    """The last one is held out."""
    return [*rewards[:-1], f"{rewards[-1]} (held out)"]


def _size(report: Mapping[str, Any]) -> dict[str, Any]:
    settings, tables = report["settings"], report["tables"]
    decides, *others = tables["nets"]
    return {
        **settings,
        "num_seeds": len(settings["seeds"]),
        "num_guidances": len(settings["guidances"]),
        "decides": decides,
        "other": " and ".join(others),
        "best": tables["best"]["of_all"],
    }
