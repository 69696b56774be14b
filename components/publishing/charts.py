"""Charts as inline SVG and HTML: drawn once, coloured by the page's style in light and dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from components.stage.escaping import escape_html

Point = tuple[float, float]

MAX_POINTS = 400
"""Points of a line: more than a page has pixels for them to differ."""

LABEL_GAP = 15.0
"""Least distance between two labels at the right edge, in units of the picture."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a chart."""

    name: str
    points: Sequence[Point]
    style: str
    """Class of the line: `ours`, `other` or `real`."""

    marked: bool = False
    """Whether each point gets a dot."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One row of a bar chart."""

    label: str
    share: float
    """Length as a share of the chart's width, 0 to 1."""

    text: str
    style: str = "ours"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """One row of an interval plot: a value, and where it lies with some confidence."""

    label: str
    value: float
    low: float
    high: float
    text: str
    style: str = "ours"


def find_ticks(low: float, high: float, num: int = 5) -> list[float]:
    """Round numbers that span a range: multiples of 1, 2 or 5 times a power of ten.

    Args:
        low: least value to show.
        high: greatest value to show.
        num: about how many ticks are wanted.

    Returns:
        Ascending ticks; the first is at most `low`, the last at least `high`.
    """
    if not high > low:
        low, high = low - max(abs(low), 1.0) / 2, high + max(abs(high), 1.0) / 2
    raw = (high - low) / num
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def spell_tick(value: float, step: float) -> str:
    """A tick's label with as many decimals as its step needs."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value + 0.0:,.{decimals}f}"


def thin_points(points: Sequence[Point], limit: int = MAX_POINTS) -> list[Point]:
    """Replace runs of points by their means where there are more than `limit`."""
    run = math.ceil(len(points) / limit)
    if run <= 1:
        return list(points)
    groups = [points[start : start + run] for start in range(0, len(points), run)]
    return [
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group))
        for group in groups
    ]


@dataclass(frozen=True)
class _Frame:
    """Maps values to the picture: a box of `width` x `height` with margins for the labels."""

    x_ticks: Sequence[float]
    y_ticks: Sequence[float]
    width: float = 860.0
    height: float = 320.0
    left: float = 56.0
    right: float = 132.0
    top: float = 26.0
    bottom: float = 44.0

    def x(self, value: float) -> float:
        share = (value - self.x_ticks[0]) / (self.x_ticks[-1] - self.x_ticks[0])
        return self.left + share * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        share = (value - self.y_ticks[0]) / (self.y_ticks[-1] - self.y_ticks[0])
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)


def draw_lines(series: Sequence[Series], title: str, x_label: str, y_label: str) -> str:
    """A line chart with axes, ticks, and each line's name and last value at its end."""
    drawn = [line for line in series if line.points]
    if not drawn:
        return '<p class="note">Nothing was recorded.</p>'
    xs = [x for line in drawn for x, _ in line.points]
    ys = [y for line in drawn for _, y in line.points]
    frame = _Frame(find_ticks(min(0.0, *xs), max(xs)), find_ticks(min(ys), max(ys)))
    parts = [_draw_axes(frame, x_label, y_label)]
    parts += [_draw_line(frame, line) for line in drawn]
    parts += _draw_end_labels(frame, drawn)
    return draw_picture(frame.width, frame.height, title, parts)


def _draw_axes(frame: _Frame, x_label: str, y_label: str) -> str:
    bottom = frame.height - frame.bottom
    end = frame.width - frame.right
    x_step, y_step = frame.x_ticks[1] - frame.x_ticks[0], frame.y_ticks[1] - frame.y_ticks[0]
    parts = [
        f'<line class="grid" x1="{frame.left}" x2="{end}" y1="{frame.y(tick):.1f}" '
        f'y2="{frame.y(tick):.1f}"/><text class="tick" x="{frame.left - 8}" '
        f'y="{frame.y(tick) + 4:.1f}" text-anchor="end">{spell_tick(tick, y_step)}</text>'
        for tick in frame.y_ticks
    ]
    parts += [
        f'<line class="axis" x1="{frame.x(tick):.1f}" x2="{frame.x(tick):.1f}" y1="{bottom}" '
        f'y2="{bottom + 5}"/><text class="tick" x="{frame.x(tick):.1f}" y="{bottom + 19}" '
        f'text-anchor="middle">{spell_tick(tick, x_step)}</text>'
        for tick in frame.x_ticks
    ]
    parts.append(
        f'<line class="axis" x1="{frame.left}" x2="{end}" y1="{bottom}" y2="{bottom}"/>'
        f'<text class="label" x="{(frame.left + end) / 2:.1f}" y="{frame.height - 6}" '
        f'text-anchor="middle">{escape_html(x_label)}</text>'
        f'<text class="label" x="0" y="12">{escape_html(y_label)}</text>'
    )
    return "\n".join(parts)


