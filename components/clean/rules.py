"""The rules: each looks at a document and returns the reason to drop it, or None.

A rule whose field has its off-value returns None. Cheap rules stand first; the first reason wins.
"""

import fnmatch
import hashlib
import re
from collections.abc import Callable, Mapping

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
    if config.licenses and not is_allowed(view.license, config.licenses):
        return "license_not_allowed"
    return None


def too_large(view: DocumentView, config: CleanConfig) -> str | None:
    """More bytes than the limit."""
    if config.max_bytes and len(view.data) > config.max_bytes:
        return "too_large"
    return None


def generated(view: DocumentView, config: CleanConfig) -> str | None:
    """A marker of generated files in the first lines."""
    if not (config.generated_lines and config.generated_markers):
        return None
    head = view.head(config.generated_lines)
    if any(marker.casefold() in head for marker in config.generated_markers):
        return "generated"
    return None


def blank(view: DocumentView, config: CleanConfig) -> str | None:  # noqa: ARG001
    """Nothing but white space; always dropped."""
    return "blank" if _BLANK.fullmatch(view.data) else None


def too_few_lines(view: DocumentView, config: CleanConfig) -> str | None:
    """Fewer lines than the limit."""
    return "too_few_lines" if len(view.line_lengths) < config.min_lines else None


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


def too_few_assignments(view: DocumentView, config: CleanConfig) -> str | None:
    """CodeParrot's measure of data and of scripts that compute nothing."""
    return "too_few_assignments" if view.data.count(b"=") < config.min_assignments else None


def no_keyword(view: DocumentView, config: CleanConfig) -> str | None:
    """No function, class or loop."""
    share = config.no_keyword_drop_share
    if not share or any(word in view.lower for word in _KEYWORDS):
        return None
    return "no_keyword" if _is_drawn(view.data, "no_keyword", share) else None


def config_or_test(view: DocumentView, config: CleanConfig) -> str | None:
    """A configuration or a test, by CodeParrot's signs: what the head says, or frequent words."""
    share = config.config_or_test_drop_share
    if not share:
        return None
    allowed = int(CONFIG_OR_TEST_PER_NEWLINE * view.data.count(b"\n"))
    frequent = any(view.lower.count(word) > allowed for word in (b"config", b"test"))
    if not frequent:
        head = view.head(CONFIG_OR_TEST_LINES)
        if not any(words in head for words in ("unit tests", "test file", "configuration file")):
            return None
    return "config_or_test" if _is_drawn(view.data, "config_or_test", share) else None


def xml(view: DocumentView, config: CleanConfig) -> str | None:
    """XML under another name."""
    if not config.drop_xml:
        return None
    head = view.data[: 4 * XML_CHARS].decode(errors="ignore")[:XML_CHARS]
    return "xml" if "<?xml version=" in head else None


def too_little_html_text(view: DocumentView, config: CleanConfig) -> str | None:
    """A page that shows less text than it has of markup, scripts and styles."""
    if not (config.min_html_text_share or config.min_html_text_chars):
        return None
    seen = len(_MARKUP.sub(b"", _INVISIBLE.sub(b"", view.data)).decode())
    enough = (
        seen > config.min_html_text_share * view.num_chars and seen > config.min_html_text_chars
    )
    return None if enough else "too_little_html_text"


CONFIG_OR_TEST_LINES, CONFIG_OR_TEST_PER_NEWLINE = 5, 0.05
XML_CHARS = 100
"""CodeParrot's `scan_width` and `coeff`; BigCode's head."""

_KEYWORDS = (b"def ", b"class ", b"for ", b"while ")
_BLANK = re.compile(rb"(?:\xef\xbb\xbf|[ \t\r\n\f\v])*")
_INVISIBLE = re.compile(
    rb"<!--.*?-->|<(script|style)\b[^>]*>.*?</\1\s*>", re.IGNORECASE | re.DOTALL
)
_MARKUP = re.compile(rb"<[^>]*>")


def _is_drawn(data: bytes, rule: str, share: float) -> bool:
    """Whether a document is of the share that a rule drops: by hash, so the same in every run."""
    number = int.from_bytes(hashlib.sha256(rule.encode() + b"\0" + data).digest()[:8], "big")
    return number < share * 2**64


HOLDS_FOR: Mapping[str, frozenset[str]] = {
    "too_few_assignments": frozenset({"Python"}),
    "no_keyword": frozenset({"Python"}),
    "too_little_html_text": frozenset({"HTML"}),
}
"""The languages of the rules that hold for some only, by the rule's name; others hold for every."""

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
    too_few_assignments,
    config_or_test,
    no_keyword,
    xml,
    too_little_html_text,
)
"""Rules on what is left without the licence header."""


def first_reason(rules: tuple[Rule, ...], view: DocumentView, config: CleanConfig) -> str | None:
    """The reason of the first rule that drops a document, None where all keep it."""
    for rule in rules:
        holds_for = HOLDS_FOR.get(rule.__name__)
        if holds_for is not None and view.language not in holds_for:
            continue
        reason = rule(view, config)
        if reason is not None:
            return reason
    return None
