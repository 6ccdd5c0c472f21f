"""Trade-offs of compared systems as one SVG: the deciding measure, and the rewards, against diversity and cost."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

AXES = {
    "reward": "rise of followed rewards, in spreads",
    "diversity": "distance between a prompt's pictures",
    "seconds": "seconds per image",
    "forwards": "forwards of networks per image",
}
COSTS = ("seconds", "forwards")
MANY = 4
"""times the least cost, from which costs are shown by their logarithm"""
COLOUR, BEATEN = "#1b6ca8", "#9a9a9a"
NEAR = 0.04
"""share of a plot's width and height within which numbers would lie on each other, and stand side by side instead"""


def trade_offs(results: Mapping[str, Any]) -> bytes:
    """SVG: a plot for each pair of gains and costs; the same numbers give the same file.

    Systems go by their place in the list below. Those that no other beats are joined by a line; those that are beaten
    are grey.
    """
    import matplotlib
    from matplotlib.figure import Figure

    fronts = results["fronts"]["fronts"]
    columns = min(2, max(1, len(fronts)))
    rows = -(-max(1, len(fronts)) // columns)
    figure = Figure(figsize=(5.6 * columns, 3.8 * rows))
    for number, front in enumerate(fronts, start=1):
        _draw(figure.add_subplot(rows, columns, number), results, front)
    figure.tight_layout()
    # Names are long, and systems may lie close together: the plots have numbers, and the names stand below.
    lines = [f"{number}  {one['name']}" for number, one in enumerate(results["entrants"], start=1)]
    for number, line in enumerate(lines):
        figure.text(0.06, -0.02 - 0.2 * number / figure.get_figheight(), line, fontsize=9, va="top")
    buffer = io.BytesIO()
    # No date and no random ids: the same numbers give the same file.
    with matplotlib.rc_context({"svg.hashsalt": "plaudit", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight")
    return buffer.getvalue()


def _draw(axes: Any, results: Mapping[str, Any], front: Mapping[str, Any]) -> None:
    against, gain, points = front["against"], front["gain"], results["fronts"]["points"]
    places: dict[str, tuple[float, float]] = {}
    for one in results["entrants"]:
        x, y = points[one["name"]][against], points[one["name"]][gain]
        places[one["name"]] = (x, y)
        colour = COLOUR if one["name"] in front["names"] else BEATEN
        # A mean over several rewards has no interval of its own.
        ends = one["measures"].get(gain)
        errors = [[y - ends["low"]], [ends["high"] - y]] if ends else None
        axes.errorbar(x, y, yerr=errors, fmt="o", color=colour, capsize=3)
    line = sorted(places[name] for name in front["names"])
    axes.plot([x for x, _ in line], [y for _, y in line], color=COLOUR, alpha=0.4, linewidth=1)
    least, most = (end(x for x, _ in places.values()) for end in (min, max))
    if against in COSTS and 0 < least * MANY < most:
        axes.set_xscale("log")
    axes.margins(x=0.25)
    if least == most:
        # All at one place, as where cost was made equal: there is no spread to take margins of.
        axes.set_xlim(least - (abs(least) or 1), most + (abs(most) or 1))
    _number(axes, list(places.values()))
    axes.set_xlabel(AXES[against])
    axes.set_ylabel(AXES.get(gain, gain))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _number(axes: Any, places: Sequence[tuple[float, float]]) -> None:
    """Each system's number beside its place; those that are near each other share one label."""
    # The limits are not settled before they are asked for.
    axes.get_xlim(), axes.get_ylim()
    spots = axes.transAxes.inverted().transform(axes.transData.transform(places))
    labels: dict[int, list[int]] = {}
    for number, spot in enumerate(spots):
        first = next((other for other in labels if max(abs(spot - spots[other])) < NEAR), number)
        labels.setdefault(first, []).append(number + 1)
    for turn, (first, numbers) in enumerate(labels.items()):
        # Above and below in turn, so that those of neighbours stay apart.
        up = 5 if turn % 2 == 0 else -13
        said = " ".join(map(str, numbers))
        axes.annotate(said, places[first], xytext=(5, up), textcoords="offset points", fontsize=9)
