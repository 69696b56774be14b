"""Text made comparable: lower case, whitespace collapsed, split into tokens; offsets are kept."""

import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import groupby

WORD = re.compile(r"\w+")

TOKEN = re.compile(r"\w+|[^\w\s]")
"""A word, or one punctuation mark."""

_PIECE = re.compile(r"\S+")

_ASCII_WORDS = bytes(
    ord(chr(code).lower()) if WORD.match(chr(code)) and code < 128 else ord(" ")
    for code in range(256)
)
"""Of every ASCII byte what `WORD` and `fold_case` make of it: a lower-case letter, or a gap."""


def fold_case(text: str) -> str:
    """Lower case, character by character: offsets into the result are offsets into the text."""
    folded = text.lower()
    if len(folded) == len(text):
        return folded
    # A capital I with a dot becomes two characters: it stays as it is.
    return "".join(low if len(low := character.lower()) == 1 else character for character in text)


def collapse(text: str) -> str:
    """Lower case with every run of whitespace as one space, and none at the ends."""
    return " ".join(fold_case(text).split())


def tokens_of(folded: str) -> list[str]:
    """The words and punctuation marks of a folded text, in order."""
    return TOKEN.findall(folded)


def words_of(folded: str) -> list[str]:
    """The words of a folded text, in order."""
    return WORD.findall(folded)


def encoded_words_of(folded: str) -> list[bytes]:
    """The words of a folded text, in order, in UTF-8: as `words_of`, four times as fast on ASCII.

    No word goes across a line, so the lines that are ASCII are cut with one table of bytes.
    """
    if folded.isascii():
        return folded.encode().translate(_ASCII_WORDS).split()
    words: list[bytes] = []
    for ascii_lines, lines in groupby(folded.split("\n"), str.isascii):
        text = "\n".join(lines)
        if ascii_lines:
            words += text.encode().translate(_ASCII_WORDS).split()
        else:
            words += [word.encode() for word in WORD.findall(text)]
    return words


@dataclass(frozen=True)
class CollapsedText:
    """A text as `collapse` spells it, with the way back to its own offsets."""

    text: str
    starts: list[int]
    """Where each piece without whitespace begins in the collapsed text."""

    origins: list[int]
    """Where the same piece begins in the text that was collapsed."""

    @classmethod
    def of(cls, folded: str) -> "CollapsedText":
        """Collapse a folded text."""
        starts, origins, pieces, length = [], [], [], 0
        for match in _PIECE.finditer(folded):
            starts.append(length)
            origins.append(match.start())
            pieces.append(match.group())
            length += len(match.group()) + 1
        return cls(" ".join(pieces), starts, origins)

    def origin(self, offset: int) -> int:
        """The offset before collapsing of a character that is no whitespace."""
        piece = bisect_right(self.starts, offset) - 1
        return self.origins[piece] + offset - self.starts[piece]
