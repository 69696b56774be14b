"""Inline SVG: values with intervals on one axis, and bars."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT, ROW = 760.0, 190.0, 90.0, 24.0
"""Of a picture in its own units: its width, the margins for labels, and the height of a row."""

TOPS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Where an axis of shares may end."""


@dataclass(frozen=True)
class Range:
    """A share with its interval; equal ends draw a dot alone."""

    label: str
    value: float
    low: float
    high: float
    ours: bool


@dataclass(frozen=True)
class Bar:
    """A share of a whole as a bar, with its number beside it."""

    label: str
    share: float
    text: str


def draw_ranges(ranges: Sequence[Range], title: str) -> str:
    """A row a range: a dot at the value, a bar over the interval, ticks in per cent below."""
    if not ranges:
        return '<p class="soft">Nothing to draw.</p>'
    top = next((top for top in TOPS if max(row.high for row in ranges) <= top), 1.0)
    bottom = 8 + ROW * len(ranges)
    parts = []
    for tick in range(6):
        x = _x(tick / 5)
        parts.append(
            f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{bottom}"/>'
            f'<text class="soft" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">'
            f"{100 * top * tick / 5:g} %</text>"
        )
    for index, row in enumerate(ranges):
        y = 8 + ROW * (index + 0.5)
        style = "ours" if row.ours else "other"
        low, value, high = (_x(number / top) for number in (row.low, row.value, row.high))
        parts.append(
            f'<text x="{LEFT - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(row.label)}</text>'
            f'<line class="{style}" x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}" '
            f'stroke-width="3"/><circle class="{style}" cx="{value:.1f}" cy="{y:.1f}" r="4.5"/>'
            f'<text x="{WIDTH - RIGHT + 14}" y="{y + 4:.1f}">{100 * row.value:.2f} %</text>'
        )
    return svg(WIDTH, bottom + 24, title, parts)


def draw_bars(bars: Sequence[Bar], title: str) -> str:
    """A bar a row, as long as its share."""
    parts = []
    for index, bar in enumerate(bars):
        y = 4 + ROW * index
        parts.append(
            f'<text x="{LEFT - 12}" y="{y + 15:.1f}" text-anchor="end">{escape(bar.label)}</text>'
            f'<rect class="{"ours" if bar.label == "passed" else "other"}" x="{LEFT}" '
            f'y="{y + 3:.1f}" width="{max(0.5, _x(bar.share) - LEFT):.1f}" height="{ROW - 8}"/>'
            f'<text x="{WIDTH - RIGHT + 14}" y="{y + 15:.1f}">{escape(bar.text)}</text>'
        )
    return svg(WIDTH, 8 + ROW * len(bars), title, parts)


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """A picture of given size in its own units; it scales with the page."""
    body = "\n".join(parts)
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img"><title>{escape(title)}</title>\n'
        f"{body}\n</svg>"
    )
