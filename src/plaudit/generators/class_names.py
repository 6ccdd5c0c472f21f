"""Prompts of models that were taught classes: a class by its name or its number."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig, UnknownName


@dataclass(frozen=True, kw_only=True)
class ClassLabels:
    """B prompts as a model reads them that was taught classes."""

    labels: Tensor
    """(B,) int64; the number after the last class's asks for none of them"""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Any) -> "ClassLabels":
        return ClassLabels(labels=self.labels[rows])


class ClassNames:
    """What a model's classes are called, if that is known, and how many there are."""

    def __init__(self, count: int, names: Sequence[str] = ()) -> None:
        """Raises BadConfig unless there are as many names as classes, all different, or none at all."""
        self.count, self.names = count, tuple(names)
        self._numbers = {_plain(name): number for number, name in enumerate(self.names)}
        if self.names and (len(self.names) != count or len(self._numbers) != count):
            raise BadConfig(f"{count} classes need as many different names, got {len(self._numbers)}")

    def numbers_of(self, prompts: Sequence[str]) -> Tensor:
        """The classes (B,) int64 that the prompts name, or give the number of. Raises UnknownName for any other."""
        return torch.tensor([self._number_of(prompt) for prompt in prompts], dtype=torch.long)

    def _number_of(self, prompt: str) -> int:
        wanted = _plain(prompt)
        if wanted in self._numbers:
            return self._numbers[wanted]
        if wanted.isascii() and wanted.isdigit():
            if int(wanted) < self.count:
                return int(wanted)
            raise UnknownName(f"there is no class {wanted}; this model knows the classes 0 to {self.count - 1}")
        if not self.names:
            raise UnknownName(
                f"this model knows its classes by number alone, 0 to {self.count - 1}, not by names such as {prompt!r}"
            )
        close = difflib.get_close_matches(wanted, self._numbers, n=3, cutoff=0.4) or list(self._numbers)[:3]
        nearest = ", ".join(repr(self.names[self._numbers[name]]) for name in close)
        raise UnknownName(
            f"no class is called {prompt!r}; the nearest are {nearest}; a number from 0 to {self.count - 1} does too"
        )


def _plain(name: str) -> str:
    """In lower case, with single spaces."""
    return " ".join(name.lower().split())
