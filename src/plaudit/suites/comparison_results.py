"""From tables of scores to what a comparison says: numbers for JSON and CSV, and a verdict in words for each system."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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
REWARD = "reward"
ENDS = ("value", "low", "high")
SIGNS = {"diversity": 1, "seconds": -1, "forwards": -1}
"""what a gain is held against, and whether more of it is better"""


@dataclass(frozen=True, kw_only=True)
class Spared:
    """Which reward a system leaves out of those that another, alike in all else, follows."""

    reward: str
    whole: str
    """the other's name"""


def results_of(tables: Sequence[Table], *, without: Mapping[str, Spared] | None = None) -> Row:
    """All that follows from the tables, as JSON types: each system against the first one, and the fronts.

    `without`: what the systems that leave one reward out, by their names, are to be held against. Raises BadConfig if
    there is no table, or they are not paired.
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


def left_out_rows(tables: Sequence[Table], without: Mapping[str, Spared]) -> list[Row]:
    """For each system that leaves a reward out, that reward's rise, beside the system's that follows it, too.

    Where that one is not among the tables there is no row.
    """
    named = {table.name: table for table in tables}
    rows = []
    for table in tables:
        spared = without.get(table.name)
        if spared is not None and spared.whole in named:
            (row,) = left_out(tables[0], named[spared.whole], {spared.reward: table})
            rows.append({"entrant": table.name, "whole": spared.whole, **asdict(row)})
    return rows


def fronts_of(tables: Sequence[Table], carried: Mapping[str, Sequence[Carried]], headline: str) -> Row:
    """The systems that no other beats: the headline against reward, diversity and cost, and reward against both.

    Reward is the mean rise, in spreads of the first system's pictures, of the rewards that any of the systems follows,
    but not of the headline itself; a witness that nobody follows has no part in it. With nothing followed it is of all.
    """
    pursued = {name for table in tables for name in table.followed} - {headline}
    counted = pursued or {name for table in tables for name in table.rewards()} - {headline}
    gains: dict[str, dict[str, float | None]] = {}
    for table in tables:
        its = [one for one in carried.get(table.name, ()) if one.reward in counted]
        rises = [one.spreads for one in its if one.spreads is not None]
        first = table is tables[0]
        gains[table.name] = {
            headline: table.mean(headline).value,
            REWARD: sum(rises) / len(rises) if rises else (0.0 if first and counted else None),
            "diversity": table.mean(DISTANCE).value if DISTANCE in table.scores else None,
            "seconds": table.seconds,
            "forwards": table.forwards,
        }
    axes = [(headline, against) for against in (REWARD, *SIGNS)] + [(REWARD, against) for against in SIGNS]
    fronts = []
    for gain, against in axes:
        sign = SIGNS.get(against, 1)
        points = [
            Point(name=name, gains=(high, sign * value))
            for name, found in gains.items()
            if (value := found[against]) is not None and (high := found[gain]) is not None
        ]
        if len(points) == len(tables):
            fronts.append({"gain": gain, "against": against, "names": list(pareto_front(points))})
    return {"of": headline, "rewards": sorted(counted), "points": gains, "fronts": fronts}


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
    """One row for each system and measure, and for each system and category, for a CSV file."""
    rows = []
    for entrant in results["entrants"]:
        for measure, value in entrant["measures"].items():
            found = entrant["differences"].get(measure) or {}
            wins = found.get("wins") or {}
            rows.append(
                {
                    **_flat(results, entrant["name"], measure, value, found.get("change")),
                    "followed": measure in entrant["followed"],
                    **{f"wins_{end}": wins.get(end, "") for end in ENDS},
                    "ties": found.get("ties", ""), "p_corrected": found.get("corrected", ""),
                    "verdict": found.get("verdict", ""),
                    "seconds_per_image": _or_empty(entrant["seconds"]),
                    "forwards_per_image": _or_empty(entrant["forwards"]),
                }
            )  # fmt: skip
    heads = list(rows[0])
    for part in results["categories"]:
        flat = _flat(results, part["entrant"], results["headline"], part["value"], part["change"])
        rows.append(dict.fromkeys(heads, "") | flat | {"category": part["category"]})
    return rows


def _flat(results: Row, name: str, measure: str, value: Row, change: Row | None) -> Row:
    """What rows of whole suites and of categories have in common."""
    return {
        "entrant": name, "measure": measure, "category": "", "followed": "",
        "value": value["value"], "low": value["low"], "high": value["high"], "prompts": value["prompts"],
        "reference": results["reference"] if change else "",
        **{f"change_{end}": change[end] if change else "" for end in ENDS},
    }  # fmt: skip


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
    said = f" Of the rewards that it follows {rose} of {len(own)} clearly rose"
    if held_out:
        said += f"; of those that it does not, {held_out.count('better')} of {len(held_out)} did and "
        said += f"{held_out.count('worse')} fell"
    if rose and one.verdict == "worse" and one.measure not in followed:
        said += f". Rewards up and {one.measure} down: it pleases the rewards, and not the prompt"
    return said + "."


def _or_empty(value: float | None) -> float | str:
    return "" if value is None else value
