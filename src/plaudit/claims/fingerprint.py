"""What a result is kept under, so that none is mistaken for another."""

import hashlib
import json
from dataclasses import asdict
from typing import Any


def decisive(config: Any) -> dict[str, Any]:
    """A training's settings, but for how many are drawn at once: results are older than that, and do not hang on it."""
    return {name: value for name, value in asdict(config).items() if name != "draw_batch_size"}


def fingerprint(content: Any) -> str:
    """Ten hex digits of the content, by its JSON with sorted keys; what JSON does not know counts as its text."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