def _draw_line(frame: _Frame, line: Series) -> str:
    points = [(frame.x(x), frame.y(y)) for x, y in thin_points(line.points)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    drawn = f'<polyline class="line {line.style}" points="{path}"/>'
    if line.marked or len(points) == 1:
        drawn += "".join(
            f'<circle class="dot {line.style}" cx="{x:.1f}" cy="{y:.1f}" r="3.2"/>'
            for x, y in points
        )
    return drawn


def _draw_end_labels(frame: _Frame, series: Sequence[Series]) -> list[str]:
    """The lines' names beside their ends, pushed apart where they would overlap."""
    ends = sorted((frame.y(line.points[-1][1]), index) for index, line in enumerate(series))
    labels = []
    previous = -math.inf
    for wanted, index in ends:
        y = previous = max(wanted, previous + LABEL_GAP)
        line = series[index]
        labels.append(
            f'<text class="end {line.style}" x="{frame.x(line.points[-1][0]) + 9:.1f}" '
            f'y="{y + 4:.1f}">{escape_html(line.name)} {line.points[-1][1]:.3g}</text>'
        )
    return labels


def draw_bars(bars: Sequence[Bar]) -> str:
    """Horizontal bars: a label, a bar, and the value in words."""
    rows = [
        f'<div class="bar"><span class="name" title="{escape_html(bar.label)}">'
        f"{escape_html(bar.label)}</span>"
        f'<span class="track"><span class="fill {bar.style}" '
        f'style="width:{100 * min(1.0, max(0.0, bar.share)):.2f}%"></span></span>'
        f'<span class="value">{escape_html(bar.text)}</span></div>'
        for bar in bars
    ]
    return f'<div class="bars">{"".join(rows)}</div>'


def draw_intervals(rows: Sequence[Interval], title: str) -> str:
    """Values with their intervals on one axis in per cent; `value` and its bounds are shares."""
    row_height, left, right, width = 26.0, 230.0, 150.0, 860.0
    ticks = find_ticks(0.0, max([0.02, *(row.high for row in rows)]))
    bottom = 8 + row_height * len(rows)

    def x(share: float) -> float:
        return left + (share - ticks[0]) / (ticks[-1] - ticks[0]) * (width - left - right)

    parts = [
        f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="4" y2="{bottom}"/>'
        f'<text class="tick" x="{x(tick):.1f}" y="{bottom + 18}" text-anchor="middle">'
        f"{spell_tick(100 * tick, 100 * (ticks[1] - ticks[0]))} %</text>"
        for tick in ticks
    ]
    for index, row in enumerate(rows):
        y = 8 + row_height * (index + 0.5)
        parts.append(
            f'<text class="name {row.style}" x="{left - 14}" y="{y + 4:.1f}" text-anchor="end">'
            f"{escape_html(row.label)}</text>"
        )
        if row.high > row.low:
            parts.append(
                f'<line class="whisker {row.style}" x1="{x(row.low):.1f}" x2="{x(row.high):.1f}" '
                f'y1="{y:.1f}" y2="{y:.1f}"/>'
            )
        parts.append(
            f'<circle class="dot {row.style}" cx="{x(row.value):.1f}" cy="{y:.1f}" r="4.5"/>'
            f'<text class="end {row.style}" x="{width - right + 16}" y="{y + 4:.1f}">'
            f"{escape_html(row.text)}</text>"
        )
    return draw_picture(width, bottom + 26, title, parts)


def draw_picture(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """A picture of SVG parts, escaped by whoever made them."""
    body = "\n".join(parts)
    return (
        f'<div class="scroll"><svg viewBox="0 0 {width:g} {height:g}" role="img" '
        f'style="max-width:{width:g}px">\n<title>{escape_html(title)}</title>\n{body}\n</svg></div>'
    )
