"""Tables of a result page, and how its numbers are written."""

from collections.abc import Mapping, Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)


def claim_table(claims: Sequence[Mapping[str, Any]]) -> str:
    """One row per claim: measured, interval, bar, met."""
    return table(
        ("claim", "published", "measured", "95 % interval", "bar", "met", "note"),
        [
            (
                claim["claim"],
                claim["paper"],
                number(claim["measured"]),
                interval(claim["interval"]),
                number(claim["bar"]),
                {True: "yes", False: "**no**", None: "-"}[claim["met"]],
                claim["note"],
            )
            for claim in claims
        ],
    )


def verdict_sentence(claims: Sequence[Mapping[str, Any]]) -> str:
    """How many bars are met, and which are missed."""
    judged = [claim for claim in claims if claim["met"] is not None]
    missed = [claim["id"] for claim in judged if not claim["met"]]
    start = f"{len(judged) - len(missed)} of {len(judged)} bars are met"
    return f"{start}; missed: {', '.join(missed)}." if missed else f"{start}."


def run_facts(report: Mapping[str, Any]) -> list[str]:
    """Machine, time and versions of a report, a line each."""
    hardware = report["hardware"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return [
        f"machine: {hardware['cpu']}, {hardware['cores']} cores, {hardware['threads']} threads"
        + (f", {', '.join(hardware['gpus'])}" if hardware["gpus"] else ""),
        f"time: {report['seconds'] / 60:.1f} minutes",
        f"versions: {versions}",
    ]


def picture(report: Mapping[str, Any], name: str, text: str) -> str:
    """The picture of that name, nothing if the report has none."""
    file = report["pictures"].get(name)
    return f"![{text}]({file})" if file else ""


def estimate(found: Mapping[str, float], *, signed: bool = False) -> str:
    """A value with its interval."""
    return f"{number(found['value'], signed=signed)} ({interval((found['low'], found['high']))})"


def interval(ends: Sequence[float] | None) -> str:
    """Both ends."""
    return "-" if ends is None else f"{number(ends[0])} to {number(ends[1])}"


def number(value: float | None, *, signed: bool = False) -> str:
    """Three digits after the point; a dash for none."""
    if value is None:
        return "-"
    return f"{value:+.3f}" if signed else f"{value:.3f}"
