"""Writing files so that a reader never meets half of one, and naming them safely."""

import json
import os
import re
import unicodedata
from pathlib import Path
from typing import Any

LONGEST_SLUG = 48
"""characters; with number and ending, far below what any file system allows"""


def write_whole(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one move: whoever looks sees the old file or the new one, never a part.

    Raises OSError and leaves nothing behind if the disk is full or the folder is not ours to write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """`content` as indented JSON, in one move. NaN and infinity become null, which all readers know."""
    write_whole(path, (json.dumps(finite(content), indent=1, ensure_ascii=False) + "\n").encode())


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
