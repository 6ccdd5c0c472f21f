"""A suite's list of prompts, fetched ahead of its use."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ListPart:
    """One file of a list."""

    file: str
    address: str
    sha256: str | None
    """None for what is not here"""
    path: str | None
    downloaded: bool
    """just now"""

    @property
    def in_words(self) -> str:
        """One line about it."""
        if self.path is None:
            return f"prompts: {self.file} is not here; it is at {self.address}"
        return f"prompts: {self.path} ({'downloaded' if self.downloaded else 'here already'})"


def list_parts(name: str, *, fetch: bool) -> list[ListPart]:
    """Every file of the list, downloaded into the user's cache if `fetch` says so and it is nowhere here.

    Raises OutOfReach for one that cannot be had, BadConfig for another than was pinned.
    """
    from plaudit.suites.prompt_lists import LISTS, download, found_file

    wanted, parts = LISTS[name], []
    for file in wanted.files:
        here = found_file(wanted, file)
        there = download(wanted, file) if here is None and fetch else here
        parts.append(
            ListPart(
                file=file.name,
                address=file.address,
                sha256=None if there is None else there.sha256,
                path=None if there is None else str(there.path),
                downloaded=here is None and there is not None,
            )
        )
    return parts
