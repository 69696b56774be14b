"""A document as the rules see it: its measures are taken once, and only when a rule asks.

Rules count characters, but read bytes: where a text is ASCII (nearly every source file) both are
the same, and bytes are several times faster. Other texts are decoded when a measure needs it.
"""

import re
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from components.clean.comments import COMMENT_STYLES

IntArray = NDArray[np.int64]

_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t\n\r\f\v"
_ALPHANUMERIC = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_DIGITS = b"0123456789"
_LINE_END = re.compile(r"\r\n|\r")


@dataclass(frozen=True)
class DocumentView:
    """What a rule may look at."""

    path: str
    language: str
    license: str
    data: bytes
    """The content as valid UTF-8."""

    @cached_property
    def name(self) -> str:
        """The file's name, without its folders."""
        return self.path.rpartition("/")[2]

    @cached_property
    def is_ascii(self) -> bool:
        """Whether bytes are characters."""
        return self.data.isascii()

    @cached_property
    def text(self) -> str:
        """The content."""
        return self.data.decode()

    @cached_property
    def num_chars(self) -> int:
        """Characters."""
        return len(self.data) if self.is_ascii else len(self.text)

    @cached_property
    def line_lengths(self) -> IntArray:
        """Characters of every line without its end; an end at the very end opens no further one."""
        if self.is_ascii:
            data = self.data
            if b"\r" in data:
                data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
            lengths = np.diff(ends, prepend=-1, append=len(data)) - 1
        else:
            lines = self._text_with_plain_ends().split("\n")
            lengths = np.fromiter(map(len, lines), np.int64, len(lines))
        return lengths if lengths[-1] else lengths[:-1]

    @cached_property
    def lower(self) -> bytes:
        """The content with ASCII capitals made small."""
        return self.data.lower()

    def head(self, num_lines: int) -> str:
        """The first lines, case-folded."""
        data, end = self.data, 0
        for _ in range(num_lines):
            end = data.find(b"\n", end) + 1
            if not end:
                break
        head = data[: end - 1] if end else data
        lines = _LINE_END.sub("\n", head.decode()).split("\n", num_lines)[:num_lines]
        return "\n".join(lines).casefold()

    @property
    def mean_line_length(self) -> float:
        """Characters a line, line ends not counted; 0 for no lines."""
        return int(self.line_lengths.sum()) / max(1, len(self.line_lengths))

    @property
    def longest_line_length(self) -> int:
        """Characters of the longest line."""
        return int(self.line_lengths.max(initial=0))

    @property
    def chars_per_newline(self) -> float:
        """Characters, newlines among them, for each newline; a text without one counts as one."""
        return self.num_chars / max(1, self.data.count(b"\n"))

    @property
    def digit_share(self) -> float:
        """Share of ASCII digits among the characters."""
        return _share_of(self.data, self.num_chars, _DIGITS)

    def printable_share(self, min_comment_share: float) -> float:
        """Share of printable ASCII and white space among the characters.

        Args:
            min_comment_share: comment lines with a smaller share of letters and digits are left
                out; 0 leaves none out.
        """
        if _share_of(self.data, self.num_chars, _PRINTABLE) == 1:
            return 1.0  # of every part too
        text = self._without_junk_comments(min_comment_share)
        return _share_of(text.encode(), len(text), _PRINTABLE)

    def alphanumeric_share(self, min_comment_share: float) -> float:
        """Share of letters and digits, of any script, among the characters; as above."""
        if not min_comment_share and self.is_ascii:
            return _share_of(self.data, self.num_chars, _ALPHANUMERIC)
        return _alphanumeric_share(self._without_junk_comments(min_comment_share))

    def _text_with_plain_ends(self) -> str:
        return _LINE_END.sub("\n", self.text) if "\r" in self.text else self.text

    def _without_junk_comments(self, min_share: float) -> str:
        """The text without whole-line comments that hold few letters and digits."""
        style = COMMENT_STYLES.get(self.language)
        if not min_share or style is None or not style.line:
            return self.text
        return _comment_lines(style.line).sub(
            lambda line: "" if _alphanumeric_share(line[0]) < min_share else line[0],
            self._text_with_plain_ends(),
        )


@cache
def _comment_lines(mark: str) -> re.Pattern[str]:
    """Lines that hold a comment alone, with their ends."""
    return re.compile(rf"^[^\S\n]*{re.escape(mark)}[^\n]*\n?", re.MULTILINE)


def _alphanumeric_share(text: str) -> float:
    if text.isascii() or not text:
        return _share_of(text.encode(), len(text), _ALPHANUMERIC)
    return sum(map(str.isalnum, text)) / len(text)


def _share_of(data: bytes, num_chars: int, wanted: bytes) -> float:
    """Share of some ASCII characters; 1 for an empty text."""
    if not num_chars:
        return 1.0
    return (len(data) - len(data.translate(None, wanted))) / num_chars
