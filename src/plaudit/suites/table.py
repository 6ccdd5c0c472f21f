"""The table of suites. To add one, add a row; nothing is imported until a row is built."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import BadConfig
from plaudit.core.registry import Entry, Registry

if TYPE_CHECKING:
    import torch

    from plaudit.suites.suite import Suite

BOARD = "rewards"
"""what scores a suite without right and wrong"""
_ON_THEIR_SCALE = "rewards, each on its own scale"
_HELD_BY = "(of the repository that holds the list)"
"""of a licence that the list's authors did not give"""


def _listed(name: str, *, prompts: int, about: dict[str, Any], **row: Any) -> Entry:
    """A suite whose prompts are in a list; `about` is told by the table and by the suite itself.

    models: by role, which is what the scorer's parameter is called.
    """
    licence, scorer, scored_by = row["licence"], row.get("scorer"), row["scored_by"]
    models: dict[str, str] = row.get("models", {})
    said = {"images_per_prompt": 1, "overall": "prompts", "measures": _ON_THEIR_SCALE, **about}
    return Entry(
        name=name,
        target=f"plaudit.suites.listed:{'scored_suite' if scorer else 'board_suite'}",
        summary=row["summary"],
        arguments={
            "name": name,
            "prompts_of": row["prompts_of"],
            "about": {**said, "licence": licence, "models": models},
            **({"scorer": scorer} if scorer else {}),
        },
        licence=licence,
        facts={
            "prompts": prompts,
            "folder": row["prompts_of"],
            "scored_by": scored_by,
            "models": tuple(models.values()),
            **said,
        },
    )


# chance: the score of faultless pictures of the suite's other prompts, where that can be counted without a model.
SUITES = Registry(
    "suite",
    [
        Entry(
            name="pocket",
            target="plaudit.suites.run:pocket",
            summary="PocketEval: GenEval's six tasks on the pocket world, scored by the exact judge",
            facts={
                "prompts": 553,
                "scored_by": "the exact judge",
                "images_per_prompt": 4,
                "overall": "categories",
                "measures": "share of the requirements that hold, 0 to 1",
                "chance": 0.12,
                "strict_chance": 0.04,
                "paper": "GenEval in miniature, after Ghosh et al. 2023",
            },
        ),
        _listed(
            "geneval",
            prompts_of="geneval",
            prompts=553,
            scorer="plaudit.suites.geneval:geneval_scorer",
            scored_by="a detector, and CLIP for colours",
            models={"detector": "mask2former-swin-s", "colours": "clip-vit-l14"},
            summary="GenEval: objects, counts, colours and places of everyday things",
            licence="MIT",
            about={
                "images_per_prompt": 4,
                "overall": "categories",
                "measures": "share of the requirements that hold, 0 to 1",
                "strict_chance": 0.003,
                "paper": "Ghosh et al. 2023, GenEval",
            },
        ),
        _listed(
            "t2i-compbench",
            prompts_of="t2i_compbench",
            prompts=1800,
            scorer="plaudit.suites.t2i_compbench:t2i_compbench_scorer",
            scored_by="BLIP-VQA, a detector and CLIP",
            models={"detector": "owlv2-base", "vqa": "blip-vqa", "clip": "clip-vit-l14"},
            summary="T2I-CompBench: attributes on the right things, places, actions; validation prompts",
            licence="MIT",
            about={
                "images_per_prompt": 10,
                "overall": "categories",
                "measures": "each category's own score, 0 to 1",
                "paper": "Huang et al. 2023, T2I-CompBench",
            },
        ),
        _listed(
            "t2i-compbench-numeracy",
            prompts_of="t2i_compbench_numeracy",
            prompts=300,
            scorer="plaudit.suites.t2i_compbench:t2i_compbench_scorer",
            scored_by="a detector",
            models={"detector": "owlv2-base"},
            summary="T2I-CompBench++: numbers of things; validation prompts",
            licence="MIT",
            about={
                "images_per_prompt": 10,
                "overall": "categories",
                "measures": "share of the things whose number is right, 0 to 1",
                "paper": "Huang et al. 2025, T2I-CompBench++",
            },
        ),
        _listed(
            "dpg-bench",
            prompts_of="dpg_bench",
            prompts=1065,
            scorer="plaudit.suites.dpg_bench:dpg_scorer",
            scored_by="BLIP-VQA",
            models={"vqa": "blip-vqa"},
            summary="DPG-Bench: long, dense prompts, taken apart into questions",
            licence="Apache-2.0",
            about={
                "images_per_prompt": 4,
                "measures": "share of the questions that are answered with yes, 0 to 1",
                "parts": ("global", "entity", "attribute", "relation", "other"),
                "paper": "Hu et al. 2024, ELLA",
            },
        ),
        _listed(
            "partiprompts",
            prompts_of="partiprompts",
            prompts=1632,
            scored_by=BOARD,
            summary="PartiPrompts (P2): a broad mixture of subjects and challenges",
            licence="Apache-2.0",
            about={"paper": "Yu et al. 2022, Parti"},
        ),
        _listed(
            "drawbench",
            prompts_of="drawbench",
            prompts=200,
            scored_by=BOARD,
            summary="DrawBench: short prompts that are hard on models; without the categories of its authors",
            licence=f"Apache-2.0 {_HELD_BY}",
            about={"images_per_prompt": 4, "paper": "Saharia et al. 2022, Imagen"},
        ),
        _listed(
            "hpsv2",
            prompts_of="hpsv2",
            prompts=3200,
            scored_by=BOARD,
            summary="the HPSv2 benchmark in four styles; its lists are only read from a folder of yours",
            licence="Apache-2.0",
            about={"overall": "categories", "paper": "Wu et al. 2023, HPSv2"},
        ),
        _listed(
            "hpsv2-alignprop",
            prompts_of="hpsv2_alignprop",
            prompts=750,
            scored_by=BOARD,
            summary="the captions of photos that AlignProp trained on for HPSv2; not the HPSv2 benchmark",
            licence=f"MIT {_HELD_BY}",
            about={"paper": "Prabhudesai et al. 2023, AlignProp"},
        ),
    ],
)


