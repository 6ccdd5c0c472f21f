"""Scenes as rows of pictures with captions, in the format that `plaudit.generators.described_images` reads.

The detailed caption is the scene's plan; the five ways of asking for the picture are prompts that are true of it.
"""

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from plaudit.core.whole_files import write_whole
from plaudit.pocket.plans import draw_planned
from plaudit.pocket.prompts import NUMBERS, Request, Wanted, describe, say
from plaudit.pocket.render import render
from plaudit.pocket.scenes import SIZE, Scene

PARAPHRASES = 3


def write_rows(file: Path, count: int, *, seed: int) -> None:
    """Write `count` rows of training scenes, a JSON object a line, whole or not at all."""
    write_whole(file, "".join(json.dumps(row) + "\n" for row in draw_rows(count, seed=seed)).encode())


def draw_rows(count: int, *, seed: int) -> Iterator[dict[str, Any]]:
    """Rows of training scenes, none in a held-out combination; the same for the same seed."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        planned = draw_planned(rng)
        picture = _png(planned.scene)
        yield {
            "image": base64.b64encode(picture).decode(),
            "brief_caption": planned.prompt,
            "detailed_caption": planned.plan,
            "augmented_prompts": _ways(planned.scene, planned.request, rng),
            "width": SIZE,
            "hash": hashlib.sha256(picture).hexdigest(),
        }


def _ways(scene: Scene, request: Request, rng: np.random.Generator) -> dict[str, str | list[str]]:
    """The five ways of asking for the scene."""
    objects = [_object(wanted) for wanted in _counted(scene)]
    return {
        "short_caption": say(request, rng),
        "paraphrases": [say(request, rng) for _ in range(PARAPHRASES)],
        "tags": [*(text.removeprefix("an ").removeprefix("a ") for text in objects), f"{scene.background} background"],
        "varied_captions": [describe(scene, rng)[0] for _ in range(PARAPHRASES)],
        "object_prompts": objects,
    }


def _counted(scene: Scene) -> list[Wanted]:
    """The scene's objects, equal ones counted, in the order in which it names them."""
    kinds = [(thing.shape, thing.colour) for thing in scene.things]
    return [Wanted(shape=s, colour=c, count=kinds.count((s, c))) for s, c in dict.fromkeys(kinds)]


def _object(wanted: Wanted) -> str:
    if wanted.count > 1:
        return f"{NUMBERS[wanted.count - 1]} {wanted.colour} {wanted.shape}{'es' if wanted.shape == 'cross' else 's'}"
    return f"{'an' if (wanted.colour or wanted.shape)[0] in 'aeiou' else 'a'} {wanted.colour} {wanted.shape}"


def _png(scene: Scene) -> bytes:
    from PIL import Image

    pixels = (render([scene])[0] * 255).round().byte().permute(1, 2, 0).numpy()
    kept = io.BytesIO()
    Image.fromarray(pixels).save(kept, format="PNG")
    return kept.getvalue()
