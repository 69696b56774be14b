"""A line plot as SVG, without a plotting library: axes with round ticks, lines, points, names."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 760, 340
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 28, 48
TICKS = 6

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One named curve."""

    name: str
    points: Sequence[Point]
    """In the order of x."""

    style: str
    """The CSS class that colours it."""

    dotted: bool = False
    """Whether the points are drawn as dots, without a line between them."""


def line_plot(series: Sequence[Series], x_label: str, y_label: str) -> str:
    """Draw curves over common axes; the SVG element."""
    points = [point for curve in series for point in curve.points]
    assert points, "a plot needs a point"
    x_ticks = ticks(min(x for x, _ in points), max(x for x, _ in points))
    y_ticks = ticks(min(y for _, y in points), max(y for _, y in points))
    frame = _Frame(x_ticks[0], x_ticks[-1], y_ticks[0], y_ticks[-1])
    parts = [_axes(frame, x_ticks, y_ticks, x_label, y_label)]
    parts += [_curve(frame, curve) for curve in series]
    parts += [_legend(series)]
    names = ", ".join(curve.name for curve in series)
    label = html.escape(f"{y_label} over {x_label}: {names}", quote=True)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        + "".join(parts)
        + "</svg>"
    )


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from below `low` to above `high`, about TICKS of them."""
    spread = (high - low) or abs(high) or 1.0
    raw = spread / (TICKS - 1)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= raw)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    return [round(index * step, 12) for index in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class _Frame:
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        share = (value - self.x_low) / (self.x_high - self.x_low)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.y_low) / (self.y_high - self.y_low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def _axes(
    frame: _Frame, x_ticks: list[float], y_ticks: list[float], x_label: str, y_label: str
) -> str:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in y_ticks:
        y = frame.y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(_text(LEFT - 8, y + 4, _number(value), "end"))
    for value in x_ticks:
        x = frame.x(value)
        parts.append(f'<line class="axis" x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(_text(x, bottom + 18, _number(value), "middle"))
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(_text((LEFT + right) / 2, HEIGHT - 8, x_label, "middle"))
    middle = (TOP + bottom) / 2
    turned = _text(0, 0, y_label, "middle")
    parts.append(f'<g transform="translate(14 {middle}) rotate(-90)">{turned}</g>')
    return "".join(parts)


def _curve(frame: _Frame, curve: Series) -> str:
    places = [(frame.x(x), frame.y(y)) for x, y in curve.points]
    if curve.dotted:
        return "".join(
            f'<circle class="dot {curve.style}" cx="{x}" cy="{y}" r="4">'
            f"<title>{html.escape(curve.name)}: {_number(raw[0])}, {raw[1]:.4g}</title></circle>"
            for (x, y), raw in zip(places, curve.points, strict=True)
        )
    path = " ".join(f"{x},{y}" for x, y in places)
    return f'<polyline class="curve {curve.style}" points="{path}"/>'


def _legend(series: Sequence[Series]) -> str:
    parts, x = [], float(LEFT)
    for curve in series:
        key = f'<line class="curve {curve.style}" x1="{x}" x2="{x + 22}" y1="12" y2="12"/>'
        dot = f'<circle class="dot {curve.style}" cx="{x + 11}" cy="12" r="4"/>'
        parts.append(dot if curve.dotted else key)
        parts.append(_text(x + 28, 16, curve.name, "start"))
        x += 44 + 7 * len(curve.name)
    return "".join(parts)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
