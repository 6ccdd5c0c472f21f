"""Reward curves as inline SVG, which needs no script and follows the page's colours."""

import math
from collections.abc import Callable, Sequence
from html import escape

WIDTH, HEIGHT = 320.0, 132.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 8.0, 10.0, 22.0
MAX_POINTS = 200
"""more would not show at this size"""


def curve(
    trace: Sequence[float], *, label: str, best_step: int = -1, at: Sequence[float] = (), unit: str = "step"
) -> str:
    """An SVG element: the total at each step, and where there is a best step the best so far as a thin line, and a dot.

    `at`: where the values lie, in `unit`s, rising; left out: 0, 1, 2 and so on. Nothing for fewer than two numbers.
    """
    places = at or range(len(trace))
    points = [(float(x), y) for x, y in zip(places, trace, strict=True) if y - y == 0]
    if len(points) < 2:
        return ""
    ticks = _ticks(min(y for _, y in points), max(y for _, y in points))
    low, high = ticks[0], ticks[-1]
    first, last = float(places[0]), float(places[-1])

    def place(x: float, y: float) -> tuple[float, float]:
        right = LEFT + (WIDTH - LEFT - RIGHT) * (x - first) / (last - first)
        down = TOP + (HEIGHT - TOP - BOTTOM) * (high - y) / (high - low)
        return right, down

    parts = [_grid_line(place(0, tick)[1], tick) for tick in ticks]
    parts += [
        f'<text class="tick" x="{place(x, low)[0]:.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{text}</text>'
        for x, anchor, text in ((first, "start", f"{unit} {first:g}"), (last, "end", f"{last:g}"))
    ]
    if best_step >= 0:
        parts.append(f'<polyline class="best" points="{_path(_best_so_far(points), place)}"/>')
    parts.append(f'<polyline class="line" points="{_path(_thinned(points), place)}"/>')
    if 0 <= best_step < len(trace) and trace[best_step] - trace[best_step] == 0:
        x, y = place(float(places[best_step]), trace[best_step])
        title = f"best: {trace[best_step]:.3f} at {unit} {places[best_step]:g}"
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5"><title>{title}</title></circle>')
    box = f'viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{escape(label)}"'
    return f'<svg class="curve" {box}>{"".join(parts)}</svg>'


def _ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers that span the range."""
    spread = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(spread))
    step = next(power * nice for nice in (0.2, 0.5, 1.0, 2.0) if spread / (power * nice) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


def _grid_line(y: float, value: float) -> str:
    return (
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{value:.4g}</text>'
    )


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    stride = -(-len(points) // MAX_POINTS)
    kept = points[::stride]
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def _best_so_far(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    best, rising = float("-inf"), []
    for x, y in points:
        best = max(best, y)
        rising.append((x, best))
    return _thinned(rising)


def _path(points: Sequence[tuple[float, float]], place: Callable[[float, float], tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
