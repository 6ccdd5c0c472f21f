"""From tables of scores to what a comparison says: numbers for JSON and CSV, and a verdict in words for each system."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from plaudit.core.errors import BadConfig
from plaudit.suites.comparison import (
    ACCURACY,
    DISTANCE,
    SCORE,
    Carried,
    Difference,
    Point,
    Table,
    carried_over,
    difference,
    differences,
    left_out,
    pareto_front,
)

Row = dict[str, Any]


def results_of(tables: Sequence[Table], *, without: Mapping[str, str] | None = None) -> Row:
    """All that follows from the tables, as JSON types: each system against the first one, and the fronts.

    `without`: of the systems that leave one reward out, by their names, which one that is. Raises BadConfig if there
    is no table, or they are not paired.
    """
    if not tables:
        raise BadConfig("no system finished, so there is nothing to compare")
    measures = list(dict.fromkeys(name for table in tables for name in table.scores))
    found = {measure: {one.entrant: one for one in differences(tables, measure)} for measure in measures}
    headline = headline_of(tables)
    carried = {table.name: carried_over(table, tables[0]) for table in tables[1:]}
    return {
        "reference": tables[0].name,
        "headline": headline,
        "compared": len(tables) - 1,
        "entrants": [_entrant(table, found, carried.get(table.name, []), headline) for table in tables],
        "categories": category_rows(tables, headline),
        "left_out": left_out_rows(tables, without or {}),
        "fronts": fronts_of(tables, carried, headline),
    }


def headline_of(tables: Sequence[Table]) -> str:
    """The measure that decides: accuracy if there is any, else the suite's own score, else the first reward."""
    shared = [name for name in tables[0].scores if all(name in table.scores for table in tables)]
    if not shared:
        raise BadConfig("the systems have no measure in common; score all of them with the same rewards")
    return next((name for name in (ACCURACY, SCORE) if name in shared), shared[0])


def category_rows(tables: Sequence[Table], measure: str) -> list[Row]:
    """A row for each category and system: the measure, and its difference to the first system's.

    Categories are not corrected for each other: they say where a difference lies, not whether there is one.
    """
    rows = []
    for category in dict.fromkeys(tables[0].categories):
        parts = [table.of_category(category) for table in tables]
        for part in parts:
            change = None if part is parts[0] else asdict(difference(part, parts[0], measure).change)
            rows.append(
                {
                    "category": category, "entrant": part.name, "prompts": len(part.prompts),
                    "value": asdict(part.mean(measure)), "change": change,
                }
            )  # fmt: skip
    return rows


def left_out_rows(tables: Sequence[Table], without: Mapping[str, str]) -> list[Row]:
    """For each system that leaves a reward out, that reward's rise, beside the system's that follows all of them.

    That one is the first that follows the same rewards and the one that is left out; without one there is no row.
    """
    rows = []
    for table in tables:
        if (reward := without.get(table.name)) is None:
            continue
        everything = {*table.followed, reward}
        whole = next((one for one in tables if set(one.followed) == everything), None)
        if whole is not None:
            (row,) = left_out(tables[0], whole, {reward: table})
            rows.append({"entrant": table.name, "whole": whole.name, **asdict(row)})
    return rows


def fronts_of(tables: Sequence[Table], carried: Mapping[str, Sequence[Carried]], headline: str) -> Row:
    """The systems that no other beats, by what the headline is held against; the numbers of each beside it."""
    gains: dict[str, dict[str, float | None]] = {}
    for table in tables:
        rises = [one.spreads for one in carried.get(table.name, ()) if one.spreads is not None]
        first = table is tables[0]
        gains[table.name] = {
            headline: table.mean(headline).value,
            "reward": sum(rises) / len(rises) if rises else (0.0 if first and table.rewards() else None),
            "diversity": table.mean(DISTANCE).value if DISTANCE in table.scores else None,
            "seconds": table.seconds,
            "forwards": table.forwards,
        }
    fronts = {}
    for against, sign in (("reward", 1), ("diversity", 1), ("seconds", -1), ("forwards", -1)):
        points = [
            Point(name=name, gains=(found[headline] or 0.0, sign * value))
            for name, found in gains.items() if (value := found[against]) is not None
        ]  # fmt: skip
        if len(points) == len(tables):
            fronts[against] = list(pareto_front(points))
    return {"of": headline, "points": gains, "fronts": fronts}


