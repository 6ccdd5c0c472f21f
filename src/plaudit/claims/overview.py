"""One page on all reproductions: what was published, and what came out here, claim by claim.

Made from the report files alone, so that it can be made again at any time; a system without a report is said to have
none.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaudit.claims.markdown import number, picture, table
from plaudit.claims.result_page import claim_cells
from plaudit.core.whole_files import write_whole
from plaudit.runs.files import read_json

PAGE = "README.md"


@dataclass(frozen=True, kw_only=True)
class System:
    """One of the published systems."""

    name: str
    """as `plaudit reproduce` knows it"""
    title: str
    paper: str
    files: tuple[str, ...]
    """of its reports, without their ending"""
    headlines: tuple[str, ...]
    """the claims that say most in least, by their ids; those that a report lacks are left out"""
    curve: tuple[str, str]
    """the plot of a report that belongs on the method's page, and what it shows"""


SYSTEMS = (
    System(
        name="reno", title="ReNO", paper="Eyring et al. 2024, [2406.04312](https://arxiv.org/abs/2406.04312)",
        files=("reno", "reno-pixart"),
        headlines=("accuracy", "equal-time", "left-out-mean"),
        curve=("curve", "accuracy of the best picture so far, against steps"),
    ),
    System(
        name="r0", title="R0, R0+", paper="Luo et al. 2025, [2503.13070](https://arxiv.org/abs/2503.13070)",
        files=("r0",),
        headlines=("reward-hps", "accuracy", "fid", "speed"),
        curve=("curves", "what rises, and what the judge says, along the training"),
    ),
    System(
        name="rlcm", title="RLCM", paper="Oertell et al. 2024, [2404.03673](https://arxiv.org/abs/2404.03673)",
        files=("rlcm",),
        headlines=("queries-most", "time-incompression", "few-steps"),
        curve=("queries", "reward against queries, beside DDPO"),
    ),
    System(
        name="ar-grpo", title="AR-GRPO with LOO-FID",
        paper="Baran et al. 2026, [2603.23086](https://arxiv.org/abs/2603.23086)", files=("ar-grpo",),
        headlines=("fid", "recall", "distance", "accuracy"),
        curve=("curves", "what rises, and what the judge says, along the training"),
    ),
    System(
        name="reasongen", title="ReasonGen-R1",
        paper="Zhang et al. 2025, [2505.24875](https://arxiv.org/abs/2505.24875)", files=("reasongen",),
        headlines=("rewards", "lessons", "plans"),
        curve=("curves", "what rises, and what the judge says, along the training"),
    ),
)  # fmt: skip
INTRODUCTION = """\
Every claim of the five papers that can be asked on the pocket world, with what was published and what came out here. \
The published numbers are of large models on other prompts: what can be compared is the direction, and whether the bar \
is met that was set for the pocket world before anything was measured. A bar that is missed stays as it was; each \
system's page says what else was seen. This page is generated from the JSON files beside it, all of them again by

    plaudit reproduce all --json docs/results"""
QUICK = "**Of a quick run: too few prompts, seeds and updates to decide anything.**"


def write_overview(folder: Path) -> Path:
    """Write the page about the reports in the folder into it; returns its path."""
    target = folder / PAGE
    write_whole(target, overview(reports_in(folder)).encode())
    return target


def reports_in(folder: Path) -> dict[str, dict[str, Any]]:
    """The reports that are there, by their files' names."""
    files = {name: read_json(folder / f"{name}.json") for system in SYSTEMS for name in system.files}
    return {name: report for name, report in files.items() if isinstance(report, dict) and "claims" in report}


def overview(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """The page, as Markdown, about reports by their files' names."""
    parts = [
        "# All claims, published and measured",
        INTRODUCTION,
        QUICK if any(report["settings"]["quick"] for report in reports.values()) else "",
        "## By system",
        _systems(reports),
        "## Claim by claim",
        _claims(reports),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def bars(claims: Sequence[Mapping[str, Any]]) -> str:
    """How many bars are met, of those that there are."""
    judged = [claim["met"] for claim in claims if claim["met"] is not None]
    return f"{sum(judged)} of {len(judged)}"


def headlines(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """A few claims of each system, as a Markdown table."""
    rows: list[tuple[str, ...]] = []
    for system in SYSTEMS:
        report = reports.get(system.files[0])
        if report is None:
            rows.append((system.title, "-", "-", f"not measured yet; `plaudit reproduce {system.name}`", "-", "-"))
            continue
        rows += [(system.title, *_row_of(claim)) for claim in _headline_claims(system, report)]
    return table(("system", "claim", "published", "measured", "bar", "met"), rows)


def measured(system: System, reports: Mapping[str, Mapping[str, Any]]) -> str:
    """What a method's own page says of its measurement, as Markdown: a curve, a few claims, where the others are."""
    report = reports.get(system.files[0])
    if report is None:
        return "*Not measured yet.*"
    plot, shows = system.curve
    pages = " and ".join(f"[{name}](results/{name}.md)" for name in system.files if name in reports)
    parts = [
        QUICK if report["settings"]["quick"] else "",
        picture(report, plot, f"{system.title}: {shows}", folder="results/"),
        table(
            ("claim", "published", "measured", "bar", "met"),
            [_row_of(claim) for claim in _headline_claims(system, report)],
        ),
        f"{bars(report['claims'])} bars are met, on {models_of(report)}. All claims, ablations and pictures: {pages}.",
    ]
    return "\n\n".join(part for part in parts if part)


def _headline_claims(system: System, report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    by_id = {claim["id"]: claim for claim in report["claims"]}
    return [by_id[name] for name in system.headlines if name in by_id]


def _row_of(claim: Mapping[str, Any]) -> tuple[str, ...]:
    """Claim, published, measured with its interval, bar, met."""
    words, paper, value, ends, bar, met = claim_cells(claim)
    return (words, paper, value if ends == "-" else f"{value} ({ends})", bar, met)


def _systems(reports: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [row for system in SYSTEMS for row in _rows_of(system, reports)]
    return table(("system", "paper", "model", "bars met", "seeds", "hours of work", "machine", "page"), rows)


def _rows_of(system: System, reports: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    there = [name for name in system.files if name in reports]
    if not there:
        how = f"not measured yet; `plaudit reproduce {system.name}`"
        yield (system.title, system.paper, "-", how, "-", "-", "-", "-")
    for name in there:
        report = reports[name]
        hardware = report["hardware"]
        machine = ", ".join([f"{hardware['cores']} cores, {hardware['cpu']}", *hardware["gpus"]])
        yield (
            system.title,
            system.paper,
            models_of(report),
            bars(report["claims"]),
            str(len(report["settings"]["seeds"])),
            number(report["seconds"] / 3600, digits=1),
            machine,
            f"[{name}]({name}.md)",
        )


def models_of(report: Mapping[str, Any]) -> str:
    """What it is about, by the settings."""
    settings = report["settings"]
    named = [settings[key] for key in ("model", "consistency", "diffusion") if key in settings]
    return ", ".join(named)


def _claims(reports: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (
            f"{system.title}, {models_of(reports[name])}" if len(system.files) > 1 else system.title,
            *claim_cells(claim),
        )
        for system in SYSTEMS
        for name in system.files
        if name in reports
        for claim in reports[name]["claims"]
    ]
    return table(("system", "claim", "published", "measured", "95 % interval", "bar", "met"), rows)
