"""The scores as one self-contained page with pictures."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from components.scoring.counts import spell_temperature
from components.scoring.curves import LINES, Curve, draw_curves, draw_map
from components.scoring.pictures import Bar, Range, draw_bars, draw_ranges
from components.scoring.report import (
    PUBLISHED_HEAD,
    SELECTION_HEAD,
    SELECTION_NOTE,
    exposure_rows,
    grid_table,
    line_rows,
    pass_rows,
    published_rows,
    selection_rows,
    selfcheck_text,
    text_rows,
)

Scores = Mapping[str, Any]

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #66707f; --line: #d6dbe2;
  --paper: #fff; --cell: #f1f3f6; --ours: #b4532a; --other: #8796a8; --c0: #b4532a; --c1: #2a6fb4;
  --c2: #3d8b4f; --c3: #8a4fa8; --c4: #a08420; --c5: #4a8f96; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #98a2b0; --line: #3a424e;
  --paper: #14181e; --cell: #1d232b; --ours: #e0895f; --other: #6d7c8f; --c0: #e0895f;
  --c1: #6fa8e0; --c2: #7cc48c; --c3: #c08ee0; --c4: #d4b95a; --c5: #86c8cf; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums;
  margin: .6rem 0; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, .text { text-align: left; }
.settings td + td { overflow-wrap: anywhere; }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font-size: 12px; }
svg .soft { fill: var(--soft); } svg .axis { stroke: var(--line); }
svg .ours { fill: var(--ours); stroke: var(--ours); }
svg .other { fill: var(--other); stroke: var(--other); }
svg .flat { stroke: none; } svg .cell { fill: var(--cell); }
svg .curve { fill: none; stroke-width: 2; } svg .band { fill-opacity: .13; stroke: none; }
.warning { border-left: 4px solid var(--ours); padding-left: .8rem; }
p.soft { color: var(--soft); }
"""

NUMBER = re.compile(r"[-+]?\d")
"""How a cell of a column of numbers begins."""

LINE_STYLE = "".join(
    f"svg .line{n} {{ stroke: var(--c{n}); }}\n"
    f"svg .band.line{n}, svg circle.line{n}, svg text.line{n} "
    f"{{ fill: var(--c{n}); stroke: none; }}\n"
    for n in range(LINES)
)


def draw_page(scores: Scores, isolation_level: int) -> str:
    """The scores as one HTML page that loads nothing from anywhere."""
    level = f"{100 * scores['bootstrap']['level']:g} %"
    body = [
        "<h1>Scores</h1>",
        *(f'<p class="warning">{escape(text)}</p>' for text in scores["warnings"]),
        f"<h2>pass@k</h2><p>Bars and bands span {level} of the bootstrap over problems.</p>",
        draw_ranges(_pass_ranges(scores), "pass@k with intervals"),
        html_table(("benchmark", "pass@k", "value", "interval"), pass_rows(scores)),
    ]
    for name, benchmark in scores["benchmarks"].items():
        body += _draw_benchmark(name, benchmark)
    if rows := exposure_rows(scores):
        body += [
            "<h2>Seen and unseen problems</h2><p>Seen: the corpus held the problem, and the "
            "documents with it were dropped. Unguarded: nothing of it is long enough to look for. "
            "Unchecked: it was not looked for.</p>",
            html_table(("benchmark", "problems", "number", "pass@k"), rows),
        ]
    body += ["<h2>Completions</h2>", html_table(("benchmark", "they", "share"), text_rows(scores))]
    if scores["lines"]:
        body += [
            "<h2>Lines that parse</h2>",
            draw_ranges(_line_ranges(scores), "share of lines that parse"),
            html_table(("author", "lines that parse", "interval", "lines"), line_rows(scores)),
        ]
    absent = "" if "humaneval" in scores["benchmarks"] else " This model was not scored on it."
    body += [
        "<h2>Beside published models</h2><p>HumanEval, per cent. Harnesses differ: prompts, cuts, "
        f"temperatures and numbers of samples are not ours.{absent}</p>",
        draw_ranges(_published_ranges(scores), "HumanEval pass@1 beside published models"),
        html_table(PUBLISHED_HEAD, published_rows(scores)),
        f'<p class="soft">Self-check: {escape(selfcheck_text(scores))}. Isolation level '
        f"L{isolation_level}.</p>",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Scores</title>'
        f"<style>{STYLE}{LINE_STYLE}</style></head><body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _draw_benchmark(name: str, benchmark: Scores) -> list[str]:
    """Curve, grid, verdict classes and the map of problems."""
    curves = [
        Curve(
            f"T = {spell_temperature(cell['temperature'])}",
            [tuple(point) for point in cell["curve"]],
        )
        for cell in benchmark["grid"]
    ]
    total = sum(benchmark["verdicts"].values())
    bars = [Bar(verdict, n / total, f"{n:,}") for verdict, n in benchmark["verdicts"].items()]
    problems = [(row["task_id"], row["verdicts"]) for row in benchmark["per_problem"]]
    parts = [
        f"<h2>{escape(name)}</h2>",
        "<h3>pass@k over k</h3>",
        draw_curves(curves, f"pass@k of {name} over k"),
    ]
    if benchmark["selection"]:
        parts += [
            "<h3>By temperature</h3>",
            html_table(*grid_table(benchmark)),
            f'<p class="soft">{escape(SELECTION_NOTE)}</p>',
            "<p>Chosen on one half of the problems, scored on the other, both ways:</p>",
            html_table(SELECTION_HEAD, selection_rows(benchmark)),
        ]
    return [
        *parts,
        "<h3>What became of the samples</h3>",
        draw_bars(bars, f"verdicts of {name}"),
        "<h3>Problem by problem</h3><p>A column a problem, the ones solved most often first; the "
        "darker, the more of its samples.</p>",
        draw_map(problems, f"verdicts of {name} by problem"),
    ]


def _pass_ranges(scores: Scores) -> list[Range]:
    return [
        Range(f"{name} pass@{k}", interval["value"], interval["low"], interval["high"], True)
        for name, benchmark in scores["benchmarks"].items()
        for k, interval in benchmark["pass_at_k"].items()
    ]


def _line_ranges(scores: Scores) -> list[Range]:
    return [
        Range(author, score["share"], score["low"], score["high"], author == "trained")
        for author, score in scores["lines"].items()
        if score["lines"]
    ]


def _published_ranges(scores: Scores) -> list[Range]:
    ranges = []
    if ours := scores["benchmarks"].get("humaneval", {}).get("pass_at_k", {}).get("1"):
        ranges.append(Range("this model", ours["value"], ours["low"], ours["high"], True))
    for row in scores["published"]:
        share = row["pass_at_1"] / 100
        ranges.append(Range(f"{row['model']} {row['parameters']}", share, share, share, False))
    return ranges


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain texts; columns without a number are flush left."""
    kinds = [
        "" if any(NUMBER.match(cell) for cell in column) else ' class="text"'
        for column in (list(zip(*rows, strict=True)) or [()] * len(head))
    ]
    titles = "".join(
        f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, head, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"
