"""Reading files of prompts, with a sentence for each way in which that fails."""

from pathlib import Path

from plaudit.core.errors import BadConfig


def prompt_text(file: Path) -> str:
    """All that a file of prompts says. Raises BadConfig if it cannot be read, or is not text in UTF-8."""
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadConfig(f"the prompts file {str(file)!r} is not text in UTF-8") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadConfig(f"cannot read the prompts file {str(file)!r}: {reason}") from error
