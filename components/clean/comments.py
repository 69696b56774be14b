"""How each language writes comments, and the licence header at the head of a file."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CommentStyle:
    """The marks of a comment; empty where the language has no such kind."""

    line: str = ""
    opening: str = ""
    closing: str = ""


_HASH = CommentStyle(line="#")
_SLASHES = CommentStyle(line="//", opening="/*", closing="*/")
_DASHES = CommentStyle(line="--")
_MARKUP = CommentStyle(opening="<!--", closing="-->")

_LANGUAGES: tuple[tuple[CommentStyle, str], ...] = (
    (_HASH, "CMake Cython Dockerfile Elixir Julia Makefile Perl PowerShell Python R Ruby Shell"),
    (_SLASHES, "C C# C++ Cuda Dart F# Go Groovy Java JavaScript Kotlin Objective-C Rust Scala"),
    (_SLASHES, "Swift TypeScript Zig"),
    (_DASHES, "Haskell SQL"),
    (_MARKUP, "HTML Markdown"),
    (CommentStyle(line=";"), "Clojure"),
    (CommentStyle(line="%"), "Erlang TeX"),
    (CommentStyle(line="--", opening="--[[", closing="]]"), "Lua"),
    (CommentStyle(opening="/*", closing="*/"), "CSS"),
    (CommentStyle(opening="(*", closing="*)"), "OCaml"),
)

COMMENT_STYLES = {name: style for style, names in _LANGUAGES for name in names.split()}
"""By language; one that is missing has no header that is looked for."""

_LICENSE = re.compile(
    rb"copyright|\(c\)\s*(?:19|20)\d\d|licen[cs]ed (?:under|to)|all rights reserved"
    rb"|spdx-license-identifier|permission is hereby granted|redistribution and use"
    rb"|unless required by applicable law|you may obtain a copy of the licen[cs]e"
    rb"|(?:see|under|of) the (?:[\w-]+ ){0,4}licen[cs]e|without warrant(?:y|ies)"
    rb"|released (?:in)?to the public domain",
    re.IGNORECASE,
)
"""What only a licence or a notice of copyright says."""

MAX_HEAD_LINES = 1000
"""How far down a head is followed."""

_PREAMBLE = re.compile(rb"#!|[ \t\f]*#.*?coding[:=]|<!DOCTYPE", re.IGNORECASE)
_PREAMBLE_LINES = 2
"""An interpreter line and a coding line (PEP 263) stand in the first two lines, and stay."""

_BLANK_LINE = re.compile(rb"(?:\xef\xbb\xbf|[ \t\f\r])*")
_BLANK_LINES = re.compile(rb"(?:\xef\xbb\xbf|[ \t\f\r\n])*")
_INDENT = re.compile(rb"(?:\xef\xbb\xbf|[ \t])*")
"""White space and byte order marks."""


def strip_license_header(content: bytes, language: str) -> bytes | None:
    """Cut the licence off the head of a file.

    The head is the run of comments before anything else. It is looked at block by block, a block
    ending at an empty line or at the end of a block comment: blocks are cut as long as each speaks
    of a licence, so a description that follows stays.

    Args:
        content: UTF-8.
        language: by the name that `COMMENT_STYLES` knows.

    Returns:
        The content without it, None where there is none.
    """
    style = COMMENT_STYLES.get(language)
    if style is None or not _may_begin_with_comment(content, style):
        return None
    lines = content.split(b"\n", MAX_HEAD_LINES)
    rest = lines.pop() if len(lines) > MAX_HEAD_LINES else None
    start = 0
    while start < _PREAMBLE_LINES and start < len(lines) and _PREAMBLE.match(lines[start]):
        start += 1
    end = start
    while True:
        first = _skip_blank(lines, end)
        last = _block_end(lines, first, style)
        if last == first or not _LICENSE.search(b"\n".join(lines[first:last])):
            break
        end = last
    if end == start:
        return None
    kept = lines[:start] + lines[_skip_blank(lines, end) :]
    return b"\n".join(kept if rest is None else [*kept, rest])


def _may_begin_with_comment(content: bytes, style: CommentStyle) -> bool:
    """Whether the first character could open a comment or a preamble: most files end here."""
    marks = (b"#", b"<", style.line.encode(), style.opening.encode())
    return content.startswith(tuple(filter(None, marks)), _end_of(_BLANK_LINES, content))


def _skip_blank(lines: list[bytes], index: int) -> int:
    while index < len(lines) and _BLANK_LINE.fullmatch(lines[index]):
        index += 1
    return index


def _block_end(lines: list[bytes], first: int, style: CommentStyle) -> int:
    """The line after the comment block that begins in a line; that line itself where none does."""
    index = first
    opening, closing = style.opening.encode(), style.closing.encode()
    if index < len(lines) and opening and _starts(lines[index], opening):
        rest = lines[index].partition(opening)[2]
        while closing not in rest:
            index += 1
            if index == len(lines):
                return first  # never closed: no comment
            rest = lines[index]
        # Code behind the closing mark, on its line, would go with the comment.
        return first if rest.partition(closing)[2].strip() else index + 1
    mark = style.line.encode()
    while index < len(lines) and mark and _starts(lines[index], mark):
        index += 1
    return index


def _starts(line: bytes, mark: bytes) -> bool:
    return line.startswith(mark, _end_of(_INDENT, line))


def _end_of(pattern: re.Pattern[bytes], text: bytes) -> int:
    """Where the match of a pattern that always matches ends."""
    match = pattern.match(text)
    assert match is not None
    return match.end()
