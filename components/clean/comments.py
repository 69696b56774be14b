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

LICENSE = re.compile(
    r"copyright|\(c\)\s*(?:19|20)\d\d|licen[cs]ed (?:under|to)|all rights reserved"
    r"|spdx-license-identifier|permission is hereby granted|redistribution and use"
    r"|unless required by applicable law|you may obtain a copy of the licen[cs]e"
    r"|(?:see|under|of) the (?:[\w-]+ ){0,4}licen[cs]e|without warrant(?:y|ies)"
    r"|released (?:in)?to the public domain",
    re.IGNORECASE,
)
"""What only a licence or a notice of copyright says."""

MAX_HEAD_LINES = 1000
"""How far down a head is followed."""

_PREAMBLE = re.compile(r"#!|[ \t\f]*#.*?coding[:=]|<!DOCTYPE", re.IGNORECASE)
_PREAMBLE_LINES = 2
"""An interpreter line and a coding line (PEP 263) stand in the first two lines, and stay."""


def strip_license_header(content: str, language: str) -> str | None:
    """Cut the licence off the head of a file.

    The head is the run of comments before anything else. It is looked at block by block, a block
    ending at an empty line or at the end of a block comment: blocks are cut as long as each speaks
    of a licence, so a description that follows stays.

    Returns:
        The content without it, None where there is none.
    """
    style = COMMENT_STYLES.get(language)
    if style is None:
        return None
    lines = content.split("\n", MAX_HEAD_LINES)
    rest = lines.pop() if len(lines) > MAX_HEAD_LINES else None
    start = 0
    while start < _PREAMBLE_LINES and start < len(lines) and _PREAMBLE.match(lines[start]):
        start += 1
    end = start
    while True:
        first = _skip_blank(lines, end)
        last = _block_end(lines, first, style)
        if last == first or not LICENSE.search("\n".join(lines[first:last])):
            break
        end = last
    if end == start:
        return None
    kept = lines[:start] + lines[_skip_blank(lines, end) :]
    return "\n".join(kept if rest is None else [*kept, rest])


def _skip_blank(lines: list[str], index: int) -> int:
    while index < len(lines) and not lines[index].strip("\ufeff \t\f\r"):
        index += 1
    return index


def _block_end(lines: list[str], first: int, style: CommentStyle) -> int:
    """The line after the comment block that begins in a line; that line itself where none does."""
    index = first
    if index < len(lines) and style.opening and _starts(lines[index], style.opening):
        rest = lines[index].partition(style.opening)[2]
        while style.closing not in rest:
            index += 1
            if index == len(lines):
                return first  # never closed: no comment
            rest = lines[index]
        # Code behind the closing mark, on its line, would go with the comment.
        return first if rest.partition(style.closing)[2].strip() else index + 1
    while index < len(lines) and style.line and _starts(lines[index], style.line):
        index += 1
    return index


def _starts(line: str, mark: str) -> bool:
    return line.lstrip("\ufeff \t").startswith(mark)
