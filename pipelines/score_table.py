"""Scores on a terminal: one table, what limits them, and the level that programs ran at."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from components.scoring.counts import spell_temperature
from components.scoring.report import percent, span

Scores = Mapping[str, Any]


def score_table(text: str, isolation_level: int) -> str:
    """The lines that `codekiln evaluate` prints, from the text of a `scores.json`."""
    scores: Scores = json.loads(text)
    rows = [row for item in scores["benchmarks"].items() for row in _rows(*item)]
    head = ["benchmark", "problems", "n", "temperature", "pass@k", "value", "interval"]
    lines = align([head, *rows])
    level = f"{100 * scores['bootstrap']['level']:g} %"
    lines.append(f"intervals: {level} of the bootstrap over problems")
    for name, benchmark in scores["benchmarks"].items():
        verdicts = ", ".join(f"{count:,} {what}" for what, count in benchmark["verdicts"].items())
        lines.append(
            f"{name}: {verdicts}; {100 * benchmark['syntax_valid']:.1f} % parse, "
            f"{100 * benchmark['texts']['duplicates']:.1f} % repeat another"
        )
    lines += [f"warning: {warning}" for warning in scores["warnings"]]
    lines.append(f"isolation: level L{isolation_level}")
    return "\n".join(lines) + "\n"


def _rows(name: str, benchmark: Scores) -> list[list[str]]:
    """A row for each temperature and k, then those chosen across halves."""
    about = [name, f"{benchmark['problems']:,}"]
    cells = [
        ([*about, str(cell["n"]), spell_temperature(cell["temperature"])], k, interval)
        for cell in benchmark["grid"]
        for k, interval in cell["pass_at_k"].items()
    ]
    cells += [
        ([*about, str(benchmark["n"]), "across halves"], k, choice)
        for k, choice in benchmark["selection"].items()
    ]
    return [
        [*start, f"pass@{k}", percent(bounds["value"]), span(bounds)] for start, k, bounds in cells
    ]


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of texts as columns, the first flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
