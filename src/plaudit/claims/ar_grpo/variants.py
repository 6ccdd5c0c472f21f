"""AR-GRPO with LOO-FID and what is compared with it: each differs from the preset by what stands in its row alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plaudit.core.errors import UnknownName

MAIN, BASE = "ar-grpo", "base"
INSTANCE_ONLY, DISTRIBUTION_ONLY, DIAGONAL = "instance-only", "distribution-only", "diagonal"
NO_CONTROLLER, GUIDED, NO_KL = "no-controller", "guided", "no-kl"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to train."""

    name: str
    words: str
    """what it does otherwise than the preset"""
    paper: str
    """what was published about it"""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """fields of ArGrpoConfig over the preset's"""
    memory: Mapping[str, Any] = field(default_factory=dict)
    """fields of LooFidSettings over the preset's"""
    guided: bool = False
    """whether it learns from pictures at the untrained model's best guidance"""


_OPEN = "its tables could not be had"

VARIANTS = (
    Variant(
        name=MAIN, words="rewards and LOO-FID, as in the preset",
        paper="quality and diversity rise; without guidance competitive with it",
    ),
    Variant(
        name=INSTANCE_ONLY, words="the rewards of pictures alone; LOO-FID is only watched",
        changes={"distribution_weight": 0.0},
        paper="why there is LOO-FID: AR-GRPO's rewards alone (arXiv 2508.06924) are said to raise IS from 286.9 to "
        "293.1 and FID from 2.79 to 3.63",
    ),
    Variant(
        name=DISTRIBUTION_ONLY, words="LOO-FID alone; rewards are only watched", changes={"instance_weight": 0.0},
        paper=_OPEN,
    ),
    # Variances have no second-order form; the exact one is what that of the preset comes nearest to.
    Variant(
        name=DIAGONAL, words="LOO-FID of single features' variances, exactly, as in the released code",
        memory={"covariance": "diagonal", "form": "exact"}, paper="the released code's; the whole covariance is ours",
    ),
    Variant(
        name=NO_CONTROLLER, words="nothing keeps the entropy", changes={"entropy_target": 0.0},
        paper="its bonus steers towards 0.78 of the most there can be; " + _OPEN,
    ),
    Variant(
        name=GUIDED, words="learns from guided pictures as if they were its own, off-policy", guided=True,
        changes={"learned": "prompt"}, paper="the released code's way: guidance 1.5, the unguided likelihood",
    ),
    Variant(
        name=NO_KL, words="nothing holds the tokens' distributions to the start's", changes={"kl_weight": 0.0},
        paper=_OPEN,
    ),
)  # fmt: skip
ABLATIONS = tuple(variant.name for variant in VARIANTS if variant.name != MAIN)


def variant_named(name: str) -> Variant:
    """The row of that name. Raises UnknownName."""
    for variant in VARIANTS:
        if variant.name == name:
            return variant
    raise UnknownName(f"there is no variant {name!r} of AR-GRPO. Known: {', '.join(it.name for it in VARIANTS)}.")
