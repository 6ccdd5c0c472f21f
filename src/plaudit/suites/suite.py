"""The contract of suites: prompts, a scorer of pictures, and what the numbers mean. To add one, add a row to table.py.

suite = load_suite("geneval")
opinions = suite.judge(images, suite.prompts[:4])  # one opinion per image, (4, 3, H, W) in [0, 1]
"""

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from plaudit.core.errors import BadConfig, BrokenContract

Overall = Literal["categories", "prompts"]
"""what the overall number is the mean of: of the categories' means, as GenEval counts it, or of all prompts"""


@dataclass(frozen=True, kw_only=True)
class SuitePrompt:
    """One prompt of a suite, and what its scorer must know of it."""

    index: int
    """its place in the whole suite, from 0; the noise of its pictures depends on it"""
    text: str
    category: str
    unseen: bool = False
    """asks for a combination that no training scene shows"""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """what the benchmark's own row says: GenEval's objects, DPG-Bench's questions; empty where the text is all"""


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """What a scorer says of one image."""

    score: float
    """in [0, 1] with credit for parts where a suite measures correctness; on a reward board the raw reward"""
    right: bool | None
    """whether all is as the prompt asks; None where there is no right and wrong"""
    reasons: tuple[str, ...] = ()
    """a phrase for each thing that is wrong"""
    parts: Mapping[str, float] = field(default_factory=dict)
    """what the score is made of: each requirement 0 or 1, each reward raw"""


class Scorer(Protocol):
    """Scores images against their prompts: one opinion per image, which depends on nothing else in the batch.

    images   (B, 3, H, W), floating point, in [0, 1], any H and W, on any device
    prompts  B of them
    """

    def __call__(self, images: Tensor, prompts: Sequence[SuitePrompt]) -> list[Opinion]: ...


@runtime_checkable
class Readies(Protocol):
    """A scorer that loads each of its models when it is first needed."""

    def get_ready(self, prompts: Sequence[SuitePrompt]) -> None:
        """Load what these prompts take."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """All a suite is: what to draw, who scores it, and how to read the numbers."""

    name: str
    prompts: tuple[SuitePrompt, ...]
    scorer: Callable[[], Scorer] = field(repr=False)
    """builds the scorer, with its models; called once, by `get_ready` or when the first image is scored"""
    images_per_prompt: int = 4
    """drawn where nobody says how many"""
    overall: Overall = "prompts"
    measures: str
    """what the score is, in words, with unit and range"""
    parts: tuple[str, ...] = ()
    """parts of the opinions that are summed up beside the score: a board's rewards, or kinds, as in "kind: part" """
    chance: float | None = None
    """the score of a generator that ignores the prompt; None where it is not known, or means nothing"""
    strict_chance: float | None = None
    """the same of what counts as right only if all of it is"""
    paper: str
    licence: str
    """of the prompts"""
    sources: Mapping[str, Any] = field(default_factory=dict)
    """where the prompts came from, with checksums, for whoever records what was measured"""
    models: Mapping[str, str] = field(default_factory=dict)
    """what the scorer loads: a detector under "detector", rewards under other roles; empty for rules and for boards"""

    def texts(self) -> list[str]:
        """What a model is given, one per prompt."""
        return [prompt.text for prompt in self.prompts]

    def categories(self) -> list[str]:
        """In the order in which they come."""
        return list(dict.fromkeys(prompt.category for prompt in self.prompts))

    def spread(self, count: int | None, categories: Collection[str] = ()) -> tuple[int, ...]:
        """The places of about `count` prompts, every category in its proportion; of all if None.

        `categories`: of these alone; of all if empty. Raises BadConfig.
        """
        if unknown := sorted(set(categories) - set(self.categories())):
            raise BadConfig(f"{self.name} has no category {unknown[0]!r}; it has {', '.join(self.categories())}")
        places = [at for at, prompt in enumerate(self.prompts) if not categories or prompt.category in categories]
        if count is None:
            return tuple(places)
        if not 1 <= count <= len(places):
            raise BadConfig(f"the suite has 1 to {len(places)} prompts to choose from, got {count}")
        return tuple(places[round(i)] for i in np.linspace(0, len(places) - 1, count))

    def get_ready(self, prompts: Sequence[SuitePrompt]) -> None:
        """Build the scorer with the models that these prompts take: what is missing is told before anything is drawn.

        Raises as building it does.
        """
        scorer = self._scorer
        if isinstance(scorer, Readies):
            scorer.get_ready(prompts)

    def judge(self, images: Tensor, prompts: Sequence[SuitePrompt]) -> list[Opinion]:
        """One opinion per image (B, 3, H, W) in [0, 1], against its prompt.

        Raises BrokenContract if the scorer gives another number of them, or one that is not finite.
        """
        opinions = self._scorer(images, prompts)
        if len(opinions) != len(prompts):
            raise BrokenContract(f"{self.name}: {len(prompts)} images were scored, and {len(opinions)} opinions came")
        for prompt, opinion in zip(prompts, opinions, strict=True):
            if not np.isfinite(opinion.score):
                raise BrokenContract(f"{self.name}: the score of {prompt.text!r} is {opinion.score}, not a number")
        return opinions

    @functools.cached_property
    def _scorer(self) -> Scorer:
        return self.scorer()
