"""An evaluation's numbers as a table for people: overall and by category, with intervals, and how to read them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plaudit.suites.run import Measured, Scores
    from plaudit.suites.statistics import Estimate
    from plaudit.suites.suite import Suite

MEANS = {"categories": "mean of categories", "prompts": "mean of prompts"}
LABEL = 30
INTERVAL = 20


@dataclass(frozen=True, kw_only=True)
class _Column:
    title: str
    overall: "Estimate | None"
    categories: "Mapping[str, Estimate]"


def as_table(scores: "Scores", suite: "Suite") -> str:
    """The scores with their 95 % intervals, one category a line; then what they mean."""
    columns = _columns(scores)
    names = list(dict.fromkeys(name for column in columns for name in column.categories))
    nothing: list[Estimate | None] = [None] * (len(columns) - 1)
    rows = [(f"overall ({MEANS[suite.overall]})", [column.overall for column in columns])]
    if len(names) > 1:
        rows += [(f"  {name}", [column.categories.get(name) for column in columns]) for name in names]
    apart = (("seen combinations", scores.seen), ("unseen combinations", scores.unseen))
    rows += [(label, [estimate, *nothing]) for label, estimate in apart if estimate is not None]
    if scores.accuracy is not None:
        # In the column of the score, whose parts they are.
        rows += [(f"  of kind {name}", [*nothing, part.overall]) for name, part in scores.parts.items()]
    widths = [max(8, len(column.title) + 2) for column in columns]
    named = zip(columns, widths, strict=True)
    titles = "".join(f"{column.title:<{width}}{'95 % interval':<{INTERVAL}}" for column, width in named)
    lines = [f"{'':<{LABEL}}{titles}prompts", *(_line(label, estimates, widths) for label, estimates in rows)]
    return "\n".join([*lines, *_words(scores, suite)])


def _columns(scores: "Scores") -> list[_Column]:
    if scores.accuracy is None:
        boards = scores.parts or ({"score": scores.score} if scores.score else {})
        return [_column(name, measured) for name, measured in boards.items()]
    found = [_Column(title="right", overall=scores.accuracy, categories=scores.tasks)]
    return [*found, _column("score", scores.score)] if scores.score else found


def _column(title: str, measured: "Measured") -> _Column:
    return _Column(title=title, overall=measured.overall, categories=measured.categories)


def _line(label: str, estimates: "Sequence[Estimate | None]", widths: Sequence[int]) -> str:
    cells = "".join(_cell(estimate, width) for estimate, width in zip(estimates, widths, strict=True))
    prompts = next((str(estimate.prompts) for estimate in estimates if estimate is not None), "")
    return f"{label:<{LABEL}}{cells}{prompts}"


def _cell(estimate: "Estimate | None", width: int) -> str:
    if estimate is None:
        return " " * (width + INTERVAL)
    interval = f"{estimate.low:.3f} to {estimate.high:.3f}" if estimate.known else "unknown"
    return f"{estimate.value:<{width}.3f}{interval:<{INTERVAL}}"


def _words(scores: "Scores", suite: "Suite") -> list[str]:
    """What the numbers are, what chance would give, and whose they are."""
    lines = [f"{scores.images} images"]
    if scores.accuracy is None and scores.parts:
        lines.append(f"{suite.measures}; higher is better, and there is no chance level")
    else:
        strict = "" if scores.accuracy is None else "right: all that the prompt asks for is there; "
        lines.append(f"{strict}score: {suite.measures}")
        chances = [("right", suite.strict_chance if strict else None), ("score", suite.chance)]
        known = [f"{name} about {value:g}" for name, value in chances if value is not None]
        lines.append(f"pictures of other prompts would get: {', '.join(known) if known else 'not known'}")
    return [*lines, suite.paper] if suite.paper else lines
