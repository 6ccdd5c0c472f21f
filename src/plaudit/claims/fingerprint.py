"""What a result is kept under, so that none is mistaken for another."""

import hashlib
import json
from typing import Any


def fingerprint(content: Any) -> str:
    """Ten hex digits of the content, by its JSON with sorted keys; what JSON does not know counts as its text."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
