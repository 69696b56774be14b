"""The report's sections on what the model can do."""

from collections.abc import Mapping
from typing import Any

from components.publishing.charts import Bar, Interval, draw_bars, draw_intervals
from components.publishing.facts import Facts
from components.publishing.grids import describe_texts, draw_exposure, draw_temperatures
from components.publishing.page import Section, draw_note, draw_table
from components.publishing.quantities import spell_share
from components.publishing.sections import draw_settings
from components.publishing.tables import (
    AUTHOR_TITLES,
    HUMANEVAL,
    benchmark_title,
    benchmarks_of,
    bound_of_none,
    in_text,
    published_results,
    spell_published,
    spell_sampling,
    warnings_of,
)
from components.stage.escaping import escape_html

NUM_DETAILS = 6
VERDICT_TITLES = {
    "passed": "passed",
    "failed": "failed",
    "timeout": "ran too long",
    "crashed": "crashed",
    "memory": "out of memory",
    "output": "unreadable answer",
    "infra_error": "sandbox failed",
}


def describe_pass_rates(facts: Facts) -> Section:
    """pass@k with intervals by benchmark, published results beside HumanEval's."""
    parts = []
    for name, score in benchmarks_of(facts).items():
        title = benchmark_title(name)
        rows = [_own_interval(k, bounds) for k, bounds in _by_k(score)]
        if name == HUMANEVAL:
            rows += _published_intervals(facts)
        picture = draw_intervals(rows, f"pass@k on {title}")
        parts += [f"<h3>{escape_html(title)}</h3>", f"<p>{_describe_score(score)}</p>", picture]
        parts += [draw_temperatures(score), draw_exposure(score), draw_note(describe_texts(score))]
    parts += [draw_note(f"Warning: {text}") for text in warnings_of(facts, about_lines=False)]
    bootstrap = facts.scores["bootstrap"]
    note = (
        f"Whiskers are {spell_share(bootstrap['level'], 0)} bootstrap intervals over problems "
        f"({bootstrap['resamples']:,} resamples). Hollow dots are published figures of other "
        "models at pass@1, without intervals; they were sampled and judged by other programs."
    )
    parts += [draw_note(note), _selfcheck(facts)]
    parts.append(draw_settings(facts.settings("samples"), "How samples were drawn"))
    return Section("pass", "pass@k", "".join(parts))


def _by_k(score: Mapping[str, Any]) -> list[tuple[int, Mapping[str, float]]]:
    return sorted((int(k), bounds) for k, bounds in score["pass_at_k"].items())


def _own_interval(k: int, bounds: Mapping[str, float]) -> Interval:
    spread = f"  ({spell_share(bounds['low'])} to {spell_share(bounds['high'])})"
    return Interval(
        label=f"this model, pass@{k}",
        value=bounds["value"],
        low=bounds["low"],
        high=bounds["high"],
        text=spell_share(bounds["value"], 2) + (spread if bounds["value"] else ""),
    )


def _published_intervals(facts: Facts) -> list[Interval]:
    """Published pass@1 by value: single figures, without intervals."""
    results = sorted(published_results(facts), key=lambda result: result["pass_at_1"])
    return [
        Interval(
            label=f"{result['model']} {result['parameters']}",
            value=result["pass_at_1"] / 100,
            low=result["pass_at_1"] / 100,
            high=result["pass_at_1"] / 100,
            text=spell_published(result, 1),
            style="other",
        )
        for result in results
    ]


def _describe_score(score: Mapping[str, Any]) -> str:
    passed, total = score["verdicts"].get("passed", 0), sum(score["verdicts"].values())
    if passed:
        return f"{passed:,} of {total:,} samples of {score['problems']:,} problems passed."
    return (
        f"No sample passed: 0 of {total:,} samples of {score['problems']:,} problems. With none of "
        f"{score['problems']:,} problems solved, the true share of problems that such samples "
        f"solve lies below {spell_share(bound_of_none(score['problems']))} with 95 % confidence."
    )


