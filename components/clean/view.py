"""A document as the rules see it: its measures are taken once, and only when a rule asks."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from components.clean.comments import COMMENT_STYLES

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
    content: str

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "DocumentView":
        """The view of a document's row."""
        return cls(row["path"], row["language"], row["license"], row["content"])

    @cached_property
    def data(self) -> bytes:
        """The content as UTF-8."""
        return self.content.encode()

    @cached_property
    def name(self) -> str:
        """The file's name, without its folders."""
        return self.path.rpartition("/")[2]

    @cached_property
    def lines(self) -> list[str]:
        """The lines without their ends; an end at the very end opens no further line."""
        text = _LINE_END.sub("\n", self.content) if "\r" in self.content else self.content
        lines = text.split("\n")
        if not lines[-1]:
            lines.pop()
        return lines

    @property
    def mean_line_length(self) -> float:
        """Characters a line, line ends not counted; 0 for no lines."""
        return sum(map(len, self.lines)) / max(1, len(self.lines))

    @property
    def longest_line_length(self) -> int:
        """Characters of the longest line."""
        return max(map(len, self.lines), default=0)

    @property
    def chars_per_newline(self) -> float:
        """Characters, newlines among them, for each newline; a text without one counts as one."""
        return len(self.content) / max(1, self.content.count("\n"))

    @property
    def digit_share(self) -> float:
        """Share of ASCII digits among the characters."""
        return _share_of(self.data, len(self.content), _DIGITS)

    def printable_share(self, min_comment_share: float) -> float:
        """Share of printable ASCII and white space among the characters.

        Args:
            min_comment_share: comment lines with a smaller share of letters and digits are left
                out; 0 leaves none out.
        """
        if _share_of(self.data, len(self.content), _PRINTABLE) == 1:
            return 1.0  # of every part too
        text = self._without_junk_comments(min_comment_share)
        return _share_of(text.encode(), len(text), _PRINTABLE)

    def alphanumeric_share(self, min_comment_share: float) -> float:
        """Share of letters and digits, of any script, among the characters; as above."""
        return _alphanumeric_share(self._without_junk_comments(min_comment_share))

    def _without_junk_comments(self, min_share: float) -> str:
        """The text without whole-line comments that hold few letters and digits."""
        style = COMMENT_STYLES.get(self.language)
        if not min_share or style is None or not style.line:
            return self.content
        return "\n".join(
            line
            for line in self.lines
            if not (line.lstrip().startswith(style.line) and _alphanumeric_share(line) < min_share)
        )


def _alphanumeric_share(text: str) -> float:
    if text.isascii() or not text:
        return _share_of(text.encode(), len(text), _ALPHANUMERIC)
    return sum(map(str.isalnum, text)) / len(text)


def _share_of(data: bytes, num_chars: int, wanted: bytes) -> float:
    """Share of some ASCII characters; 1 for an empty text."""
    if not num_chars:
        return 1.0
    return (len(data) - len(data.translate(None, wanted))) / num_chars
