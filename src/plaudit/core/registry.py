"""Tables of named things: rows of data, nothing imported until a row is built."""

import difflib
import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from plaudit.core.errors import MissingExtra, UnknownName
from plaudit.core.hub import HubFiles, files_in, located


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row: where the thing is, and what a user must know before downloading it."""

    name: str
    target: str
    """"module:attribute", called with `arguments` and the caller's keywords"""
    summary: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """HubFiles among them, and in mappings among them, reach the target as paths of the local cache"""
    extra: str | None = None
    """the extra whose packages it needs, as in pip install 'plaudit[extra]'"""
    hub_id: str | None = None
    revision: str | None = None
    licence: str = "Apache-2.0"
    restrictions: str = ""
    """in a phrase, what the licence forbids or asks; empty for licences such as Apache's and MIT's"""
    licence_page: str | None = None
    """where a licence with restrictions can be read"""
    size_mb: float = 0.0
    """what has to be downloaded or is embedded, in megabytes"""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """what else the table's kind records: a reward's raw scale, a generator's image size"""

    def resolve(self) -> Any:
        """The attribute that `target` names. Raises MissingExtra if a package is missing."""
        module, _, attribute = self.target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package == "plaudit" or self.extra is None:
                raise
            raise MissingExtra(
                f"{self.name!r} needs the package {package!r}. Install it with: pip install 'plaudit[{self.extra}]'"
            ) from error

    @property
    def needs(self) -> tuple[HubFiles, ...]:
        """All that it loads from the hub; nothing for what comes with the package."""
        return files_in(self.arguments)

    def build(self, **keywords: Any) -> Any:
        """The thing itself, its files downloaded if need be. Raises BadConfig if that cannot be."""
        # Before gigabytes are downloaded: is the code that reads them there?
        target = self.resolve()
        return target(**{**located(self.arguments, asked_as=self.name), **keywords})


class Registry:
    """A table of entries that answers to names in any case and suggests the nearest one."""

    def __init__(self, kind: str, entries: Sequence[Entry]) -> None:
        self.kind = kind
        self._entries = {entry.name.lower(): entry for entry in entries}
        if len(self._entries) != len(entries):
            raise ValueError(f"two {kind}s have the same name")

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._entries

    def row_of(self, name: str) -> Entry | None:
        """The row of that name or hub id, in any case; None if there is none."""
        for entry in self:
            if name.lower() in (entry.name.lower(), (entry.hub_id or entry.name).lower()):
                return entry
        return None

    def find(self, name: str) -> Entry:
        """The row of that name. Raises UnknownName with the nearest match."""
        entry = self._entries.get(name.lower())
        if entry is not None:
            return entry
        close = difflib.get_close_matches(name.lower(), self._entries, n=1)
        known = ", ".join(e.name for e in self)
        hint = f"Did you mean {self._entries[close[0]].name!r}?" if close else f"Known: {known}."
        raise UnknownName(f"no {self.kind} named {name!r}. {hint}")