def _selfcheck(facts: Facts) -> str:
    checks = "; ".join(
        f"{benchmark_title(name)} {check['canonical_passed']:,} of {check['problems']:,} reference "
        f"solutions passed, {check['empty_passed']:,} of {check['problems']:,} empty ones"
        for name, check in facts.scores["selfcheck"].items()
    )
    return draw_note(f"Self-check of the judge: {checks}.")


def describe_verdicts(facts: Facts) -> Section:
    """What became of the samples, and of which errors they died."""
    parts = []
    for name, score in benchmarks_of(facts).items():
        parts.append(
            f'<div class="pair"><div><h3>{escape_html(benchmark_title(name))}: verdicts</h3>'
            f"{_count_bars(score['verdicts'], len(VERDICT_TITLES))}</div>"
            f"<div><h3>Why they failed</h3>{_count_bars(score['verdict_details'], NUM_DETAILS)}"
            "</div></div>"
        )
    valid = "; ".join(
        f"{spell_share(score['syntax_valid'])} of the samples for {in_text(name)}"
        for name, score in benchmarks_of(facts).items()
    )
    note = f"With their prompt, {valid} parse as Python."
    return Section("verdicts", "Verdicts", "".join(parts) + draw_note(note))


def _count_bars(counts: Mapping[str, int], limit: int) -> str:
    total = max(1, sum(counts.values()))
    rows = sorted(((n, name) for name, n in counts.items() if n), key=lambda r: (-r[0], r[1]))
    bars = [
        Bar(
            label=VERDICT_TITLES.get(name, name) or "no detail",
            share=number / total,
            text=f"{number:,}, {spell_share(number / total)}",
            style="good" if name == "passed" else "other",
        )
        for number, name in rows[:limit]
    ]
    more = f"and {len(rows) - limit} rarer ones" if len(rows) > limit else ""
    return draw_bars(bars) + (draw_note(more) if more else "")


def describe_lines(facts: Facts) -> Section:
    """How many of the lines that each author wrote parse."""
    text = (
        "The trained model, the same model before training, and the real authors each continue "
        "the same prefixes of held-out files. This is the share of lines that parse as Python."
    )
    styles = {"trained": "ours", "untrained": "other", "real": "real"}
    lines = facts.scores["lines"]
    rows = [
        Interval(
            label=AUTHOR_TITLES.get(author, author),
            value=lines[author]["share"],
            low=lines[author]["low"],
            high=lines[author]["high"],
            text=f"{spell_share(lines[author]['share'])} of {lines[author]['lines']:,}",
            style=styles.get(author, "ours"),
        )
        for author in sorted(lines, key=lambda author: [*styles, author].index(author))
    ]
    if not rows:
        return Section("lines", "Lines that parse", draw_note("No continuations were scored."))
    picture = draw_intervals(rows, "Share of lines that parse")
    warnings = "".join(
        draw_note(f"Warning: {text}") for text in warnings_of(facts, about_lines=True)
    )
    return Section("lines", "Lines that parse", f"<p>{escape_html(text)}</p>{picture}{warnings}")


def describe_published(facts: Facts) -> Section:
    """This model's HumanEval beside what others published, as a table."""
    score = facts.scores["benchmarks"].get(HUMANEVAL)
    rows = []
    if score is not None:
        values = {k: spell_share(bounds["value"], 2) for k, bounds in _by_k(score)}
        cells = [values.get(k, "") for k in (1, 10, 100)]
        name = f"<b>{escape_html(facts.config.title)}</b>"
        rows.append([name, "this run", f"n {score['n']}", *cells])
    for result in published_results(facts):
        name = f"{result['model']} {result['parameters']}"
        about = (name, result["source"], spell_sampling(result))
        cells = [spell_published(result, k) for k in (1, 10, 100)]
        rows.append([*map(escape_html, about), *cells])
    head = ("HumanEval", "source", "sampling", "pass@1", "pass@10", "pass@100")
    return Section("published", "Beside published models", draw_table(head, rows, texts=3))