def verdict_words(one: Difference, others: Mapping[str, Difference], followed: Sequence[str], *, compared: int) -> str:
    """What the numbers say of one system, in a sentence or three; `others`: its differences under every reward."""
    change = one.change
    numbers = f"{one.measure} {change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f})"
    said = {
        "better": f"Better than {one.reference}: {numbers}",
        "worse": f"Worse than {one.reference}: {numbers}",
        "cannot tell": f"Cannot tell it from {one.reference}: {numbers}",
    }[one.verdict]
    if one.wins is None:
        said += ", every pair equal."
    else:
        said += f", ahead in {one.wins.value:.0%} of the pairs that differ."
    excludes = change.low > 0 or change.high < 0
    if one.verdict == "cannot tell" and excludes:
        many = f"; {compared} systems were compared" if compared > 1 else ""
        said += f" Its interval excludes 0, but the test does not (p = {one.corrected:.2f}{many})."
    return said + _about_rewards(one, others, followed)


def flat_rows(results: Row) -> list[Row]:
    """One row for each system and measure, for a CSV file."""
    rows = []
    for entrant in results["entrants"]:
        for measure, value in entrant["measures"].items():
            found = entrant["differences"].get(measure)
            wins = (found or {}).get("wins") or {}
            rows.append(
                {
                    "entrant": entrant["name"], "measure": measure, "followed": measure in entrant["followed"],
                    "value": value["value"], "low": value["low"], "high": value["high"], "prompts": value["prompts"],
                    "reference": results["reference"] if found else "",
                    **{f"change_{end}": found["change"][end] if found else "" for end in ("value", "low", "high")},
                    **{f"wins_{end}": wins.get(end, "") for end in ("value", "low", "high")},
                    "ties": found["ties"] if found else "", "p_corrected": found["corrected"] if found else "",
                    "verdict": found["verdict"] if found else "",
                    "seconds_per_image": _or_empty(entrant["seconds"]),
                    "forwards_per_image": _or_empty(entrant["forwards"]),
                }
            )  # fmt: skip
    return rows


def _entrant(
    table: Table, found: Mapping[str, Mapping[str, Difference]], carried: Sequence[Carried], headline: str
) -> Row:
    own = {measure: rows[table.name] for measure, rows in found.items() if table.name in rows}
    words = ""
    if headline in own:
        others = {name: own[name] for name in table.rewards() if name in own}
        words = verdict_words(own[headline], others, table.followed, compared=len(found[headline]))
    return {
        "name": table.name,
        "followed": list(table.followed),
        "measures": {name: asdict(table.mean(name)) for name in table.scores},
        "differences": {name: asdict(one) for name, one in own.items()},
        "verdict": own[headline].verdict if headline in own else "reference",
        "words": words,
        "carried": [asdict(one) for one in carried],
        "seconds": table.seconds,
        "forwards": table.forwards,
    }


def _about_rewards(one: Difference, others: Mapping[str, Difference], followed: Sequence[str]) -> str:
    own = [other.verdict for name, other in others.items() if name in followed]
    held_out = [other.verdict for name, other in others.items() if name not in followed]
    if not own:
        return ""
    rose = own.count("better")
    said = f" Of the rewards that it follows {rose} of {len(own)} rose"
    if held_out:
        said += f"; of those that it does not, {held_out.count('better')} of {len(held_out)} rose and "
        said += f"{held_out.count('worse')} fell"
    if rose and one.verdict == "worse" and one.measure not in followed:
        said += f". Rewards up and {one.measure} down: it pleases the rewards, and not the prompt"
    return said + "."


def _or_empty(value: float | None) -> float | str:
    return "" if value is None else value
