"""Short documented functions of Python sources, found by their indentation.

Nothing is parsed by the interpreter: a source is hostile. One pattern of linear time cuts it into
logical lines (strings and brackets close before a line ends); a function is what stands deeper than
its `def`. Where strings or brackets do not balance, the scan ends with what it has.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

MIN_STATEMENTS = 2
"""The docstring, and one more: a documented stub teaches no code."""

_TOKEN = re.compile(
    r'''
      (?P<string> """(?:[^"\\]++|\\.|"(?!""))*+""" | \'\'\'(?:[^'\\]++|\\.|'(?!\'\'))*+\'\'\'
        | "(?!"")(?:[^"\\\n]++|\\.)*+" | '(?!\'\')(?:[^'\\\n]++|\\.)*+' )
    | (?P<broken> ["'] )
    | (?P<comment> \#[^\n]* )
    | (?P<open> [(\[{] )
    | (?P<close> [)\]}] )
    | (?P<joined> \\\r?\n )
    | (?P<newline> \n )
    ''',
    re.VERBOSE | re.DOTALL,
)

_DEFINITION = re.compile(r"(?:async[ \t]+)?(def|class)[ \t]+(\w+)")

_DOCSTRING = re.compile(r"""[rRuU]?("{3}|'{3}).*\1\Z""", re.DOTALL)

_PAIRS = {")": "(", "]": "[", "}": "{"}


class Function(NamedTuple):
    """A function or method with a docstring."""

    name: str
    """Qualified by its classes, such as `Parser.parse`."""

    text: str
    """From its `def` on, dedented, ending in a newline."""


class _Line(NamedTuple):
    """A logical line: offsets into the source."""

    start: int
    code_end: int
    """Before a comment at its end."""


@dataclass(slots=True)
class _Candidate:
    """A function that is being read."""

    name: str
    start: int
    end: int
    column: int
    statements: int = 0
    documented: bool = False


def extract_functions(source: str, max_lines: int) -> list[Function]:
    """Top-level functions and methods with a docstring and at least one more statement.

    Args:
        source: a Python source, or anything else.
        max_lines: physical lines that a function may have.
    """
    if "\r" in source.replace("\r\n", ""):
        return []  # a lone carriage return ends a line for Python and for nothing here
    found = (_finish(source, candidate, max_lines) for candidate in _candidates(source))
    return [function for function in found if function]


def dedent(text: str, indent: str) -> str:
    """Take an indentation away from every line that begins with it."""
    return "\n".join(line.removeprefix(indent) for line in text.split("\n"))


def _logical_lines(source: str) -> Iterator[_Line]:
    """Lines that hold code, until something does not balance."""
    brackets: list[str] = []
    start, comment = 0, -1
    for match in _TOKEN.finditer(source):
        kind = match.lastgroup
        if kind == "comment":
            comment = match.start()
        elif kind == "open":
            brackets.append(match.group())
        elif kind == "close":
            if not brackets or brackets.pop() != _PAIRS[match.group()]:
                return
        elif kind == "broken":
            return
        elif kind == "newline":
            if not brackets:
                end = comment if comment >= 0 else match.start()
                if not source[start:end].isspace() and start < end:
                    yield _Line(start, end)
                start = match.end()
            comment = -1
    if not brackets and source[start:].strip():
        yield _Line(start, comment if comment >= 0 else len(source))


def _candidates(source: str) -> Iterator[_Candidate]:
    """Functions outside functions, whole: a line that is not deeper ends them."""
    classes: list[tuple[int, str]] = []
    candidate: _Candidate | None = None
    for line in _logical_lines(source):
        code = source[line.start : line.code_end].rstrip()
        bare = code.lstrip(" \t")
        column = len(code) - len(bare)
        if candidate and column > candidate.column:
            if not candidate.statements:
                candidate.documented = bool(_DOCSTRING.match(bare))
            candidate.statements += 1
            candidate.end = line.start + len(code)
            continue
        if candidate:
            yield candidate
            candidate = None
        while classes and classes[-1][0] >= column:
            classes.pop()
        match = _DEFINITION.match(bare)
        if match and bare.endswith(":"):
            kind, name = match.groups()
            if kind == "class":
                classes.append((column, name))
            else:
                qualified = ".".join([*(owner for _, owner in classes), name])
                begin = line.start + column
                candidate = _Candidate(qualified, begin, begin, column)
    if candidate:
        yield candidate


def _finish(source: str, candidate: _Candidate, max_lines: int) -> Function | None:
    """The function dedented, if it is one to take."""
    if not candidate.documented or candidate.statements < MIN_STATEMENTS:
        return None
    text = source[candidate.start : candidate.end]
    if text.count("\n") >= max_lines:
        return None
    indent = source[candidate.start - candidate.column : candidate.start]
    lines = text.split("\n")[1:]
    if any(line.strip() and not line.startswith(indent) for line in lines):
        return None  # a string that reaches out of the indentation, or tabs among blanks
    return Function(candidate.name, dedent(text, indent) + "\n")
