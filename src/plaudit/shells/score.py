"""`plaudit score`: what rewards say about pictures that are there."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from plaudit.core.errors import BadConfig
from plaudit.shells.flags import Command


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """All that `plaudit score` takes."""

    images: tuple[str, ...] = field(metadata={"positional": "+", "placeholder": "IMAGE"})
    """picture files of any size and format that Pillow reads"""
    prompt: str | None = field(default=None, metadata={"placeholder": "TEXT"})
    """what the pictures should show; left out: the prompt inside each picture that plaudit drew"""
    reward: tuple[str, ...] = field(default=(), metadata={"placeholder": "NAME:WEIGHT"})
    """rewards and weights; left out: the four of ReNO"""
    device: str | None = None
    """cpu, cuda or mps; left out: a GPU if there is one"""
    json: bool = False
    """print one JSON object on stdout, and nothing else there"""


def run(options: ScoreOptions) -> int:
    """Score each picture and print what came out."""
    from plaudit.runs.provenance import read_image
    from plaudit.shells.drawing import default_reward_specs, device_of

    paths = [Path(name) for name in options.images]
    pictures = [read_image(path) for path in paths]
    prompts = [_prompt_for(path, options.prompt) for path in paths]
    from plaudit.rewards.table import REWARDS, load_rewards, read_spec
    from plaudit.shells.licences import tell_licences

    device = device_of(options.device)
    specs = options.reward or default_reward_specs()
    tell_licences(REWARDS, [read_spec(spec)[0] for spec in specs])
    reward = load_rewards(specs, device=device)
    rows = [
        _scored(path, picture.to(device), prompt, reward)
        for path, picture, prompt in zip(paths, pictures, prompts, strict=True)
    ]
    if options.json:
        weights = {name: weight for name, (weight, _) in reward.parts.items()}
        print(json.dumps({"weights": weights, "images": rows}, ensure_ascii=False))
    else:
        print(as_table(rows))
    return 0


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a picture: total, parts, the judge's word."""
    names = list(rows[0]["parts"])
    lines = ["  ".join(["     total", *(f"{name:>16}" for name in names), "judge", "  file"])]
    for row in rows:
        verdict = row["judge"]
        word = "  -  " if verdict is None else "right" if verdict["right"] else "wrong"
        cells = [f"{row['total']:>10.3f}", *(f"{row['parts'][name]:>16.3f}" for name in names), word]
        lines.append("  ".join([*cells, f"  {row['file']}"]))
        if verdict and verdict["reasons"]:
            lines.append(f"{'':>12}{'; '.join(verdict['reasons'])}")
    return "\n".join(lines)


def _prompt_for(path: Path, given: str | None) -> str:
    from plaudit.runs.provenance import read_provenance

    if given is not None:
        if not given.strip():
            raise BadConfig("the prompt is empty; say what the pictures should show")
        return given.strip()
    made = read_provenance(path)
    if made is None:
        raise BadConfig(f"{str(path)!r} does not say what it shows; give --prompt")
    return str(made["prompt"])


def _scored(path: Path, picture: Any, prompt: str, reward: Any) -> dict[str, Any]:
    import torch

    from plaudit.runs.records import opinions

    images = picture[None]
    with torch.no_grad():
        parts = {name: float(scores[0]) for name, scores in reward.score_parts(images, [prompt]).items()}
    for name, value in parts.items():
        if value - value != 0:
            raise BadConfig(f"reward {name!r} gave no finite score for {str(path)!r}")
    said = opinions(prompt, images.cpu())
    total = sum(weight * parts[name] for name, (weight, _) in reward.parts.items())
    return {
        "file": str(path),
        "prompt": prompt,
        "total": total,
        "parts": parts,
        "judge": asdict(said[0]) if said else None,
    }


COMMAND = Command(
    name="score",
    purpose="Score pictures under rewards; for a prompt of the pocket world, ask the exact judge too.",
    examples="""
plaudit score fox.png --prompt "a photo of a fox"
plaudit score a.png b.png --prompt "three blue stars" --reward hps imagereward:2
plaudit score runs/mine/images/*.png --json             prompts are inside the pictures
""",
    options=ScoreOptions,
    run=run,
)
