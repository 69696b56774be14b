"""Infilling tasks made of whole problems: a part of a solution is taken out.

Source: Bavarian et al. 2022 (arXiv 2207.14255): single-line takes out each non-blank line of
HumanEval's solutions (1,033 tasks), multi-line each range of lines that begins and ends in a
non-blank one (5,815), random-span ten spans of characters of each solution (1,640). Here multi-line
takes ranges of two lines or more, and of each problem at most MAX_RANGES, chosen by a hash: all of
them cost seven times as much. Random spans are others than theirs, as many a problem as ranges.
VACUOUS ones are left out.
"""

import hashlib
import itertools
from dataclasses import dataclass

SINGLE_LINE, MULTI_LINE, RANDOM_SPAN = "single-line", "multi-line", "random-span"
KINDS = (SINGLE_LINE, MULTI_LINE, RANDOM_SPAN)

MAX_RANGES = 6
"""Of lines, or of characters, of a problem."""

VACUOUS_TEXT = """
    20/L0 20/L8 33/L0 46/L6 66/L0 68/L0 81/L16 92/L4 95/L8 95/L18 96/L6 99/L3 105/L6 105/L7
    109/L3 111/L7 118/L5 124/L1 124/L6 124/L10 127/L3 127/L5 127/L6 127/L8 129/L1 129/L9 150/L5
    10/L0-L1 118/L0-L1
"""
VACUOUS = frozenset(VACUOUS_TEXT.split())
"""Holes, by HumanEval's number and their name, whose program passes with nothing in them (a
comment, a case that no test asks for): whoever writes nothing would solve them. Found by running
all; a test runs them again."""

VERSION = 1
"""Raised when other holes come out: a part of what identifies the benchmark."""


@dataclass(frozen=True)
class Hole:
    """What is taken out of a solution: whole lines, or any span of characters."""

    name: str
    """`L3`, or `L3-L5` with both ends; `C12-C40` where it is one of characters."""

    before: str
    hidden: str
    after: str


def cut_holes(solution: str, kind: str) -> list[Hole]:
    """The holes of a solution, in the order of its lines.

    Args:
        solution: the reference solution; its lines are numbered from 0.
        kind: single-line, multi-line or random-span.
    """
    if kind == RANDOM_SPAN:
        return [
            Hole(f"C{first}-C{last}", solution[:first], solution[first:last], solution[last:])
            for first, last in _spans(solution)
        ]
    lines = solution.splitlines(keepends=True)
    ranges = _ranges(lines, kind)
    if kind == MULTI_LINE:
        ranked = sorted(ranges, key=lambda pair: hashlib.sha256(_mark(solution, pair)).digest())
        ranges = sorted(ranked[:MAX_RANGES])
    return [
        Hole(
            f"L{first}" if first == last else f"L{first}-L{last}",
            "".join(lines[:first]),
            "".join(lines[first : last + 1]),
            "".join(lines[last + 1 :]),
        )
        for first, last in ranges
    ]


def _ranges(lines: list[str], kind: str) -> list[tuple[int, int]]:
    """First and last line of every hole; both ends hold text."""
    filled = [number for number, line in enumerate(lines) if line.strip()]
    if kind == SINGLE_LINE:
        return [(number, number) for number in filled]
    return list(itertools.combinations(filled, 2))


def _spans(solution: str) -> list[tuple[int, int]]:
    """Random spans of characters, in order: both ends are drawn evenly, what is hidden has text."""
    spans: set[tuple[int, int]] = set()
    for draw in range(MAX_RANGES):
        digest = hashlib.sha256(_mark(solution, (RANDOM_SPAN, draw))).digest()
        ends = (int.from_bytes(half) % (len(solution) + 1) for half in (digest[:16], digest[16:]))
        first, last = sorted(ends)
        if solution[first:last].strip():
            spans.add((first, last))
    return sorted(spans)


def _mark(solution: str, pair: tuple[object, object]) -> bytes:
    return f"{VERSION}/{pair[0]}/{pair[1]}/{solution}".encode()
