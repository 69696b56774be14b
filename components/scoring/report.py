"""The scores for people: rows of tables, and the tables in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.scoring.counts import spell_temperature

Scores = Mapping[str, Any]

SELECTION_NOTE = (
    "* the best temperature for this k, chosen on the problems it is scored by: optimistic."
)

PUBLISHED_HEAD = ("model", "parameters", "pass@1", "@10", "@100", "n", "temperature", "source")


def write_markdown(scores: Scores) -> str:
    """The scores as Markdown tables."""
    parts = [
        _markdown_table(("benchmark", "pass@k", "value", "interval"), pass_rows(scores)),
        *(f"**Warning.** {text}\n" for text in scores["warnings"]),
        *(_write_grid(name, benchmark) for name, benchmark in scores["benchmarks"].items()),
        _markdown_table(("benchmark", "problems", "number", "pass@k"), exposure_rows(scores)),
        _markdown_table(("benchmark", "verdict", "samples"), verdict_rows(scores)),
        _markdown_table(("benchmark", "completions", "share"), text_rows(scores)),
        _markdown_table(("author", "lines that parse", "interval", "lines"), line_rows(scores)),
        _markdown_table(PUBLISHED_HEAD, published_rows(scores)),
    ]
    return "\n".join(part for part in parts if part)


def _write_grid(name: str, benchmark: Scores) -> str:
    if not benchmark["selection"]:
        return ""
    tables = _markdown_table(*grid_table(benchmark))
    chosen = _markdown_table(SELECTION_HEAD, selection_rows(benchmark))
    return f"{name} by temperature:\n\n{tables}\n{SELECTION_NOTE}\n\n{chosen}"


def pass_rows(scores: Scores) -> list[tuple[str, ...]]:
    """A row for each benchmark and k."""
    return [
        (
            f"{name} (n = {benchmark['n']}, {spell_temperatures(benchmark)})",
            f"pass@{k}",
            percent(interval["value"]),
            span(interval),
        )
        for name, benchmark in scores["benchmarks"].items()
        for k, interval in benchmark["pass_at_k"].items()
    ]


def spell_temperatures(benchmark: Scores) -> str:
    """At which temperatures the samples were drawn."""
    heats = ", ".join(map(spell_temperature, benchmark["temperatures"]))
    return f"T chosen across halves of {heats}" if benchmark["selection"] else f"T = {heats}"


def grid_table(benchmark: Scores) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and rows of temperature by k; the best temperature of each k has a star."""
    ks = list(benchmark["pass_at_k"])
    rows = []
    for cell in benchmark["grid"]:
        values = [cell["pass_at_k"].get(k) for k in ks]
        stars = [
            " *" if benchmark["selection"].get(k, {}).get("best") == cell["temperature"] else ""
            for k in ks
        ]
        texts = [
            f"{percent(value['value'])} ({span(value)}){star}" if value else "-"
            for value, star in zip(values, stars, strict=True)
        ]
        rows.append((spell_temperature(cell["temperature"]), str(cell["n"]), *texts))
    return ("temperature", "n", *(f"pass@{k}" for k in ks)), rows


SELECTION_HEAD = ("pass@k", "chosen by each half", "on the other half", "together", "interval")


def selection_rows(benchmark: Scores) -> list[tuple[str, ...]]:
    """A row for each k: what each half of the problems chose, and how it did on the other."""
    return [
        (
            f"pass@{k}",
            " and ".join(f"T = {spell_temperature(half['chosen'])}" for half in choice["halves"]),
            " and ".join(percent(half["other_half"]) for half in choice["halves"]),
            percent(choice["value"]),
            span(choice),
        )
        for k, choice in benchmark["selection"].items()
    ]


def exposure_rows(scores: Scores) -> list[tuple[str, ...]]:
    """A row for each benchmark and what decontamination knows of its problems."""
    rows: list[tuple[str, ...]] = [
        (
            name,
            exposure,
            f"{part['problems']:,}",
            ", ".join(
                f"@{k} {percent(interval['value'])} ({span(interval)})"
                for k, interval in part["pass_at_k"].items()
            )
            or "-",
        )
        for name, benchmark in scores["benchmarks"].items()
        for exposure, part in benchmark["exposure"].items()
    ]
    return rows


def verdict_rows(scores: Scores) -> list[tuple[str, ...]]:
    """A row for each benchmark and verdict."""
    return [
        (name, verdict, f"{number:,}")
        for name, benchmark in scores["benchmarks"].items()
        for verdict, number in benchmark["verdicts"].items()
    ]


def text_rows(scores: Scores) -> list[tuple[str, ...]]:
    """Rows on what the completions look like, by benchmark."""
    rows: list[tuple[str, ...]] = []
    for name, benchmark in scores["benchmarks"].items():
        texts, total = benchmark["texts"], benchmark["samples"]
        shares = {
            "parse, with their prompt": benchmark["syntax_valid"],
            "repeat another of their problem": texts["duplicates"],
            "are blank": texts["blank"] / total,
            "begin with their prompt": texts["repeats_prompt"] / total,
            "had incomplete last lines trimmed": texts["trimmed"] / total,
        }
        rows += [(name, what, f"{100 * share:.1f} %") for what, share in shares.items()]
    return rows


def line_rows(scores: Scores) -> list[tuple[str, ...]]:
    """A row for each author; no share where no line counts."""
    return [
        (
            author,
            percent(score["share"]) if score["lines"] else "-",
            span(score) if score["lines"] else "-",
            f"{score['lines']:,}",
        )
        for author, score in scores["lines"].items()
    ]


def published_rows(scores: Scores) -> list[tuple[str, ...]]:
    """The published table, values in per cent; this model's HumanEval first."""
    names = ("pass_at_1", "pass_at_10", "pass_at_100")
    rows: list[tuple[str, ...]] = []
    if ours := scores["benchmarks"].get("humaneval"):
        values = [ours["pass_at_k"].get(k) for k in ("1", "10", "100")]
        rows.append(
            (
                "this model",
                "",
                *(f"{100 * value['value']:.2f}" if value else "-" for value in values),
                str(ours["n"]),
                spell_temperatures(ours).removeprefix("T = "),
                "this report",
            )
        )
    rows += [
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
    return rows


def selfcheck_text(scores: Scores) -> str:
    """The self-check in words."""
    return "; ".join(
        f"{name}: {check['canonical_passed']} of {check['canonical']} reference solutions pass, "
        f"{check['empty_passed']} empty completions pass"
        for name, check in scores["selfcheck"].items()
    )


def percent(share: float) -> str:
    """A share in per cent."""
    return f"{100 * share:.2f} %"


def span(interval: Mapping[str, float]) -> str:
    """Both ends of an interval in per cent."""
    return f"{100 * interval['low']:.2f} to {100 * interval['high']:.2f} %"


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