def load_suite(
    name: str,
    *,
    rewards: Sequence[str] = (),
    device: "torch.device | str | None" = None,
    folder: Path | None = None,
    detector: str | None = None,
) -> "Suite":
    """The suite of a row's name, or a board of the prompts in a file of that name.

    rewards: specs that a board scores by, the headline first; nothing for others. `device` is where a scorer's models
    are put first. folder: where lists of prompts lie. detector: a row's name or a folder, in place of the usual one of
    a suite that `has_detector`; nothing for others. Raises UnknownName, with the nearest name, or BadConfig.
    """
    if is_own(name):
        from plaudit.suites.listed import own_board

        return own_board(Path(name).expanduser(), rewards=rewards, device=device)
    entry = SUITES.find(name)
    suite: Suite
    if "folder" not in entry.facts:
        suite = entry.build()
    elif entry.facts["scored_by"] == BOARD:
        suite = entry.build(rewards=rewards, device=device, folder=folder)
    else:
        suite = entry.build(device=device, folder=folder, **_with_detector(entry, detector))
    return suite


def is_own(name: str) -> bool:
    """Whether a name means a file of the user's prompts. Raises BadConfig if it looks like one that is not there."""
    if name in SUITES:
        return False
    file = Path(name).expanduser()
    if file.is_file():
        return True
    if len(file.parts) > 1 or file.suffix:
        raise BadConfig(f"there is no file of prompts {name!r}, and no suite of that name; see: plaudit list suites")
    return False


def has_detector(name: str) -> bool:
    """Whether it is scored by what a detector finds."""
    return not is_own(name) and "detector" in _models(SUITES.find(name))


def is_board(name: str) -> bool:
    """Whether rewards score it, and nobody knows right from wrong."""
    return is_own(name) or SUITES.find(name).facts["scored_by"] == BOARD


def _models(entry: Entry) -> dict[str, str]:
    """By role, what a row's scorer loads."""
    models: dict[str, str] = entry.arguments.get("about", {}).get("models", {})
    return models


def _with_detector(entry: Entry, detector: str | None) -> dict[str, Any]:
    """What to say when building a row's suite, so that this detector takes the place of its own."""
    if detector is None or "detector" not in _models(entry):
        return {}
    return {"about": {**entry.arguments["about"], "models": {**_models(entry), "detector": detector}}}
