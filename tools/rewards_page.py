"""Writes what docs/rewards.md says by itself: the table of rewards, and what hacking did to each.

    python tools/rewards_page.py             the tables, from the rows and from docs/results/hacked_rewards.json
    python tools/rewards_page.py --check     exit code 1 if the page says anything else
    python tools/rewards_page.py --measure   hack the pocket rewards anew first: JSON and pictures, minutes on a CPU

Hacking here leaves generators out: pictures of something else than their prompts, whose pixels may change by a little,
climb one reward. The exact judge and the other rewards look on.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.claims.markdown import with_blocks
from plaudit.core.registry import Entry
from plaudit.rewards.table import REWARDS

if TYPE_CHECKING:
    from torch import Tensor

    from plaudit.rewards.mix import WeightedSum

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "rewards.md"
MEASURED = DOCS / "results" / "hacked_rewards.json"
PICTURE = DOCS / "results" / "hacked_rewards.png"

WATCHED = ("clip", "hps", "pickscore", "imagereward")
HACKS = (*((name,) for name in WATCHED), ("imagereward:smooth=4",), WATCHED)
"""what is followed: each reward alone, one behind smoothing, and all four with their usual weights"""
PROMPTS = (
    "three blue stars", "a red ring left of a green square", "two pink hearts", "a yellow triangle above a blue circle",
    "a cyan diamond", "an orange cross", "four green circles", "a purple square and a red heart",
)  # fmt: skip
SHOWN = 4
"""of the prompts, in the picture"""
SHOWN_SIZE = 2
"""pixels of the shown picture for each of its own"""
STEPS, STEP, FARTHEST, SEED = 40, 2 / 255, 16 / 255, 0
"""of the climb: how many, how far a pixel goes in one, and in all"""


def table() -> str:
    """The rows as Markdown; two names of one thing share a line."""
    lines = ["| reward | score | gradient | typical scale | usual weight | licence | download | memory | paper |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for names, entry in _things():
        facts = entry.facts
        low, high = facts["raw_scale"]
        cells = [
            ", ".join(f"`{name}`" for name in names),
            re.sub(r" \(pocket-\w+\)|; no gradient", "", entry.summary),
            "yes" if facts["differentiable"] else "no",
            f"{low:g} to {high:g}",
            f"{facts['default_weight']:g}",
            entry.licence + (f" ({entry.restrictions})" if entry.restrictions else ""),
            _megabytes(entry.size_mb) if entry.size_mb else f"extra `{entry.extra}`" if entry.extra else "none",
            _megabytes(facts["memory_mb"]) if facts.get("memory_mb") else "small",
            facts["paper"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _things() -> "Iterator[tuple[list[str], Entry]]":
    """Every row once, with all of its names, the shortest first."""
    found: dict[str, tuple[list[str], Entry]] = {}
    for entry in REWARDS:
        key = f"{entry.target} {sorted(entry.arguments.items(), key=str)}"
        names, _ = found.setdefault(key, ([], entry))
        names.append(entry.name)
    for names, entry in found.values():
        yield sorted(names, key=len), entry


def _megabytes(size: float) -> str:
    return f"{size / 1000:.1f} GB" if size >= 1000 else f"{size:.0f} MB"


def hacked() -> str:
    """What was measured, as Markdown."""
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    names = list(measured["hacks"][0]["before"])
    lines = [f"| followed | {' | '.join(f'`{name}`' for name in names)} | judged right |", "|---|" + "---|" * 5]
    for hack in measured["hacks"]:
        cells = [f"{hack['before'][name]:.3g} → {hack['after'][name]:.3g}" for name in names]
        right = f"{hack['right_before']} → {hack['right_after']} of {measured['images']}"
        lines.append(f"| {' '.join(f'`{name}`' for name in hack['followed'])} | {' | '.join(cells)} | {right} |")
    return "\n".join(lines)


def measure() -> None:
    """Hack, write down what came of it, and show it."""
    from plaudit.rewards.table import load_rewards
    from plaudit.runs.files import write_json

    first, watched = _pictures_of_something_else(), load_rewards(WATCHED)
    found, shown = [], [first]
    for specs in HACKS:
        last = _hacked(first, load_rewards(specs))
        found.append({"followed": list(specs), **_judged(watched, first, "before"), **_judged(watched, last, "after")})
        shown.append(last)
        print(json.dumps(found[-1]), file=sys.stderr)
    settings = {"steps": STEPS, "step": STEP, "farthest": FARTHEST, "seed": SEED}
    write_json(MEASURED, {"images": len(PROMPTS), "prompts": PROMPTS, **settings, "hacks": found})
    _show(shown)


def _pictures_of_something_else() -> "Tensor":
    """What pocket-turbo draws for the prompts, each picture at the place of the prompt before its own."""
    import torch

    from plaudit.core.random_streams import noise_for
    from plaudit.generators.table import load_generator

    generator = load_generator("pocket-turbo")
    with torch.no_grad():
        noise = noise_for([(SEED, place, 0) for place in range(len(PROMPTS))], generator.noise_shape)
        return generator.sample(noise, generator.encode(PROMPTS)).clamp(0, 1).roll(-1, dims=0)


def _hacked(first: "Tensor", reward: "WeightedSum") -> "Tensor":
    """The pictures after a climb by the signs of the reward's gradient in their pixels (Madry et al. 2018)."""
    import torch

    images = first
    for _ in range(STEPS):
        leaf = images.detach().requires_grad_()
        (slope,) = torch.autograd.grad(reward(leaf, PROMPTS).sum(), leaf)
        moved = images + STEP * slope.sign()
        images = torch.minimum(torch.maximum(moved, first - FARTHEST), first + FARTHEST).clamp(0, 1)
    return images


def _judged(watched: "WeightedSum", images: "Tensor", when: str) -> dict[str, Any]:
    import torch

    from plaudit.pocket.judge import judge
    from plaudit.pocket.prompts import parse

    requests = [request for prompt in PROMPTS if (request := parse(prompt)) is not None]
    with torch.no_grad():
        parts = {name: float(scores.mean()) for name, scores in watched.score_parts(images, PROMPTS).items()}
    return {when: parts, f"right_{when}": sum(verdict.right for verdict in judge(images, requests))}


def _show(lines: "Sequence[Tensor]") -> None:
    """A line of pictures for each (B, 3, H, W), one below the other."""
    import torch

    from plaudit.runs.provenance import png_bytes

    sheet = torch.cat([torch.cat(list(line[:SHOWN]), dim=2) for line in lines], dim=1)
    PICTURE.write_bytes(png_bytes(sheet.repeat_interleave(SHOWN_SIZE, dim=1).repeat_interleave(SHOWN_SIZE, dim=2)))


BLOCKS = {"table": table, "hacked": hacked}


def written(page: str) -> str:
    """The page with its blocks made anew."""
    return with_blocks(page, {name: make() for name, make in BLOCKS.items()})


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the page is out of date")
    parser.add_argument("--measure", action="store_true", help="hack the pocket rewards anew first")
    options = parser.parse_args(arguments)
    if options.measure:
        measure()
    page = PAGE.read_text(encoding="utf-8")
    if options.check:
        return 0 if written(page) == page else 1
    PAGE.write_text(written(page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
