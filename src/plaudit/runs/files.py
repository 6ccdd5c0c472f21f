"""A run's JSON files, written whole and read back, and names for its pictures."""

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

from plaudit.core.whole_files import write_whole

LONGEST_SLUG = 48
"""characters; with number and ending, far below what any file system allows"""


def write_json(path: Path, content: Any) -> None:
    """`content` as indented JSON, in one move. NaN and infinity become null, which all readers know."""
    write_whole(path, (json.dumps(finite(content), indent=1, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """The content of a JSON file, None if it is absent or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None


def finite(content: Any) -> Any:
    """The same content with every float that JSON cannot hold replaced by None."""
    if isinstance(content, float):
        return content if content - content == 0 else None
    if isinstance(content, dict):
        return {str(key): finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return content


def slug(text: str) -> str:
    """A prompt as a file name: lower-case letters, digits and hyphens only; "image" if none are left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    return words[:LONGEST_SLUG].strip("-") or "image"
