"""R0+ and what is compared with it: each differs from the preset of R0+ by what stands in its row, and by nothing else.

The last few are the neighbours' ways, in the same code and from the same start: DRaFT (Clark et al. 2023) and AlignProp
(Prabhudesai et al. 2023) by how far gradients reach back, reward-guided consistency distillation (RG-LCM, Li et al.
2024) as a method of its own, on pictures that the others never see.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from plaudit.core.errors import UnknownName

Follows = Literal["all", "none", "first"]
"""of the preset's rewards: all as they are; all with a weight of 0; or the first alone, with the weight of all"""
Published = Literal["worse", "better", "open"]
"""worse: the preset draws more pictures right than this; better: fewer; open: that is shown, without a bar"""
Method = Literal["r0", "rg-lcm", "none"]
"""none: not trained at all"""

MAIN, BASE = "r0-plus", "base"
LONG = "r0-plus-long"
"""R0+ for more updates: what is set beside the base, where a plan has it; ablations are compared with MAIN"""
R0, REWARDS_ONLY, GUIDANCE_ONLY = "r0", "rewards-only", "guidance-only"

FREE: Mapping[str, Any] = {"pull": 0.0, "drift_limit": 0.0}
"""nothing holds the weights to the pretrained ones"""
ALONE: Mapping[str, Any] = {"guidance_weight": 0.0, "detail_weight": 0.0}
"""no implicit reward of the frozen model"""
BARE: Mapping[str, Any] = {**ALONE, **FREE}
"""none of what keeps the few steps honest; nor is there fresh noise, which the preset has none of"""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to train."""

    name: str
    words: str
    """what it does otherwise than R0+"""
    paper: str
    """what was published about it"""
    method: Method = "r0"
    changes: Mapping[str, Any] = field(default_factory=dict)
    """fields of R0Config, or of the other method's config, over the preset's"""
    follows: Follows = "all"
    published: Published = "open"
    """what a claim says of it beside R0+ as in the preset, by the judge"""


_NOT = "not compared"
_COLLAPSE = "RG-LCM and DI++ collapse under HPS v2.1 alone, R0 does not (figure 7)"
_DISTILLED = "retrained by R0's authors: HPS 31.44 and FID 52.01, R0+ 34.37 and 37.53 (table 1)"

VARIANTS = (
    Variant(name=MAIN, words="R0+ as in the preset", paper="HPS 34.37, ImageReward 1.27, FID 37.53 (table 1)"),
    Variant(name=LONG, words="R0+ for more updates", paper="how many updates were made is not said"),
    Variant(
        name=R0, words="R0: the last picture, through every step", changes={"truncation": "all"},
        paper="R0+ above R0: HPS 34.37 and 33.70, ImageReward 1.27 and 1.22; faster (figure 12)",
    ),
    Variant(
        name=REWARDS_ONLY, words="rewards alone, without the frozen model's guidance", changes=ALONE,
        paper="rewards are enough (title of the first version); this was not shown alone",
    ),
    Variant(
        name=GUIDANCE_ONLY, words="the frozen model's guidance alone, no reward", follows="none", paper=_NOT,
    ),
    Variant(
        name="no-pull", words="nothing holds the weights to the pretrained ones", changes=FREE, published="worse",
        paper="training collapses without it (figure 11)",
    ),
    Variant(
        name="fresh-noise", words="a random share of fresh noise in every step while training", changes={"eta": 1.0},
        published="better",
        paper="fresh noise widens the set of ways that is trained on (figure 5)",
    ),
    Variant(
        name="one-reward", words="the first reward alone, with the weight of all", follows="first", published="worse",
        paper="quality rises with every reward that is added (figures 9 and 10)",
    ),
    Variant(
        name="one-bare", words="the first reward alone: no guidance, no pull", follows="first",
        changes=BARE, published="worse", paper=_COLLAPSE,
    ),
    Variant(
        name="raw", words="gradients as long as they come", changes={"normalise": "none"}, published="worse",
        paper="gradients of equal length do better (figure 8)",
    ),
    Variant(
        name="draft-lv", words="DRaFT-LV: the last picture noised twice, through the last step", paper=_NOT,
        changes={"truncation": "noised:2"},
    ),
    Variant(
        name="draft-lv-bare", words="DRaFT-LV without guidance and pull", paper=_NOT,
        changes={**BARE, "truncation": "noised:2"},
    ),
    Variant(
        name="alignprop", words="AlignProp: the last picture, through a random number of last steps", paper=_NOT,
        changes={"truncation": "tail"},
    ),
    Variant(
        name="alignprop-bare", words="AlignProp without guidance and pull", paper=_NOT,
        changes={**BARE, "truncation": "tail"},
    ),
    Variant(
        name="distilled", words="consistency distillation without rewards, on real pictures", method="rg-lcm",
        changes={"reward_scale": 0.0}, paper=_NOT,
    ),
    Variant(
        name="rg-lcm", words="RG-LCM: distillation and all rewards, on real pictures", method="rg-lcm",
        changes={"normalise": "latents"}, published="worse", paper=_DISTILLED,
    ),
    Variant(
        name="rg-lcm-one", words="RG-LCM: distillation and the first reward, on real pictures", method="rg-lcm",
        changes={"normalise": "latents"}, follows="first", published="worse", paper=_COLLAPSE,
    ),
)  # fmt: skip
ABLATIONS = tuple(variant.name for variant in VARIANTS if variant.name not in (MAIN, LONG))


def variant_named(name: str) -> Variant:
    """The row of that name. Raises UnknownName."""
    for variant in VARIANTS:
        if variant.name == name:
            return variant
    raise UnknownName(f"there is no variant {name!r} of R0. Known: {', '.join(it.name for it in VARIANTS)}.")


def followed(specs: Sequence[str], follows: Follows) -> tuple[str, ...]:
    """A preset's rewards, as NAME:WEIGHT, as a variant takes them."""
    from plaudit.rewards.table import read_spec

    weights = [read_spec(spec)[1] for spec in specs]
    if follows == "none":
        return tuple(_weighing(spec, 0.0) for spec in specs)
    if follows == "first":
        return (_weighing(specs[0], sum(map(abs, weights))),)
    return tuple(specs)


def _weighing(spec: str, weight: float) -> str:
    """The spec with another weight; options that follow the name stay."""
    name, *rest = spec.split(":")
    options = [it for it in rest if "=" in it or not it.replace(".", "").replace("-", "").isdecimal()]
    return ":".join([name, f"{weight:g}", *options])
