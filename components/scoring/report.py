"""The scores for people: Markdown tables, and one self-contained page with pictures."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from components.scoring.pictures import Bar, Range, draw_bars, draw_ranges

Scores = Mapping[str, Any]

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #66707f; --line: #d6dbe2;
  --paper: #fff; --ours: #b4532a; --other: #8796a8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #98a2b0; --line: #3a424e;
  --paper: #14181e; --ours: #e0895f; --other: #6d7c8f; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font-size: 12px; }
svg .soft { fill: var(--soft); } svg .axis { stroke: var(--line); }
svg .ours { fill: var(--ours); stroke: var(--ours); }
svg .other { fill: var(--other); stroke: var(--other); }
.warning { border-left: 4px solid var(--ours); padding-left: .8rem; }
p.soft { color: var(--soft); }
"""


def write_markdown(scores: Scores) -> str:
    """The scores as Markdown tables."""
    parts = [
        _markdown_table(("benchmark", "pass@k", "value", "interval"), pass_rows(scores)),
        _markdown_table(("benchmark", "verdict", "samples"), verdict_rows(scores)),
        _markdown_table(("author", "lines that parse", "interval", "lines"), line_rows(scores)),
        *(f"**Warning.** {text}\n" for text in notes(scores)),
        _markdown_table(
            ("published", "parameters", "pass@1", "@10", "@100", "n", "temperature", "source"),
            published_rows(scores),
        ),
    ]
    return "\n".join(part for part in parts if part)


def draw_page(scores: Scores) -> str:
    """The scores as one HTML page that loads nothing from anywhere."""
    level = f"{100 * scores['bootstrap']['level']:g} %"
    body = [
        "<h1>Scores</h1>",
        *(f'<p class="warning">{escape(text)}</p>' for text in notes(scores)),
        f"<h2>pass@k</h2><p>Bars span {level} of the bootstrap over problems.</p>",
        draw_ranges(_pass_ranges(scores), "pass@k with intervals"),
        _html_table(("benchmark", "pass@k", "value", "interval"), pass_rows(scores)),
        "<h2>Beside published models</h2><p>HumanEval pass@1, per cent. Harnesses differ.</p>",
        draw_ranges(_published_ranges(scores), "HumanEval pass@1 beside published models"),
        "<h2>What became of the samples</h2>",
    ]
    for name, benchmark in scores["benchmarks"].items():
        total = sum(benchmark["verdicts"].values())
        bars = [Bar(verdict, n / total, f"{n:,}") for verdict, n in benchmark["verdicts"].items()]
        body += [
            f"<h3>{escape(name)}</h3>",
            draw_bars(bars, f"verdicts of {name}"),
            f"<p>{100 * benchmark['syntax_valid']:.1f} % of the completions parse.</p>",
        ]
    body += [
        "<h2>Lines that parse</h2>",
        draw_ranges(_line_ranges(scores), "share of lines that parse"),
        _html_table(("author", "lines that parse", "interval", "lines"), line_rows(scores)),
        "<h2>Published results</h2>",
        _html_table(
            ("model", "parameters", "pass@1", "@10", "@100", "n", "temperature", "source"),
            published_rows(scores),
        ),
        f'<p class="soft">Self-check: {escape(selfcheck_text(scores))}.</p>',
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Scores</title>'
        f"<style>{STYLE}</style></head><body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def pass_rows(scores: Scores) -> list[tuple[str, ...]]:
    """A row for each benchmark and k."""
    return [
        (
            f"{name} (n = {benchmark['n']})",
            f"pass@{k}",
            _percent(interval["value"]),
            _span(interval),
        )
        for name, benchmark in scores["benchmarks"].items()
        for k, interval in benchmark["pass_at_k"].items()
    ]


def verdict_rows(scores: Scores) -> list[tuple[str, ...]]:
    """A row for each benchmark and verdict."""
    return [
        (name, verdict, f"{number:,}")
        for name, benchmark in scores["benchmarks"].items()
        for verdict, number in benchmark["verdicts"].items()
    ]


def line_rows(scores: Scores) -> list[tuple[str, ...]]:
    """A row for each author; no share where no line counts."""
    return [
        (
            author,
            _percent(score["share"]) if score["lines"] else "-",
            _span(score) if score["lines"] else "-",
            f"{score['lines']:,}",
        )
        for author, score in scores["lines"].items()
    ]


def published_rows(scores: Scores) -> list[tuple[str, ...]]:
    """The published table, values in per cent."""
    names = ("pass_at_1", "pass_at_10", "pass_at_100")
    return [
        (
            row["model"],
            row["parameters"],
            *("-" if row[name] is None else f"{row[name]:.2f}" for name in names),
            str(row["samples_per_problem"] or "-"),
            row["temperature"] or "-",
            row["source"],
        )
        for row in scores["published"]
    ]


def notes(scores: Scores) -> list[str]:
    """What limits the scores: k left out, samples that the sandbox could not judge, few lines."""
    texts = list(scores["warnings"])
    for name, benchmark in scores["benchmarks"].items():
        if benchmark["k_left_out"]:
            left_out = ", ".join(f"pass@{k}" for k in benchmark["k_left_out"])
            texts.append(f"{name}: no {left_out}, each problem has {benchmark['n']} samples.")
        if not benchmark["verdicts"].get("passed"):
            bound = 1 - (1 - scores["bootstrap"]["level"]) ** (1 / benchmark["problems"])
            texts.append(
                f"{name}: no problem was solved, so the bootstrap's interval has no width; "
                f"{benchmark['problems']} problems without a pass bound the share of problems that "
                f"the model solves by {100 * bound:.2f} % only."
            )
        if broken := benchmark["verdicts"].get("infra_error"):
            texts.append(f"{name}: {broken:,} samples without a verdict count as not passed.")
    return texts


def selfcheck_text(scores: Scores) -> str:
    """The self-check in words."""
    return "; ".join(
        f"{name}: {check['canonical_passed']} of {check['problems']} reference solutions pass, "
        f"{check['empty_passed']} empty completions pass"
        for name, check in scores["selfcheck"].items()
    )


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


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _span(interval: Mapping[str, float]) -> str:
    return f"{100 * interval['low']:.2f} to {100 * interval['high']:.2f} %"


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    titles = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"
