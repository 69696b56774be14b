"""The report's sections on what went in and how it was trained."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.artifacts.tally import Amount
from components.publishing.charts import Bar, Series, draw_bars, draw_lines
from components.publishing.facts import Facts
from components.publishing.funnel import draw_funnel
from components.publishing.licenses import UNKNOWN, is_copyleft
from components.publishing.page import Section, draw_details, draw_note, draw_table
from components.publishing.quantities import (
    ratio,
    spell_bytes,
    spell_count,
    spell_files,
    spell_share,
)
from components.publishing.tables import (
    HUMANEVAL,
    benchmark_title,
    benchmarks_of,
    describe_start,
    funnel_stages,
    gather_small,
    largest_first,
    license_shares,
    lowest_k,
    spell_setting,
)
from components.stage.escaping import escape_html

NUM_BARS = 10

MIN_PICTURED_SHARE = 0.3
"""Of the bytes found: where the crawl keeps less, the funnel's picture starts after it."""

MIN_LINES_OF_A_SHARE = 100
"""Fewer lines are shown as counts in the headline."""


def draw_lead(facts: Facts) -> str:
    """Under the title: the run in one sentence, then its headline numbers."""
    corpus, measures, shape = facts.corpus, facts.measures, facts.architecture
    names = [name for name, _ in largest_first(corpus.languages)][:2]
    sentence = (
        f"A GPT-Neo of {spell_count(measures['parameters'])} parameters and {shape['num_layers']} "
        f"layers, {describe_start(facts)} on {spell_bytes(corpus.splits['training'][1])} of "
        f"{' and '.join(names) or 'code'}. {len(corpus.repositories):,} repositories in all, "
        "those held out included."
    )
    tiles = "".join(
        f"<div><dt>{escape_html(name)}</dt><dd>{escape_html(value)}</dd>"
        f'<dd class="aside">{escape_html(aside)}</dd></div>'
        for name, value, aside in _headlines(facts)
    )
    return f'<p class="lead">{escape_html(sentence)}</p>\n<dl class="tiles">{tiles}</dl>'


def _headlines(facts: Facts) -> list[tuple[str, str, str]]:
    """Name, value, and what to hold it against."""
    measures, corpus, stages = facts.measures, facts.corpus, funnel_stages(facts)
    rows = [
        (
            "corpus kept",
            spell_bytes(corpus.bytes),
            f"of {spell_bytes(stages[0].came[1])} found",
        ),
        (
            "tokens read",
            spell_count(measures["tokens_trained"]),
            f"{ratio(measures['tokens_trained'], corpus.tokens['training']):,.1f} times the corpus",
        ),
        (
            "bits per byte",
            f"{measures['bits_per_byte']:.3f}",
            f"untrained {measures['bits_per_byte_untrained']:.3f}",
        ),
    ]
    lines = facts.scores["lines"]
    if "trained" in lines:
        against = ", ".join(
            f"{author} {_lines_share(lines[author])}".replace(" ", "\N{NO-BREAK SPACE}")
            for author in ("untrained", "real")
            if author in lines
        )
        rows.append(("lines that parse", _lines_share(lines["trained"]), against))
    for name, score in benchmarks_of(facts).items():
        if (lowest := lowest_k(score)) is not None:
            k, bounds = lowest
            value = spell_share(bounds["value"], 2 if name == HUMANEVAL else 1)
            rows.append((f"pass@{k}, {benchmark_title(name)}", value, _spread(score, bounds)))
    return rows


def _lines_share(lines: Mapping[str, Any]) -> str:
    """The share of lines that parse; counts where a percentage would pretend to precision."""
    if lines["lines"] < MIN_LINES_OF_A_SHARE:
        return f"{lines['parsed']:,} of {lines['lines']:,}"
    return spell_share(lines["share"], 0)


def _spread(score: Mapping[str, Any], bounds: Mapping[str, float]) -> str:
    """The interval of pass@k; where nothing passed there is none to give."""
    if not score["verdicts"].get("passed", 0):
        return f"none of {score['problems']:,} problems"
    return f"{spell_share(bounds['low'])} to {spell_share(bounds['high'])}"


def describe_corpus(facts: Facts) -> Section:
    """The funnel, as a picture and as a table."""
    stages = funnel_stages(facts)
    rows: list[list[str]] = []
    for stage in stages:
        came = stage.came[1]
        rows.append(_funnel_row(f"<b>{escape_html(stage.name)}</b>", "in", stage.came, came))
        rows += [
            _funnel_row("", f"\u2212 {reason}", amount, came) for reason, amount in stage.reasons
        ]
        rows.append(_funnel_row("", "kept", stage.kept, came))
    table = draw_table(("step", "documents", "files", "size", "share"), rows, texts=2)
    first, last = stages[0], stages[-1]
    text = (
        f"{spell_files(first.came[0])} were found and {spell_files(last.kept[0])} kept. Every file "
        "that is missing at the end left for a reason that is counted here."
    )
    pictured, start = stages, "found"
    if first.kept[1] < MIN_PICTURED_SHARE * first.came[1]:
        # A crawl that takes a small share of what it sees leaves a stream too thin to read.
        pictured, start = stages[1:], "crawled"
        text += (
            f" The crawl took {spell_bytes(first.kept[1])} of {spell_bytes(first.came[1])}; the "
            "picture starts there."
        )
    body = f"<p>{escape_html(text)}</p>{draw_funnel(pictured, start)}"
    return Section(
        "corpus", "Corpus", body + draw_details("Every reason, in files and bytes", table)
    )


