"""Which lines of a continuation count: signal for models whose pass@1 is still zero.

A continuation is cut at both ends, so its first and its last line are left out. One without any
newline is taken whole as one line: a model that has not learned to end a line must not escape the
measure. Of the lines left, one counts, its indentation taken off, unless it

- is blank,
- is a comment and nothing else (`#` first),
- is a string and nothing else, or begins a triple-quoted one: prose parses or not by chance,
- ends in `:`, because a block's head is no statement without its body.

A counted line is parsed where Python's parser takes it alone as a module. Of real code, about 57 %
of the lines do: lines inside brackets, docstrings and multi-line statements do not.
"""

import re
from collections.abc import Iterable

STRING_ONLY = re.compile(
    r"""[bfrtuBFRTU]{0,2}(?:\"{3}.*|'{3}.*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')[\s,)\]}]*"""
)
"""A line that is one string literal, or that begins a triple-quoted one, with closers behind it."""


def counted_lines(text: str) -> list[str]:
    """The lines of a continuation that count, without indentation."""
    return [line for line in map(str.strip, _whole_lines(text)) if _counts(line)]


def _whole_lines(text: str) -> Iterable[str]:
    lines = text.split("\n")
    return lines[1:-1] if len(lines) > 1 else lines


def _counts(line: str) -> bool:
    return not (
        not line
        or line.startswith("#")
        or line.endswith(":")
        or STRING_ONLY.fullmatch(line) is not None
    )
