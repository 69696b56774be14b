"""Inline SVG: pass@k over k, and what became of each problem's samples."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from components.scoring.pictures import TOPS, svg

WIDTH, HEIGHT = 760.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 60.0, 110.0, 12.0, 40.0
"""Of the curves' picture, in its own units: its margins hold the labels."""

MAP_LEFT, MAP_ROW = 110.0, 18.0
"""Of the map: the margin for the classes' names, and the height of a row."""

TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
LINES = 6
"""Line styles that are told apart; further curves repeat them."""


@dataclass(frozen=True)
class Curve:
    """pass@k by k, with the interval of each."""

    label: str
    points: Sequence[tuple[int, float, float, float]]
    """k, value, low, high."""


def draw_curves(curves: Sequence[Curve], title: str) -> str:
    """pass@k over a logarithmic k: a line a temperature, a band for its interval."""
    shown = [curve for curve in curves if curve.points]
    if not shown:
        return '<p class="soft">Nothing to draw.</p>'
    last = max(curve.points[-1][0] for curve in shown)
    highest = max(high for curve in shown for _, _, _, high in curve.points)
    top = next((top for top in TOPS if highest <= top), 1.0)
    parts = [*_axes(last, top)]
    for place, curve in enumerate(shown):
        style = f"line{place % LINES}"
        upper = [(_x(k, last), _y(high, top)) for k, _, _, high in curve.points]
        lower = [(_x(k, last), _y(low, top)) for k, _, low, _ in curve.points]
        line = [(_x(k, last), _y(value, top)) for k, value, _, _ in curve.points]
        parts.append(f'<polygon class="band {style}" points="{_spell([*upper, *lower[::-1]])}"/>')
        parts.append(f'<polyline class="curve {style}" points="{_spell(line)}"/>')
        parts += [f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in line]
    parts += _labels(shown, last, top)
    return svg(WIDTH, HEIGHT, title, parts)


def _labels(curves: Sequence[Curve], last: int, top: float) -> list[str]:
    """The curves' names at their ends, pushed apart where they would lie on each other."""
    ends = sorted(
        (_y(curve.points[-1][1], top), place, curve) for place, curve in enumerate(curves)
    )
    parts, free = [], TOP
    for y, place, curve in ends:
        y = max(y, free)
        free = y + 14
        parts.append(
            f'<text class="name line{place % LINES}" x="{_x(last, last) + 10:.1f}" '
            f'y="{y + 4:.1f}">{escape(curve.label)}</text>'
        )
    return parts


def _axes(last: int, top: float) -> list[str]:
    parts = []
    floor = HEIGHT - BOTTOM
    for tick in (k for k in TICKS if k <= last):
        x = _x(tick, last)
        parts.append(
            f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{floor}"/>'
            f'<text class="soft" x="{x:.1f}" y="{floor + 16}" text-anchor="middle">{tick}</text>'
        )
    for step in range(6):
        share = top * step / 5
        y = _y(share, top)
        parts.append(
            f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="soft" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
            f"{100 * share:g} %</text>"
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="soft" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">k</text>')
    return parts


def _x(k: int, last: int) -> float:
    share = math.log(k) / math.log(last) if last > 1 else 0.5
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(share: float, top: float) -> float:
    return HEIGHT - BOTTOM - min(1.0, share / top) * (HEIGHT - TOP - BOTTOM)


def _spell(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def draw_map(problems: Sequence[tuple[str, Mapping[str, int]]], title: str) -> str:
    """A column a problem, a row a verdict class: as dark as the share of its samples.

    Args:
        problems: task id and samples by verdict, those with the most passes first in the picture.
        title: of the picture.
    """
    totals: dict[str, int] = {}
    for _, verdicts in problems:
        for name, count in verdicts.items():
            totals[name] = totals.get(name, 0) + count
    classes = sorted(totals, key=lambda name: (name != "passed", -totals[name], name))
    if not classes:
        return '<p class="soft">Nothing to draw.</p>'
    ranked = sorted(problems, key=lambda problem: -_share(problem[1], "passed"))
    width = (WIDTH - MAP_LEFT - 10) / len(ranked)
    parts = []
    for row, name in enumerate(classes):
        y = 4 + MAP_ROW * row
        parts.append(
            f'<text x="{MAP_LEFT - 8}" y="{y + 12:.1f}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="cell" x="{MAP_LEFT}" y="{y}" width="{width * len(ranked):.2f}" '
            f'height="{MAP_ROW - 3}"/>'
        )
        style = "ours" if name == "passed" else "other"
        for column, (task, verdicts) in enumerate(ranked):
            if share := _share(verdicts, name):
                parts.append(
                    f'<rect class="flat {style}" x="{MAP_LEFT + width * column:.2f}" y="{y}" '
                    f'width="{width:.2f}" height="{MAP_ROW - 3}" fill-opacity="{share:.2f}">'
                    f"<title>{escape(task)}: {escape(name)} {100 * share:.0f} %</title></rect>"
                )
    return svg(WIDTH, 8 + MAP_ROW * len(classes), title, parts)


def _share(verdicts: Mapping[str, int], name: str) -> float:
    return verdicts.get(name, 0) / max(1, sum(verdicts.values()))
