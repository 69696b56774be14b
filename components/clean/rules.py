"""The rules: each looks at a document and returns the reason to drop it, or None.

A rule whose field has its off-value returns None. Cheap rules stand first; the first reason wins.
"""

import fnmatch
from collections.abc import Callable

from components.artifacts.licenses import is_allowed
from components.clean.config import CleanConfig
from components.clean.view import DocumentView

Rule = Callable[[DocumentView, CleanConfig], str | None]


def language_not_wanted(view: DocumentView, config: CleanConfig) -> str | None:
    """A language outside the allow-list."""
    if config.languages and view.language not in config.languages:
        return "language_not_wanted"
    return None


def excluded_name(view: DocumentView, config: CleanConfig) -> str | None:
    """A file name of generated or meaningless files."""
    if any(fnmatch.fnmatchcase(view.name, pattern) for pattern in config.excluded_names):
        return "excluded_name"
    return None


def license_not_allowed(view: DocumentView, config: CleanConfig) -> str | None:
    """A licence outside the allow-list."""
    if config.licenses and not is_allowed(view.license, frozenset(config.licenses)):
        return "license_not_allowed"
    return None


def too_large(view: DocumentView, config: CleanConfig) -> str | None:
    """More bytes than the limit."""
    if config.max_bytes and len(view.data) > config.max_bytes:
        return "too_large"
    return None


def generated(view: DocumentView, config: CleanConfig) -> str | None:
    """A marker of generated files in the first lines."""
    head = "\n".join(view.lines[: config.generated_lines]).casefold()
    if any(marker.casefold() in head for marker in config.generated_markers):
        return "generated"
    return None


def blank(view: DocumentView, config: CleanConfig) -> str | None:  # noqa: ARG001
    """Nothing but white space; always dropped."""
    return "blank" if not view.content.strip("\ufeff \t\r\n\f\v") else None


def too_few_lines(view: DocumentView, config: CleanConfig) -> str | None:
    """Fewer lines than the limit."""
    return "too_few_lines" if len(view.lines) < config.min_lines else None


def max_line_too_long(view: DocumentView, config: CleanConfig) -> str | None:
    """One line longer than the limit: data, or minified."""
    if config.max_line_length and view.longest_line_length > config.max_line_length:
        return "max_line_too_long"
    return None


def mean_line_too_long(view: DocumentView, config: CleanConfig) -> str | None:
    """Lines longer than the limit on average."""
    if config.max_mean_line_length and view.mean_line_length > config.max_mean_line_length:
        return "mean_line_too_long"
    return None


def too_many_chars_per_newline(view: DocumentView, config: CleanConfig) -> str | None:
    """GPT-CC's measure of long lines."""
    if config.max_chars_per_newline and view.chars_per_newline > config.max_chars_per_newline:
        return "too_many_chars_per_newline"
    return None


def too_many_digits(view: DocumentView, config: CleanConfig) -> str | None:
    """A larger share of digits than the limit: data."""
    if config.max_digit_share < 1 and view.digit_share > config.max_digit_share:
        return "too_many_digits"
    return None


def low_alphanumeric_share(view: DocumentView, config: CleanConfig) -> str | None:
    """A smaller share of plain characters than the limit: another script, or binary in disguise."""
    limit, comments = config.min_alphanumeric_share, config.min_comment_alphanumeric_share
    if not limit:
        return None
    plain = config.alphanumeric_of == "printable_ascii"
    share = view.printable_share(comments) if plain else view.alphanumeric_share(comments)
    return "low_alphanumeric_share" if share < limit else None


BEFORE_STRIPPING: tuple[Rule, ...] = (
    language_not_wanted,
    excluded_name,
    license_not_allowed,
    too_large,
    generated,
)
"""Rules on the file as it came."""

AFTER_STRIPPING: tuple[Rule, ...] = (
    blank,
    generated,
    too_few_lines,
    max_line_too_long,
    mean_line_too_long,
    too_many_chars_per_newline,
    too_many_digits,
    low_alphanumeric_share,
)
"""Rules on what is left without the licence header."""


def first_reason(rules: tuple[Rule, ...], view: DocumentView, config: CleanConfig) -> str | None:
    """The reason of the first rule that drops a document, None where all keep it."""
    for rule in rules:
        reason = rule(view, config)
        if reason is not None:
            return reason
    return None
