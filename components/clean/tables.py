"""The rules that held, with their thresholds and what each dropped, for people."""

from collections import Counter
from collections.abc import Iterator, Mapping

from components.artifacts.tally import Tally
from components.clean.config import CleanConfig
from components.clean.rules import HOLDS_FOR
from components.clean.sensitive import KINDS

EVERY = "every"
MAX_REASONS = 3
"""Reasons that the table by language names, the most frequent first."""


def rules_markdown(config: CleanConfig, tally: Tally) -> str:
    """A table of the rules that were on, in the order in which they were asked."""
    counts = tally.counts
    lines = [
        "Rules in the order in which they are asked; the first reason counts.",
        "",
        "| rule | drops | languages | files | MB |",
        "|---|---|---|---|---|",
    ]
    for reason, condition, languages in active_rules(config):
        files, size = tally.drops.get(reason, (0, 0))
        lines.append(f"| {reason} | {condition} | {languages} | {files:,} | {size / 1e6:,.2f} |")
    if config.strip_license_header:
        lines += [
            "",
            f"Licence headers cut off: {counts.get('headers_stripped', 0):,} documents, "
            f"{counts.get('header_bytes_stripped', 0) / 1e6:,.2f} MB.",
        ]
    if config.redact:
        lines += ["", *_redaction_lines(counts)]
    lines += ["", *_language_lines(tally)]
    return "\n".join(lines) + "\n"


def active_rules(config: CleanConfig) -> Iterator[tuple[str, str, str]]:
    """Reason, condition and languages of every rule that a config switches on."""
    for reason, condition, active in _conditions(config):
        if active:
            yield reason, condition, ", ".join(sorted(HOLDS_FOR.get(reason, {EVERY})))
    if config.syntax_version:
        limits = f"{config.syntax_cpu_s} CPU s, {config.syntax_memory_bytes / 1e6:,.0f} MB"
        yield "syntax_error", f"no Python {config.syntax_version}", "Python"
        yield "syntax_crash", f"the parser gave up or died ({limits})", "Python"
        yield "syntax_timeout", f"the parser took over {config.syntax_cpu_s} CPU s", "Python"
        if config.redact:
            yield "redaction_breaks_syntax", "parses only unredacted", "Python"


def _conditions(config: CleanConfig) -> list[tuple[str, str, bool]]:
    """Reason, condition, and whether the rule is on; the order is that of `rules.py`."""
    c = config
    share = c.min_alphanumeric_share
    return [
        ("language_not_wanted", f"none of {_names(c.languages)}", bool(c.languages)),
        ("excluded_name", f"named {_names(c.excluded_names)}", bool(c.excluded_names)),
        ("license_not_allowed", f"outside {_names(c.licenses)}", bool(c.licenses)),
        ("too_large", f"over {c.max_bytes:,} bytes", bool(c.max_bytes)),
        (
            "generated",
            f"in the first {c.generated_lines} lines {_names(c.generated_markers)}",
            bool(c.generated_markers and c.generated_lines),
        ),
        ("blank", "nothing but white space", True),
        ("too_few_lines", f"under {c.min_lines} lines", bool(c.min_lines)),
        ("max_line_too_long", f"a line over {c.max_line_length:,}", bool(c.max_line_length)),
        (
            "mean_line_too_long",
            f"mean line over {c.max_mean_line_length:g}",
            bool(c.max_mean_line_length),
        ),
        (
            "too_many_chars_per_newline",
            f"over {c.max_chars_per_newline:g} characters a newline",
            bool(c.max_chars_per_newline),
        ),
        ("too_many_digits", f"over {c.max_digit_share:g} digits", c.max_digit_share < 1),
        ("low_alphanumeric_share", f"under {share:g} {c.alphanumeric_of}", bool(share)),
        ("too_few_assignments", f"under {c.min_assignments} `=`", bool(c.min_assignments)),
        (
            "config_or_test",
            f"{c.config_or_test_drop_share:g} of what looks like configuration or tests",
            bool(c.config_or_test_drop_share),
        ),
        (
            "no_keyword",
            f"{c.no_keyword_drop_share:g} of those without function, class or loop",
            bool(c.no_keyword_drop_share),
        ),
        ("xml", "an XML declaration in the head", c.drop_xml),
        (
            "too_little_html_text",
            f"at most {c.min_html_text_share:g} or {c.min_html_text_chars} characters to be seen",
            bool(c.min_html_text_share or c.min_html_text_chars),
        ),
    ]


def _redaction_lines(counts: Mapping[str, int]) -> list[str]:
    """Finds by kind."""
    lines = [
        f"Redacted: {counts.get('files_redacted', 0):,} documents.",
        "",
        "| kind | finds |",
        "|---|---|",
    ]
    kinds = {kind.name: counts.get(f"redacted/{kind.name}", 0) for kind in KINDS}
    return lines + [f"| {name} | {number:,} |" for name, number in kinds.items() if number]


def _language_lines(tally: Tally) -> list[str]:
    """What came in, was dropped and stays, by language."""
    drops: dict[str, Counter[str]] = {language: Counter() for language in tally.languages}
    for name, number in tally.counts.items():
        if name.startswith("dropped/"):
            language, reason = name.removeprefix("dropped/").rsplit("/", 1)
            drops.setdefault(language, Counter())[reason] = number
    lines = [
        "| language | files in | dropped | kept | MB kept | most of the drops |",
        "|---" * 6 + "|",
    ]
    for language, reasons in sorted(drops.items()):
        kept, size = tally.languages.get(language, (0, 0))
        largest = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:MAX_REASONS]
        most = ", ".join(f"{reason} {number:,}" for reason, number in largest)
        dropped = reasons.total()
        lines.append(
            f"| {language} | {kept + dropped:,} | {dropped:,} | {kept:,} | {size / 1e6:,.2f} "
            f"| {most or '-'} |"
        )
    return lines


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)
