"""Results and run folders made by hand, for tests of what is kept of them."""

import torch

from plaudit.methods.records import Result
from plaudit.runs.folder import RunFolder

SETTINGS = {
    "prompts": ["a red ring", "two <b>bold</b> stars & more"],
    "model": "pocket-turbo",
    "method": "reno",
    "steps": 3,
    "seed": 5,
    "reward": ["hps:5", "clip:0.01"],
    "images": 1,
    "prompt_offset": 0,
    "image_offset": 0,
}
SOURCES = {
    "model": {"name": "pocket-turbo", "weights": {"unet/a.safetensors": "ab" * 32}},
    "rewards": [{"name": "hps", "weight": 5.0, "weights": {}}],
    "held_out": None,
}


def result(row: int = 0, **changes: object) -> Result:
    """One finished image, 8 x 8, black before and grey after, best at step 2 of 0..3."""
    fields = {
        "row": row,
        "prompt": SETTINGS["prompts"][row % 2],
        "prompt_index": row,
        "image_index": 0,
        "first_image": torch.zeros(3, 8, 8),
        "image": torch.full((3, 8, 8), 0.5),
        "noise": torch.ones(4, 2, 2),
        "first_noise": torch.zeros(4, 2, 2),
        "first_total": 1.0,
        "total": 2.5,
        "first_parts": {"hps": 0.2, "clip": 20.0},
        "parts": {"hps": 0.3, "clip": 19.0},
        "best_step": 2,
        "trace": (1.0, 2.0, 2.5, 2.25),
        "parts_trace": {"hps": (0.2,) * 4, "clip": (20.0,) * 4},
        "held_out_trace": (),
        "skipped": 0,
        "seconds": 0.25,
        "strip": tuple((step, torch.full((3, 8, 8), 40 * step, dtype=torch.uint8)) for step in (0, 1, 3)),
    }
    return Result(**{**fields, **changes})


def folder(path) -> RunFolder:
    return RunFolder.create(path, command="plaudit generate 'a red ring'", settings=SETTINGS, sources=SOURCES)
