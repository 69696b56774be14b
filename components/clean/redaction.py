"""Secrets and personal data in a text, replaced by placeholders.

Two passes. RE2's set says in one run over the bytes which kinds may occur at all (nearly always
none); only these are then looked for with `re`, and checked one by one. What a text becomes depends
on the text alone, and a redacted text has nothing left to redact.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import re2

from components.clean.sensitive import KEY_LINE, KINDS, PRIVATE_KEY_BLOCK, Kind

SET_MEMORY_BYTES = 256_000_000
"""The most that RE2 may take for its automaton; it takes a fraction."""


@dataclass(frozen=True, slots=True)
class Span:
    """One find: which bytes go, and what comes in their place."""

    start: int
    end: int
    kind: Kind


def redact(text: bytes) -> tuple[bytes, Counter[str]]:
    """Replace every secret and every personal address.

    Args:
        text: UTF-8.

    Returns:
        The text, the same object where nothing was found; finds by the name of their kind.
    """
    counts: Counter[str] = Counter()
    while spans := _disjoint(find_spans(text)):
        counts.update(span.kind.name for span in spans)
        parts, end = [], 0
        for span in spans:
            parts += [text[end : span.start], span.kind.placeholder]
            end = span.end
        text = b"".join((*parts, text[end:]))
    return text, counts


def find_spans(text: bytes) -> Iterator[Span]:
    """Every find, kind by kind; they may overlap."""
    for kind in possible_kinds(text):
        pattern = _compiled(kind.pattern)
        group = "value" if "value" in pattern.groupindex else 0
        for start, end in _regions(kind, text):
            for match in pattern.finditer(text, start, end):
                first, last = match.span(group)
                if kind.check is None or kind.check(text, first, last):
                    yield Span(first, last, kind)


def possible_kinds(text: bytes) -> list[Kind]:
    """The kinds that RE2 does not rule out."""
    return [KINDS[place] for place in sorted(_prefilter().Match(text) or ())]


def _regions(kind: Kind, text: bytes) -> Iterator[tuple[int, int]]:
    """Where a kind is looked for: everywhere, or in the blocks that hold it."""
    if kind.name != "private_key":
        yield 0, len(text)
        return
    for block in _compiled(PRIVATE_KEY_BLOCK).finditer(text):
        if _compiled(KEY_LINE).search(block["body"]):
            yield block.span("body")


def _disjoint(spans: Iterator[Span]) -> list[Span]:
    """Spans in order without overlaps: the earlier start wins, then the longer one."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda one: (one.start, -one.end)):
        if not kept or span.start >= kept[-1].end:
            kept.append(span)
    return kept


@cache
def _compiled(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern)


@cache
def _prefilter() -> re2.Set:
    """All kinds' patterns in one automaton, over bytes."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = SET_MEMORY_BYTES
    found = re2.Set.SearchSet(options)
    for kind in KINDS:
        found.Add(kind.prefilter or kind.pattern)
    found.Compile()
    return found