def _funnel_row(step: str, what: str, amount: Amount, whole: int) -> list[str]:
    files, size = amount
    return [
        step,
        escape_html(what),
        f"{files:,}",
        spell_bytes(size),
        spell_share(ratio(size, whole)),
    ]


def describe_licenses(facts: Facts) -> Section:
    """What the training data may be used for, and what it is written in."""
    corpus = facts.corpus
    copyleft, unknown = license_shares(facts)
    text = (
        f"By bytes, {spell_share(copyleft)} stand under a copyleft licence and "
        f"{spell_share(unknown)} under none that could be read."
    )
    licenses = [
        Bar(label=name, share=share, text=value, style=_license_style(name))
        for name, share, value in _amount_bars(corpus.licenses)
    ]
    languages = [
        Bar(label=name, share=share, text=value)
        for name, share, value in _amount_bars(corpus.languages)
    ]
    legend = (
        '<p class="legend"><span class="key ours"></span>permissive or other '
        '<span class="key real"></span>copyleft <span class="key other"></span>unknown</p>'
    )
    body = (
        f'<p>{escape_html(text)}</p><div class="pair"><div><h3>Licences</h3>{draw_bars(licenses)}'
        f"{legend}</div><div><h3>Languages</h3>{draw_bars(languages)}</div></div>"
    )
    return Section("licences", "Licences and languages", body)


def _amount_bars(totals: Mapping[str, Amount]) -> list[tuple[str, float, str]]:
    rows = gather_small(largest_first(totals), NUM_BARS)
    whole = sum(size for _, size in totals.values())
    longest = max((size for _, (_, size) in rows), default=0)
    return [
        (name, ratio(size, longest), f"{spell_bytes(size)}, {spell_share(ratio(size, whole))}")
        for name, (_, size) in rows
    ]


def _license_style(name: str) -> str:
    if name == UNKNOWN:
        return "other"
    return "real" if is_copyleft(name) else "ours"


def describe_tokens(facts: Facts) -> Section:
    """The vocabulary and what a token stands for."""
    corpus = facts.corpus
    text = (
        f"A vocabulary of {facts.architecture['vocab_size']:,} tokens; one token stands for "
        f"{corpus.bytes_per_token:.2f} bytes of this corpus. Repositories are either trained on or "
        "held out, never both. Every file ends with one more token."
    )
    rows = [
        [
            escape_html(split),
            f"{files:,}",
            spell_bytes(size),
            f"{corpus.tokens[split]:,}",
            f"{ratio(size, corpus.tokens[split] - files):.2f}",
        ]
        for split, (files, size) in corpus.splits.items()
    ]
    head = ("split", "files", "size", "tokens", "bytes per token")
    settings = draw_settings(facts.settings("tokenizer"), "Tokenizer settings")
    return Section(
        "tokens", "Tokens", f"<p>{escape_html(text)}</p>{draw_table(head, rows)}{settings}"
    )


def describe_training(facts: Facts) -> Section:
    """The loss curve, and bits per byte against the untrained model."""
    losses = [
        Series(
            name="training",
            points=[(r["step"], r["training_loss"]) for r in facts.records if "training_loss" in r],
            style="ours faint",
        ),
        Series(
            name="held out",
            points=[
                (r["step"], r["validation_loss"]) for r in facts.records if "validation_loss" in r
            ],
            style="real",
            marked=True,
        ),
    ]
    chart = draw_lines(losses, "Loss by training step", "step", "loss, nats per token")
    before, after = facts.measures["bits_per_byte_untrained"], facts.measures["bits_per_byte"]
    most = max(before, after)
    bars = draw_bars(
        [
            Bar(label="untrained", share=ratio(before, most), text=f"{before:.3f}", style="other"),
            Bar(label="trained", share=ratio(after, most), text=f"{after:.3f}"),
        ]
    )
    note = (
        f"Bits per byte over {spell_bytes(facts.measures['validation_bytes'])} of held-out "
        "repositories: the loss per token, divided by the bytes that a token stands for, so models "
        "with different tokenizers compare. Lower is better; 8 is no compression at all."
    )
    body = (
        f"{chart}<h3>Bits per byte on held-out repositories</h3>{bars}{draw_note(note)}"
        f"{draw_settings(facts.settings('model'), 'Training settings')}"
    )
    return Section("training", "Training", body)


def draw_settings(settings: Mapping[str, object], summary: str) -> str:
    """A step's settings, folded."""
    rows: Sequence[Sequence[str]] = [
        [escape_html(name), escape_html(spell_setting(value))] for name, value in settings.items()
    ]
    return draw_details(summary, draw_table(("setting", "value"), rows, texts=2))
