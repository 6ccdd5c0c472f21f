"""The page of a comparison: who is better and how sure that is, tables, trade-offs, the same prompts side by side."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from plaudit.core.whole_files import write_whole
from plaudit.runs.comparison import EntrantFolder
from plaudit.runs.comparison_plot import trade_offs
from plaudit.runs.comparison_tables import TABLE, estimate, notes, number, plan_words, read_comparison
from plaudit.runs.report_page import document
from plaudit.runs.report_widgets import Cell, change_cell, figure, sortable, zoomable_file
from plaudit.suites.run import Judged

PAGE, PLOT = "compare.html", "trade_offs.svg"
SHOWN = 24
"""prompts whose pictures stand side by side, spread over the categories; the others are in the folders"""

Row = Mapping[str, Any]


def write_comparison_report(folder: Path) -> Path:
    """Write compare.html and the plot beside it; returns the page's path. Raises BadConfig without results."""
    content = read_comparison(folder)
    plot = trade_offs(content["results"])
    write_whole(folder / PLOT, plot)
    write_whole(folder / PAGE, page(folder, content, plot).encode())
    return folder / PAGE


def page(folder: Path, content: Row, plot: bytes) -> str:
    """The page as HTML."""
    results = content["results"]
    names = [one["name"] for one in results["entrants"]]
    parts = [
        _header(content),
        f"<h2>Verdicts</h2><div class='card'>{_verdicts(results)}</div>",
        f"<h2>Measured</h2><div class='card'>{_measured(results)}</div>",
        f"<h2>Rewards</h2><div class='card'>{_rewards(results)}</div>",
        _left_out(results),
        f"<h2>Trade-offs</h2><div class='card wide'>{_plot(plot)}</div>",
        f"<h2>By category</h2><div class='card'>{_categories(results)}</div>",
        f"<h2>The same prompts and noises</h2>{_pictures(folder, content, names)}",
        _how(content),
    ]
    return document(f"{' against '.join(names[:2])}{' and others' if len(names) > 2 else ''}", "\n".join(parts))


def _header(content: Row) -> str:
    results, settings = content["results"], content["settings"]
    figures = [
        (str(len(results["entrants"])), "systems"), (str(results["prompts"]), "prompts"),
        (str(settings["images_per_prompt"]), "images of each"),
    ]  # fmt: skip
    figures += [] if settings["equal"] == "none" else [(settings["equal"], "made equal")]
    items = "".join(f"<li><strong>{escape(n)}</strong><span>{escape(w)}</span></li>" for n, w in figures)
    return (
        f"<header><p>Plaudit · comparison · {escape(settings['suite'])}</p>"
        f"<h1>Held against {escape(results['reference'])}</h1><ul class='figures'>{items}</ul></header>"
    )


def _verdicts(results: Row) -> str:
    css = {"better": "verdict right", "worse": "verdict wrong", "cannot tell": "verdict"}
    rows = [
        f'<p><span class="{css[one["verdict"]]}">{escape(one["verdict"])}</span> '
        f"<strong>{escape(one['name'])}</strong>: {escape(one['words'])}</p>"
        for one in results["entrants"] if one["words"]
    ]  # fmt: skip
    rows += [f"<p><strong>{escape(n)}</strong> failed: {escape(why)}</p>" for n, why in results["failed"].items()]
    rows += [f"<p>{escape(note)}</p>" for note in notes(results)]
    return "".join(rows)


def _measured(results: Row) -> str:
    headline = results["headline"]
    measures = [name for name in results["entrants"][0]["measures"] if name not in results["rewards"]] or [headline]
    heads = ["system", *measures, f"{headline}: difference", "ahead where they differ", "s/image", "forwards"]
    rows = []
    for one in results["entrants"]:
        change = one["differences"].get(headline)
        wins = change["wins"] if change else None
        rows.append(
            [
                one["name"], *(_estimated(one["measures"].get(name)) for name in measures),
                _estimated(change["change"], sign=True) if change else None,
                Cell(text=f"{wins['value']:.0%} ({wins['low']:.0%} to {wins['high']:.0%})", value=wins["value"])
                if wins else None,
                _plain(one["seconds"]), _plain(one["forwards"]),
            ]
        )  # fmt: skip
    return sortable(heads, rows)


