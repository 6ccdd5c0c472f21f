"""What is in a file, as its sha256 says it."""

import hashlib
from pathlib import Path


def sha256_of(file: Path) -> str:
    """Of the file's content, 64 hex digits. Raises OSError if it cannot be read."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
