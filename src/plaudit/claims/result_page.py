"""What every result page has: its claims first, how it was run last. No number on it is typed by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

from plaudit.claims.markdown import interval, number, table


def result_page(
    report: Mapping[str, Any],
    *,
    title: str,
    introduction: str,
    quick_warning: str,
    body: Sequence[str],
    how: Sequence[str],
) -> str:
    """The report as Markdown. `body` stands below the claims; empty parts of it are left out.

    The warning is only on the page of a quick run. `how` says how it was run, a line each, before machine, time and
    versions.
    """
    parts = [
        f"# {title}",
        introduction,
        quick_warning if report["settings"]["quick"] else "",
        "## Claims",
        claim_table(report["claims"]),
        verdict_sentence(report["claims"]),
        *body,
        "## How it was run",
        "\n".join(f"- {line}" for line in (*how, *run_facts(report))),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def command_line(report: Mapping[str, Any], *flags: str) -> str:
    """What was typed, with --quick if it was."""
    words = ["plaudit", "reproduce", report["system"], *flags, *(["--quick"] if report["settings"]["quick"] else [])]
    return f"command: `{' '.join(words)}`"


def seeds_line(report: Mapping[str, Any], size: str) -> str:
    """The seeds, and then the size of the experiment."""
    return f"seeds: {', '.join(map(str, report['settings']['seeds']))}; {size}"


def claim_table(claims: Sequence[Mapping[str, Any]]) -> str:
    """One row per claim: measured, interval, bar, met."""
    return table(
        ("claim", "published", "measured", "95 % interval", "bar", "met", "note"),
        [(*claim_cells(claim), claim["note"]) for claim in claims],
    )


def claim_cells(claim: Mapping[str, Any]) -> tuple[str, ...]:
    """A claim, what was published, what was measured, its interval, the bar, and whether that is met."""
    met = {True: "yes", False: "**no**", None: "-"}[claim["met"]]
    ends, bar = interval(claim["interval"]), number(claim["bar"])
    return (claim["claim"], claim["paper"], number(claim["measured"]), ends, bar, met)


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
