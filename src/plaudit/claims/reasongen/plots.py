"""The plots of the result page, made from the JSON."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from plaudit.claims.figures import COLOURS, as_svg, label, new_figure
from plaudit.claims.reasongen.variants import MAIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = ("-", "--", ":")
"""styles, for more variants than there are colours"""
OF_UPDATES = {
    "reward": "reward", "word_entropy": "entropy of words, nats", "token_entropy": "entropy of tokens, nats",
    "plan_words": "words of a plan",
}  # fmt: skip
OF_LOOKS = {
    "accuracy": "right, of a look's pictures", "distance": "distance within a prompt",
    "readable": "plans that say a scene", "meets": "plans that meet the prompt", "agrees": "shown of a plan",
}  # fmt: skip


def curve_plot(report: Mapping[str, Any]) -> bytes:
    """SVG: what updates and looks told of the preset, with the seeds' extremes; and the entropies' coefficients."""
    tables = report["tables"]
    curve = next(it for it in tables["curves"] if it["name"] == MAIN)
    panels = [(curve["updates"], name, words) for name, words in OF_UPDATES.items()]
    panels += [(curve["looks"], name, words) for name, words in OF_LOOKS.items() if name in curve["looks"]]
    panels += [(curve["updates"], f"{kind}_coefficient", f"coefficient, {kind}s") for kind in ("word", "token")]
    rows = (len(panels) + 2) // 3
    figure = new_figure(9.6, 2.7 * rows)
    for place, (found, name, words) in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, 3, place)
        _band(axes, found["updates"], found[name])
        _lines_across(axes, name, tables)
        label(axes, "updates", words)
    figure.subplots_adjust(hspace=0.45, wspace=0.4)
    return as_svg(figure)


def course_plot(report: Mapping[str, Any]) -> bytes:
    """SVG: reward, accuracy, entropies, plans' length and diversity over the updates of every variant."""
    tables = report["tables"]
    panels = {name: ("looks", OF_LOOKS[name]) for name in ("accuracy", "distance")}
    panels |= {name: ("updates", words) for name, words in OF_UPDATES.items()}
    figure = new_figure(9.6, 8.4)
    for panel, (name, (where, words)) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(3, 2, panel)
        for place, curve in enumerate(tables["curves"]):
            if name not in curve[where]:
                continue
            style, width = LINES[place // len(COLOURS) % len(LINES)], 2.2 if curve["name"] == MAIN else 1.2
            axes.plot(
                curve[where]["updates"], curve[where][name]["mean"], style, color=COLOURS[place % len(COLOURS)],
                linewidth=width, label=curve["name"],
            )  # fmt: skip
        _lines_across(axes, name, tables)
        label(axes, "updates", words)
        if panel == 2:
            axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.subplots_adjust(hspace=0.35, wspace=0.3)
    return as_svg(figure)


def variant_plot(report: Mapping[str, Any]) -> bytes:
    """SVG: the accuracy of every variant, with its interval."""
    rows = list(reversed(report["tables"]["variants"]))
    figure = new_figure(6.6, 0.5 + 0.36 * len(rows))
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        found = row["accuracy"]
        arms = [[found["value"] - found["low"]], [found["high"] - found["value"]]]
        colour = COLOURS[1] if row["pictures"] == MAIN else COLOURS[0]
        axes.errorbar(found["value"], place, xerr=arms, fmt="o", capsize=3, color=colour)
    axes.set_yticks(range(len(rows)), [row["pictures"] for row in rows])
    label(axes, "accuracy, without guidance", "")
    return as_svg(figure)


def _band(axes: "Axes", x: Sequence[float], found: Mapping[str, Any]) -> None:
    axes.plot(x, found["mean"], "o-" if len(x) < 40 else "-", markersize=3, color=COLOURS[0])
    axes.fill_between(x, found["low"], found["high"], color=COLOURS[0], alpha=0.15)


def _lines_across(axes: "Axes", name: str, tables: Mapping[str, Any]) -> None:
    """Where a controller wants an entropy, and what the lessons alone end with."""
    kind = name.removesuffix("_entropy")
    if kind in tables["targets"]:
        axes.axhline(tables["targets"][kind], color="#777777", linestyle=":")
    if name in tables["levels"]:
        axes.axhline(tables["levels"][name]["value"], color=COLOURS[1], linestyle="--")