def _rewards(results: Row) -> str:
    """A row for each system and reward, so that it can be sorted by either."""
    rows = []
    for one in results["entrants"]:
        for name in results["rewards"]:
            change = one["differences"].get(name)
            spreads = next((row["spreads"] for row in one["carried"] if row["reward"] == name), None)
            role = "followed" if name in one["followed"] else "not followed"
            rows.append(
                [
                    one["name"], f"{name} (held out)" if name in results["held_out"] else name, role,
                    _estimated(one["measures"][name]), _estimated(change["change"], sign=True) if change else None,
                    change_cell(spreads) if spreads is not None else None,
                    change["verdict"] if change else "the first",
                ]
            )  # fmt: skip
    heads = ["system", "reward", "role", "mean", "difference to the first", "in spreads of the first", "verdict"]
    return sortable(heads, rows)


def _left_out(results: Row) -> str:
    if not results["left_out"]:
        return ""
    rows = [
        [
            row["reward"], row["entrant"], _estimated(row["followed"], sign=True),
            _estimated(row["left_out"], sign=True),
            Cell(text=f"{row['wins']['value']:.0%}", value=row["wins"]["value"]) if row["wins"] else None,
            Cell(text=f"{row['kept']:.0%}", value=row["kept"]) if row["kept"] is not None else None,
        ]
        for row in results["left_out"]
    ]  # fmt: skip
    heads = ["reward", "system that leaves it out", "its rise if followed", "if left out", "ahead", "kept"]
    return (
        f"<h2>One reward left out</h2><div class='card'>{sortable(heads, rows)}"
        "<p>A rise that is kept where nobody followed the reward is seen by a witness that nothing was told.</p></div>"
    )


def _categories(results: Row) -> str:
    rows = [
        [
            row["category"], row["entrant"], _estimated(row["value"]),
            _estimated(row["change"], sign=True) if row["change"] else None, row["prompts"],
        ]
        for row in results["categories"]
    ]  # fmt: skip
    heads = ["category", "system", results["headline"], "difference to the first", "prompts"]
    return sortable(heads, rows) + (
        "<p>Categories say where a difference lies; they are not corrected for how many there are.</p>"
    )


def _pictures(folder: Path, content: Row, names: Sequence[str]) -> str:
    """A card for each of some prompts, with every system's first picture of it."""
    places = {name: EntrantFolder.there(folder / content["entrants"][name]["folder"]) for name in names}
    rows, images = content["results"]["rows"], content["settings"]["images_per_prompt"]
    firsts = rows[::images]
    count = min(SHOWN, len(firsts))
    chosen = [firsts[round(place * (len(firsts) - 1) / max(1, count - 1))] for place in range(count)]
    cards = []
    for row in chosen:
        found = {name: place.judged([row])[0] for name, place in places.items()}
        pictures = "".join(
            figure(
                zoomable_file(places[name].picture_of(one), alt=f"{name}: {one.prompt}"),
                f"{escape(name)}{_verdict(one)}",
            )
            for name, one in found.items()
        )
        prompt = next(iter(found.values())).prompt
        cards.append(f"<section class='card'><h3>{escape(prompt)}</h3><div class='pair'>{pictures}</div></section>")
    return f"<div class='cards'>{''.join(cards)}</div>"


def _verdict(one: Judged) -> str:
    if one.right is None:
        return f" {one.score:.3f}" if one.score is not None else ""
    word = "right" if one.right else "wrong"
    return f' <span class="verdict {word}">{word}</span> {escape("; ".join(one.reasons))}'


def _how(content: Row) -> str:
    settings = content["settings"]
    said = [f"Followed and scored: {', '.join(settings['reward'])}."]
    if scorer := settings.get("scorer"):
        said.append("Judged by: " + ", ".join(f"{one['name']} ({role})" for role, one in scorer.items()) + ".")
    if content["results"]["held_out"]:
        said.append(f"Scored only: {', '.join(content['results']['held_out'])}.")
    if content["plan"].get("entrants"):
        said += plan_words(content).split("\n  ")
    said.append(
        "Pictures are scored as they are kept, 8 bits a channel. Seconds are those of drawing, without reading the "
        "prompts; forwards are of the denoiser and of each followed reward, a backward counted as two."
    )
    said.append(f"The same numbers are in {TABLE} and comparison.json.")
    return "<h2>How it was made</h2>" + "".join(f"<p>{escape(line)}</p>" for line in said)


def _plot(plot: bytes) -> str:
    data = base64.b64encode(plot).decode()
    return f'<img alt="each system\'s trade-offs" src="data:image/svg+xml;base64,{data}">'


def _estimated(value: Row | None, *, sign: bool = False) -> Cell | None:
    return None if value is None else Cell(text=estimate(value, sign=sign), value=value["value"])


def _plain(value: float | None) -> Cell | None:
    return None if value is None else Cell(text=number(value), value=value)
