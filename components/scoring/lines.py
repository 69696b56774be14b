"""Which lines of a continuation count: signal for models whose pass@1 is still zero.

A continuation is cut at its end, so its last line is left out, and its first one too where the
prefix stops inside a line. One without any newline is taken whole as one line: a model that has not
learned to end a line must not escape the measure. Of the lines left, one counts, its indentation
taken off, unless it

- is blank,
- is a comment and nothing else (`#` first),
- is a string and nothing else, begins a triple-quoted one, or begins inside one: prose parses or
  not by chance,
- ends in `:`, because a block's head is no statement without its body.

A counted line is parsed where Python's parser takes it alone as a module. Of real code far from
all lines do: lines inside brackets and other parts of longer statements do not.
"""

import re

STRING_ONLY = re.compile(
    r"""[bfrtuBFRTU]{0,2}(?:\"{3}.*|'{3}.*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')[\s,)\]}]*"""
)
"""A line that is one string literal, or that begins a triple-quoted one, with closers behind it."""


SCANNED = re.compile(r"""(?P<triple>\"{3}|'{3})|\#[^\n]*|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'""")
"""What decides where a triple-quoted string begins: its quotes, outside comments and strings."""


def counted_lines(text: str, prefix: str = "") -> list[str]:
    """The lines of a continuation that count, without indentation.

    Args:
        text: the continuation.
        prefix: the code before it, which begins outside of any string.
    """
    lines = text.split("\n")
    first = 0 if prefix.endswith("\n") else 1
    kept = range(first, len(lines) - 1) if len(lines) > 1 else range(1)
    quoted = _quoted_lines(prefix + text)[-len(lines) :]
    stripped = [line.strip() for line in lines]
    return [stripped[i] for i in kept if not quoted[i] and _counts(stripped[i])]


def _quoted_lines(code: str) -> list[bool]:
    """Of each line, whether it begins inside a triple-quoted string."""
    quoted = [False] * (code.count("\n") + 1)
    place = 0
    while opening := SCANNED.search(code, place):
        place = opening.end()
        if quotes := opening["triple"]:
            closing = code.find(quotes, place)
            end = len(code) if closing < 0 else closing
            first = code.count("\n", 0, place) + 1
            last = code.count("\n", 0, end)
            quoted[first : last + 1] = [True] * (last + 1 - first)
            place = end + len(quotes)
    return quoted


def _counts(line: str) -> bool:
    return not (
        not line
        or line.startswith("#")
        or line.endswith(":")
        or STRING_ONLY.fullmatch(line) is not None
    )
