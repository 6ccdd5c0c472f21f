"""ReasonGen-R1 and what is compared with it: each differs from its preset by what stands in its row alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from plaudit.core.errors import UnknownName

BASE, SFT, MAIN, DIRECT = "base", "sft", "reasongen", "direct"
NO_SFT, NO_CONTROL, DIRECT_LESSONS = "no-sft", "no-control", "direct-lessons"
HARD_JUDGE, FRACTIONS = "hard-judge", "fractions"

Way = Literal["none", "lessons", "rewards", "rewards-direct"]
"""how a model is trained, each by its preset: not at all, by lessons, by rewards after plans, or without plans"""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to train."""

    name: str
    words: str
    """what it is, or does otherwise than the preset"""
    paper: str
    """what was published about it"""
    way: Way = "rewards"
    start: str | None = SFT
    """whose weights it starts from, of the same seed; None: the model's as they are"""
    plan: bool = True
    """whether it is drawn from after a plan; the model before training is with and without"""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """fields of the preset's config"""
    rewards: tuple[str, ...] | None = None
    """as NAME:WEIGHT, instead of the preset's"""
    without_plans: bool = False
    """lessons whose plans are left out: the same pictures right after the same prompts"""


_OPEN = "by how much could not be confirmed"

VARIANTS = (
    Variant(
        name=BASE, words="the model before training", paper="Janus-Pro-7B: GenEval 0.80, DPG-Bench 84.19",
        way="none", start=None,
    ),
    Variant(
        name=SFT, words="lessons in planning", paper=f"the first stage; what it reaches by itself: {_OPEN}",
        way="lessons", start=None,
    ),
    Variant(
        name=MAIN, words="lessons, then rewards: words and tokens of better pictures become likelier",
        paper=f"better than Janus-Pro-7B on GenEval, DPG-Bench and T2I-Benchmark; {_OPEN}",
    ),
    Variant(
        name=DIRECT, words="rewards alone, without plans and without lessons", way="rewards-direct", start=None,
        plan=False, paper="not known",
    ),
    Variant(
        name=NO_SFT, words="rewards without lessons before", start=None,
        paper=f"worse without the first stage; {_OPEN}",
    ),
    Variant(
        name=NO_CONTROL, words="nothing keeps the entropies", changes={"entropy_control": "none"},
        paper=f"unstable, and worse; {_OPEN}",
    ),
    Variant(
        name=HARD_JUDGE, words="the judge says 1 if all requirements are met, else 0", rewards=("pocket-vqa-hard:1",),
        paper="the published judge's 0 or 1; probabilities and fractions are ours",
    ),
    Variant(
        name=FRACTIONS, words="the judge says which share of the requirements is met", rewards=("pocket-vqa:1",),
        paper="not known",
    ),
    Variant(
        name=DIRECT_LESSONS, words="the same lessons with their plans left out, no rewards", way="lessons", start=None,
        plan=False, without_plans=True, paper="not known",
    ),
)  # fmt: skip
CORE = (BASE, SFT, MAIN)
"""what every plan has"""
ABLATIONS = tuple(variant.name for variant in VARIANTS if variant.name not in CORE)


def variant_named(name: str) -> Variant:
    """The row of that name. Raises UnknownName."""
    for variant in VARIANTS:
        if variant.name == name:
            return variant
    raise UnknownName(f"there is no variant {name!r} of ReasonGen-R1. Known: {', '.join(it.name for it in VARIANTS)}.")
