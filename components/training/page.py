"""The report of a run as one self-contained page: curves, results, held-out repositories."""

import html
from collections.abc import Mapping, Sequence

from components.stage.summary import format_number
from components.training.plot import Series, line_plot
from components.training.records import History, Row
from components.training.validation import Score

MAX_REPOSITORIES = 40
"""Rows of the table by repository; the largest ones, the rest is one row."""

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --dim: #656d76; --line: #d1d9e0;
  --paper: #ffffff; --one: #0550ae; --two: #bc4c00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --dim: #9198a1; --line: #3d444d;
  --paper: #0d1117; --one: #58a6ff; --two: #f0883e; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 800px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
p { color: var(--dim); }
svg { width: 100%; height: auto; } svg text { font-size: 12px; fill: var(--dim); }
.grid { stroke: var(--line); } .axis { stroke: var(--dim); }
.curve { fill: none; stroke-width: 1.8; } .one { stroke: var(--one); } .two { stroke: var(--two); }
.dot { stroke: none; } .dot.one { fill: var(--one); } .dot.two { fill: var(--two); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
"""


def report_page(
    history: History,
    measures: Mapping[str, float],
    groups: Mapping[str, Mapping[str, Score]],
) -> str:
    """Make the page.

    Args:
        history: records and timings of the run.
        measures: results by name.
        groups: held-out scores by repository, source and language.
    """
    results = [(name.replace("_", " "), format_number(value)) for name, value in measures.items()]
    if history.timings:
        last = history.timings[-1]
        results.append(("seconds of training", format_number(last["seconds"])))
        results.append(("tokens per second", format_number(round(last["tokens_per_second"]))))
        results.append(("peak memory, MB", format_number(round(last["peak_memory_bytes"] / 1e6))))
        if "mfu" in last:
            results.append(("MFU", format_number(last["mfu"])))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Training</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        "<h1>Training</h1>"
        + _plots(history.records)
        + "<h2>Results</h2>"
        + _table(("measure", "value"), results)
        + "<h2>Held-out repositories</h2>"
        + "<p>No file of these repositories was trained on.</p>"
        + "".join(_table(group_head(name), group_rows(scores)) for name, scores in groups.items())
        + "</body></html>\n"
    )


def group_head(grouping: str) -> tuple[str, ...]:
    """The head of a table by repository, source or language."""
    return (grouping, "documents", "bytes", "tokens", "bits per byte")


def group_rows(scores: Mapping[str, Score]) -> list[tuple[str, ...]]:
    """Rows for a table, the largest group first."""
    largest = sorted(scores.items(), key=lambda item: (-item[1].bytes, item[0]))
    shown, rest = largest[:MAX_REPOSITORIES], [score for _, score in largest[MAX_REPOSITORIES:]]
    if rest:
        shown.append((f"{len(rest)} more", _sum(rest)))
    return [
        (
            name,
            f"{score.documents:,}",
            f"{score.bytes:,}",
            f"{score.tokens:,}",
            f"{score.bits_per_byte:.3f}",
        )
        for name, score in shown
    ]


def _sum(scores: Sequence[Score]) -> Score:
    return Score(
        documents=sum(score.documents for score in scores),
        tokens=sum(score.tokens for score in scores),
        bytes=sum(score.bytes for score in scores),
        nats=sum(score.nats for score in scores),
    )


def _plots(records: Sequence[Row]) -> str:
    training = [(row["step"], row["training_loss"]) for row in records if "training_loss" in row]
    held_out = [
        (row["step"], row["validation_loss"]) for row in records if "validation_loss" in row
    ]
    rates = [(row["step"], row["learning_rate"]) for row in records if "learning_rate" in row]
    losses = line_plot(
        [
            Series(name="training", points=training, style="one"),
            Series(name="held-out documents", points=held_out, style="two", dotted=True),
        ],
        "step",
        "loss, nats per token",
    )
    rate = line_plot([Series(name="peak of AdamW", points=rates, style="one")], "step", "rate")
    norms = [(row["step"], row["gradient_norm"]) for row in records if "gradient_norm" in row]
    norm = line_plot([Series(name="all gradients", points=norms, style="one")], "step", "norm")
    return f"<h2>Loss</h2>{losses}<h2>Learning rate</h2>{rate}<h2>Norm of the gradients</h2>{norm}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [_row("th", head)] + [_row("td", row) for row in rows]
    return f"<table>{''.join(lines)}</table>"


def _row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
