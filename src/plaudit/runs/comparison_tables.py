"""What a comparison found, as a CSV file and as text for a terminal."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plaudit.core.errors import BadConfig
from plaudit.core.whole_files import write_whole
from plaudit.runs.comparison import FILE
from plaudit.runs.files import read_json
from plaudit.suites.comparison import DISTANCE
from plaudit.suites.comparison_results import flat_rows

TABLE = "comparison.csv"
FEW = 5
"""prompts of a category, below which right and wrong say too little of how sure they are"""
OFF = 0.2
"""of the budget, by which a cost may miss it before it is said"""

Row = Mapping[str, Any]


def read_comparison(folder: Path) -> dict[str, Any]:
    """What comparison.json holds. Raises BadConfig if it holds no results."""
    content = read_json(folder / FILE)
    if not isinstance(content, dict) or not content.get("results"):
        raise BadConfig(f"{str(folder)!r} holds no finished comparison")
    return content


def write_comparison_tables(folder: Path) -> Path:
    """Write comparison.csv, a row for each system and measure; returns its path."""
    rows = flat_rows(read_comparison(folder)["results"])
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(folder / TABLE, buffer.getvalue().encode())
    return folder / TABLE


def as_text(content: Row) -> str:
    """The results as a terminal shows them: how good, what it cost, the rewards, and who is better."""
    results = content["results"]
    parts = [_quality(results), _rewards(results), *_left_out(results), *_by_category(results), _verdicts(results)]
    parts += [plan_words(content)] if content["plan"].get("entrants") else []
    parts += [f"failed: {name}: {reason}" for name, reason in results["failed"].items()]
    return "\n\n".join(part for part in parts if part)


def plan_words(content: Row) -> str:
    """How costs were made equal, and what was really used."""
    plan = content["plan"]
    unit = "s" if plan["equal"] == "time" else "forwards"
    used = {one["name"]: one["seconds" if unit == "s" else "forwards"] for one in content["results"]["entrants"]}
    said = [
        f"{name} {'as it is' if share['steps'] == 1 else str(share['steps']) + ' pictures'}, "
        f"{number(share['planned'])} {unit} planned and {number(used[name])} used"
        for name, share in plan["entrants"].items() if name in used
    ]  # fmt: skip
    missed = [
        name for name, share in plan["entrants"].items()
        if used.get(name) is not None and abs(used[name] - share["planned"]) > OFF * share["planned"]
    ]  # fmt: skip
    if missed:
        said.append(
            f"{', '.join(missed)} missed the plan by more than {OFF:.0%}: read what was used, and compare on a machine "
            "that does nothing else"
        )
    unequal = [
        name for name, share in plan["entrants"].items()
        if name in used and share["steps"] > 1 and abs(share["planned"] - plan["budget"]) > OFF * plan["budget"]
    ]  # fmt: skip
    if unequal:
        said.append(
            f"not at the same cost: {', '.join(unequal)} (steps were said, or no number of them comes within {OFF:.0%})"
        )
    said = [f"equal {plan['equal']}: {number(plan['budget'])} {unit} an image, as {plan['reference']} takes", *said]
    return "\n  ".join(said)


def number(value: float | None) -> str:
    """Three digits that count, "-" for what is not known."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def estimate(value: Row | None, *, sign: bool = False) -> str:
    """A number with its interval."""
    if value is None:
        return ""
    form = "+.3f" if sign else ".3f"
    # A comparison of before there was the word has it not.
    ends = f"{value['low']:{form}} to {value['high']:{form}}" if value.get("known", True) else "interval unknown"
    return f"{value['value']:{form}} ({ends})"


def _quality(results: Row) -> str:
    measures = [name for name in results["entrants"][0]["measures"] if name not in (*results["rewards"], DISTANCE)]
    measures = measures or [results["headline"]]
    heads = [*measures, f"{results['headline']} against the first", "ahead", DISTANCE, "s/image", "forwards/image"]
    rows = []
    for one in results["entrants"]:
        change = one["differences"].get(results["headline"])
        wins = (change or {}).get("wins")
        distance = one["measures"].get(DISTANCE)
        rows.append(
            [
                one["name"], *(estimate(one["measures"].get(name)) for name in measures),
                estimate(change["change"], sign=True) if change else "",
                f"{wins['value']:.0%}" if wins else "",
                f"{distance['value']:.3f}" if distance else "-", number(one["seconds"]), number(one["forwards"]),
            ]
        )  # fmt: skip
    return aligned(["", *heads], rows)


def _rewards(results: Row) -> str:
    """A row for each system, a column for each reward; a star where it is followed."""
    names = results["rewards"]
    rows = []
    for one in results["entrants"]:
        cells = []
        for name in names:
            change = one["differences"].get(name)
            moved = f" {change['change']['value']:+.3f}" if change else ""
            sure = {"better": " up", "worse": " down"}.get(change["verdict"], "") if change else ""
            star = "*" if name in one["followed"] else ""
            cells.append(f"{one['measures'][name]['value']:.3f}{star}{moved}{sure}")
        rows.append([one["name"], *cells])
    heads = [f"{name} (held out)" if name in results["held_out"] else name for name in names]
    return aligned(["rewards, * followed", *heads], rows)


def _left_out(results: Row) -> list[str]:
    if not results["left_out"]:
        return []
    rows = [
        [
            row["reward"], estimate(row["followed"], sign=True), estimate(row["left_out"], sign=True),
            f"{row['wins']['value']:.0%}" if row["wins"] else "",
            f"{row['kept']:.0%}" if row["kept"] is not None else "-",
        ]
        for row in results["left_out"]
    ]  # fmt: skip
    return [aligned(["left out", "its rise if followed", "its rise if left out", "ahead", "kept"], rows)]


def _by_category(results: Row) -> list[str]:
    """The deciding measure of each category, a row for each system, with the difference to the first."""
    cells: dict[str, list[str]] = {one["name"]: [] for one in results["entrants"]}
    for row in results["categories"]:
        moved = f" {row['change']['value']:+.3f}" if row["change"] else ""
        cells[row["entrant"]].append(f"{row['value']['value']:.3f}{moved}")
    categories = list(dict.fromkeys(row["category"] for row in results["categories"]))
    if len(categories) < 2:
        return []
    return [aligned([results["headline"], *categories], [[name, *row] for name, row in cells.items()])]


def _verdicts(results: Row) -> str:
    lines = [f"{one['name']}: {one['words']}" for one in results["entrants"] if one["words"]]
    return "\n".join([*lines, *notes(results)])


def notes(results: Row) -> list[str]:
    """What a reader of the verdicts must know: how many were compared, and whether there are too few prompts."""
    found = []
    if results["failed"]:
        found.append(
            f"{', '.join(results['failed'])} failed; the others are held against {results['reference']}, the first to "
            "finish."
        )
    if results["compared"] > 1:
        found.append(
            f"{results['compared']} systems were held against {results['reference']}: better and worse are said only "
            "where the sign-flip test holds after Holm's correction for all of them. Intervals are 95 % each."
        )
    for name, said in results["trained_on"].items():
        found.append(f"{name} says little here: {'; '.join(said)}.")
    fewest = min(row["prompts"] for row in results["categories"])
    if fewest < FEW:
        found.append(
            f"A category has {fewest} prompt{'s' if fewest > 1 else ''} only: intervals of {results['headline']} are "
            "not to be relied on; take more --prompts."
        )
    return found


def aligned(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under their heads; the first to the left, the others to the right."""
    lines = [list(heads), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
