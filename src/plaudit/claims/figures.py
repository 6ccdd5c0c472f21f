"""Plots of a result page, made so that the same numbers give the same file."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#1b6ca8", "#d1495b", "#edae49", "#66a182", "#7a5195", "#8d6e63", "#2e4057", "#00798c")


def new_figure(width: float, height: float) -> "Figure":
    """A figure that no window or global state knows of; size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def label(axes: "Axes", x: str, y: str) -> None:
    """Name the axes, and leave only what is read."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def as_svg(figure: "Figure") -> bytes:
    """The figure as a file."""
    import matplotlib

    buffer = io.BytesIO()
    # No date and no random ids: the same numbers give the same file.
    with matplotlib.rc_context({"svg.hashsalt": "plaudit", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight")
    return buffer.getvalue()
