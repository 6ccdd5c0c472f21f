"""The pictures of the result page: plots from the JSON, grids from the measures' pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.claims.ar_grpo.variants import BASE, MAIN
from plaudit.claims.figures import COLOURS, as_svg, label, new_figure
from plaudit.claims.picture_grid import Row, Tile, draw_grid, pictures_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = ("-", "--", ":")
"""styles, for more variants than there are colours"""


def curve_plot(report: Mapping[str, Any]) -> bytes:
    """SVG: likeness and variety by both nets, rewards, accuracy and entropy over the updates of the preset."""
    tables = report["tables"]
    curve = next(it for it in tables["curves"] if it["name"] == MAIN)
    panels = {f"fid {net}": f"FID, {net}" for net in tables["nets"]}
    panels |= {f"{what} {tables['nets'][0]}": words for what, words in _VARIETY.items()}
    panels |= {name: name + (", held out" if name == tables["held_out"] else "") for name in tables["rewards"]}
    panels["accuracy"] = "show their class"
    rows = (len(panels) + 3) // 3
    figure = new_figure(9.6, 2.9 * rows)
    for place, (name, said) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, 3, place)
        _band(axes, curve["updates"], curve[name], COLOURS[0], "AR-GRPO, unguided")
        axes.axhline(tables["levels"][name]["mean"], color=COLOURS[1], linestyle="--", label="before, at its best")
        label(axes, "updates", said)
        if place == 1:
            axes.legend(frameon=False, fontsize=8)
    axes = figure.add_subplot(rows, 3, len(panels) + 1)
    _band(axes, curve["entropy"]["updates"], curve["entropy"], COLOURS[0], "entropy")
    _target(axes, tables)
    label(axes, "updates", "entropy (share)")
    figure.subplots_adjust(hspace=0.35, wspace=0.45)
    return as_svg(figure)


def guidance_plot(report: Mapping[str, Any]) -> bytes:
    """SVG: FID by each net, recall, distance and accuracy over the guidance before training, and after at two."""
    tables = report["tables"]
    net = tables["nets"][0]
    places: dict[str, tuple[str, ...]] = {f"FID, {it}": ("fidelity", it, "fid") for it in tables["nets"]}
    places |= {"recall": ("fidelity", net, "recall"), "distance within a class": ("distance", net)}
    places["show their class"] = ("accuracy",)
    best = tables["best"]["of_all"]
    after = {1.0 if "unguided" in row["pictures"] else best: row for row in tables["models"] if _is_after(row)}
    figure = new_figure(9.6, 5.6)
    for place, (said, where) in enumerate(places.items(), start=1):
        axes = figure.add_subplot(2, 3, place)
        grid = [row["guidance"] for row in tables["guidance"]]
        before = [_value(row, where) for row in tables["guidance"]]
        axes.plot(grid, before, "o-", color=COLOURS[1], label="before")
        tuned = [_value(row, where) for row in after.values()]
        axes.plot(list(after), tuned, "*", color=COLOURS[0], markersize=11, label="after")
        label(axes, "guidance", said)
        if place == 1:
            axes.legend(frameon=False, fontsize=8)
    figure.subplots_adjust(hspace=0.35, wspace=0.4)
    return as_svg(figure)


def variant_plot(report: Mapping[str, Any]) -> bytes:
    """SVG: every variant's FID against the distance between its pictures of a class."""
    net = report["tables"]["nets"][0]
    figure = new_figure(6.6, 4.6)
    axes = figure.add_subplot()
    for place, row in enumerate(report["tables"]["variants"]):
        name, fid, distance = row["pictures"], row["fidelity"][net]["fid"], row["distance"][net]
        mark = "*" if name == MAIN else "D" if name.startswith(BASE) else "os^"[place % 3]
        axes.errorbar(
            distance["value"], fid["value"], xerr=_arms(distance), yerr=_arms(fid), fmt=mark, capsize=3,
            color=COLOURS[place % len(COLOURS)], label=name,
        )  # fmt: skip
    label(axes, "distance within a class", f"FID, {net}")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return as_svg(figure)


def course_plot(report: Mapping[str, Any]) -> bytes:
    """SVG: FID, distance, entropy and the held-out reward over the updates of every variant."""
    tables = report["tables"]
    net, held_out = tables["nets"][0], tables["held_out"]
    said = {f"fid {net}": f"FID, {net}", f"distance {net}": "distance within a class", "entropy": "entropy"}
    said[held_out] = f"{held_out}, held out"
    figure = new_figure(8.4, 6.4)
    for panel, (name, words) in enumerate(said.items(), start=1):
        axes = figure.add_subplot(2, 2, panel)
        for place, curve in enumerate(tables["curves"]):
            style, width = LINES[place // len(COLOURS) % len(LINES)], 2.2 if curve["name"] == MAIN else 1.2
            updates = curve["entropy"]["updates"] if name == "entropy" else curve["updates"]
            axes.plot(updates, curve[name]["mean"], style, color=COLOURS[place % len(COLOURS)], linewidth=width,
                      label=curve["name"])  # fmt: skip
        if name == "entropy":
            _target(axes, tables)
        label(axes, "updates", words)
        if panel == len(said) // 2:
            axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.subplots_adjust(hspace=0.3, wspace=0.3)
    return as_svg(figure)


def class_rows(grid: Mapping[str, Any], folder: Path) -> bytes:
    """PNG: a column for each class; of every model as many rows as the grid says, framed by the judge's word."""
    rows: list[Row] = []
    for name, one in grid["models"].items():
        each = len(one["verdicts"])
        pictures = pictures_in(folder / one["sheet"], rows=each, columns=len(grid["captions"]))
        for place, (line, verdicts) in enumerate(zip(pictures[: grid["rows"]], one["verdicts"], strict=False)):
            tiles = [Tile(image=image, right=right) for image, right in zip(line, verdicts, strict=True)]
            rows.append(Row(name=name if place == 0 else "", tiles=tiles, captions=() if rows else grid["captions"]))
    return draw_grid(rows, len(grid["captions"]))


_VARIETY = {"recall": "recall", "distance": "distance within a class"}


def _band(axes: "Axes", x: Sequence[float], found: Mapping[str, Any], colour: str, name: str) -> None:
    axes.plot(x, found["mean"], "o-" if len(x) < 40 else "-", markersize=3, color=colour, label=name)
    axes.fill_between(x, found["low"], found["high"], color=colour, alpha=0.15)


def _target(axes: "Axes", tables: Mapping[str, Any]) -> None:
    if tables["entropy_target"]:
        axes.axhline(tables["entropy_target"], color="#777777", linestyle=":")


def _arms(found: Mapping[str, float]) -> list[list[float]]:
    return [[found["value"] - found["low"]], [found["high"] - found["value"]]]


def _value(row: Mapping[str, Any], where: Sequence[str]) -> float:
    """The estimate's value that lies there in a row."""
    found: Any = row
    for name in where:
        found = found[name]
    return float(found["value"])


def _is_after(row: Mapping[str, Any]) -> bool:
    return str(row["pictures"]).startswith("after")
