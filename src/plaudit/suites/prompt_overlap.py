"""Whether a model is trained on a benchmark's prompts: word by word, or by eight words in a row.

Prompts are compared in lower case, without marks, and without an opening "a photo of", which benchmarks add and take
away.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from plaudit.core.errors import BadConfig

WORDS = 8
"""in a row, which two prompts hardly share by chance"""


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """What of a benchmark is trained on."""

    benchmark: str
    prompts: int
    """that the benchmark has"""
    exact: tuple[str, ...]
    """of those, the ones that are trained on word by word"""
    near: tuple[str, ...]
    """of the others, those that share so many words in a row with a training prompt"""
    words: int = WORDS

    def __str__(self) -> str:
        said = f"{self.benchmark}: {len(self.exact)} of {self.prompts} prompts are trained on word by word"
        said += f", {len(self.near)} more share {self.words} words in a row with a training prompt"
        return said + (f" ({', '.join(map(repr, (*self.exact, *self.near)[:3]))} ...)" if self.any else "")

    @property
    def any(self) -> bool:
        """Whether there is any."""
        return bool(self.exact or self.near)


def overlaps(
    training: Iterable[str], benchmarks: Mapping[str, Sequence[str]], *, words: int = WORDS
) -> tuple[Overlap, ...]:
    """How each benchmark's prompts, by its name, overlap with the training prompts, which are read once.

    Raises BadConfig for a benchmark without prompts.
    """
    wanted = {name: [_words(prompt) for prompt in prompts] for name, prompts in benchmarks.items()}
    for name, prompts in wanted.items():
        if not prompts:
            raise BadConfig(f"the benchmark {name!r} has no prompts to compare with")
    whole, parts = _taken((prompt for prompts in wanted.values() for prompt in prompts), words)
    seen_whole, seen_parts = set(), set()
    for text in training:
        prompt = _words(text)
        if (said := " ".join(prompt)) in whole:
            seen_whole.add(said)
        seen_parts.update(parts.intersection(_rows_of(prompt, words)))
    return tuple(
        Overlap(
            benchmark=name,
            prompts=len(prompts),
            exact=tuple(
                text for text, prompt in zip(benchmarks[name], prompts, strict=True) if _is(prompt, seen_whole)
            ),
            near=tuple(
                text for text, prompt in zip(benchmarks[name], prompts, strict=True)
                if not _is(prompt, seen_whole) and not seen_parts.isdisjoint(_rows_of(prompt, words))
            ),
            words=words,
        )
        for name, prompts in wanted.items()
    )  # fmt: skip


def without_overlap(
    training: Iterable[str], benchmarks: Mapping[str, Sequence[str]], *, words: int = WORDS
) -> tuple[str, ...]:
    """The training prompts that are no benchmark's, and share no so many words in a row with any, in their order."""
    whole, parts = _taken((_words(prompt) for prompts in benchmarks.values() for prompt in prompts), words)
    return tuple(
        text for text in training
        if not _is(prompt := _words(text), whole) and parts.isdisjoint(_rows_of(prompt, words))
    )  # fmt: skip


def own_benchmarks() -> dict[str, tuple[str, ...]]:
    """The prompts of the benchmarks that come with the package, by name; PocketEval's seen and unseen ones apart."""
    from plaudit.suites.pocket_eval import pocket_eval_prompts

    prompts = pocket_eval_prompts()
    return {
        "PocketEval, seen combinations": tuple(prompt.text for prompt in prompts if not prompt.unseen),
        "PocketEval, unseen combinations": tuple(prompt.text for prompt in prompts if prompt.unseen),
    }


def benchmarks_at_hand() -> dict[str, tuple[str, ...]]:
    """The package's own benchmarks, and of the table's suites those whose lists are on this machine, by name.

    Nothing is downloaded; a list that is not here, or that cannot be read, is passed over.
    """
    from plaudit.suites.prompt_lists import list_at_hand
    from plaudit.suites.table import SUITES

    found = own_benchmarks()
    for row in SUITES:
        if "folder" not in row.facts:
            continue
        with suppress(BadConfig, OSError):
            if (prompts := list_at_hand(row.facts["folder"])) is not None:
                found[row.name] = tuple(prompt.text for prompt in prompts)
    return found


def _words(prompt: str) -> list[str]:
    words = re.findall(r"[^\W_]+", prompt.lower())
    return words[3:] if words[:3] == ["a", "photo", "of"] else words


def _taken(prompts: Iterable[Sequence[str]], words: int) -> tuple[set[str], set[str]]:
    """The prompts whole, and all their rows of so many words."""
    whole: set[str] = set()
    parts: set[str] = set()
    for prompt in prompts:
        whole.add(" ".join(prompt))
        parts.update(_rows_of(prompt, words))
    return whole, parts


def _rows_of(prompt: Sequence[str], words: int) -> Iterator[str]:
    return (" ".join(prompt[start : start + words]) for start in range(len(prompt) - words + 1))


def _is(prompt: Sequence[str], seen: set[str]) -> bool:
    return " ".join(prompt) in seen
