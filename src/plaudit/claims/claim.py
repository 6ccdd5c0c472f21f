"""A published claim, measured on the pocket world against its bar.

A claim with a bar above zero is met if the measured value reaches the bar; a claim that one thing is better than
another is met only if the whole 95 % interval of the difference lies above zero. A bar is never lowered because
it was missed.
"""

from dataclasses import asdict, dataclass
from typing import Any

from plaudit.suites.statistics import Estimate


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim and what became of it."""

    id: str
    claim: str
    paper: str
    """what was published"""
    measured: float | None
    interval: tuple[float, float] | None
    """95 %"""
    bar: float | None
    met: bool | None
    """None: not measured, or there is no bar"""
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """The claim as JSON types."""
        row = asdict(self)
        return {**row, "interval": None if self.interval is None else list(self.interval)}


def reaches(estimate: Estimate, *, bar: float, note: str = "", **words: Any) -> Claim:
    """A claim that a number is at least so large. Its note says besides if the interval includes the bar."""
    said = _said(note, undecided=estimate.low < bar <= estimate.high)
    return Claim(**_numbers(estimate), bar=bar, met=estimate.value >= bar, note=said, **words)


def at_most(estimate: Estimate, *, bar: float, note: str = "", **words: Any) -> Claim:
    """A claim that a number is no larger. Its note says besides if the interval includes the bar."""
    said = _said(note, undecided=estimate.low <= bar < estimate.high)
    return Claim(**_numbers(estimate), bar=bar, met=estimate.value <= bar, note=said, **words)


def exceeds_zero(estimate: Estimate, **words: Any) -> Claim:
    """A claim that a difference is positive."""
    return Claim(**_numbers(estimate), bar=0.0, met=estimate.low > 0, **words)


def shown(estimate: Estimate, **words: Any) -> Claim:
    """A number that belongs to the picture, and that nothing was claimed about."""
    return Claim(**_numbers(estimate), bar=None, met=None, **{"note": "shown, without a bar", **words})


def not_measured(*, bar: float | None, **words: Any) -> Claim:
    """A claim that nothing can be said about yet; the note says why."""
    return Claim(measured=None, interval=None, bar=bar, met=None, **words)


def _said(note: str, *, undecided: bool) -> str:
    return "; ".join(part for part in (note, "the interval includes the bar" if undecided else "") if part)


def _numbers(estimate: Estimate) -> dict[str, Any]:
    return {"measured": estimate.value, "interval": (estimate.low, estimate.high)}
