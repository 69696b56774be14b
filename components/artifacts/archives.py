"""GPT-Code-Clippy's archives: JSON lines in zstd, a file's text and where it is from.

A line is `{"text": ..., "meta": {"repo_name", "stars", "repo_language", "file_name", "mime_type"}}`
(github.com/CodedotAl/gpt-code-clippy, `data_processing/download_repo_text.py`). What is written
here has the commit, licence and sha256 in `meta` as well: readers that pick their keys pass over
them, and provenance is kept.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from components.artifacts.errors import CorruptArtifactError

ARCHIVE_SUFFIX = ".jsonl.zst"

CHUNK_BYTES = 1 << 20

MAX_LINE_BYTES = 1 << 28
"""A line longer than this is no source file: 256 MiB."""

MIME_TYPES = {
    "Python": "text/x-python",
    "C": "text/x-c",
    "C++": "text/x-c++",
    "Java": "text/x-java",
    "JavaScript": "application/javascript",
    "HTML": "text/html",
    "Shell": "text/x-shellscript",
}
"""What libmagic, which GPT-Code-Clippy asks, calls a file of a language; else `text/plain`."""

PROVENANCE_KEYS = ("commit", "license", "sha256")


class ArchivedFile(NamedTuple):
    """One line of an archive."""

    text: str
    repo_name: str
    stars: int
    repo_language: str
    file_name: str
    mime_type: str
    commit: str
    """Empty where the archive does not say, as GPT-Code-Clippy's own."""

    license: str
    """Empty where the archive does not say."""

    sha256: str
    """Empty where the archive does not say."""


def spell_archive(documents: Iterable[Mapping[str, Any]]) -> bytes:
    """Spell document rows as one archive file."""
    buffer = pa.BufferOutputStream()
    with pa.CompressedOutputStream(buffer, "zstd") as stream:
        for row in documents:
            stream.write(json.dumps(_line_of(row), ensure_ascii=False).encode() + b"\n")
    data: bytes = buffer.getvalue().to_pybytes()
    return data


def read_archive(path: Path) -> Iterator[ArchivedFile]:
    """The files of one archive, in order; memory holds one line and one chunk.

    Raises:
        CorruptArtifactError: truncated, no zstd, or a line that is no such row: file and line are
            named.
    """
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            yield _read_line(line, f"line {number} of {str(path)!r}")


def _line_of(row: Mapping[str, Any]) -> dict[str, Any]:
    meta = {
        "repo_name": row["repo"],
        "stars": row["stars"],
        "repo_language": row["language"],
        "file_name": row["path"],
        "mime_type": MIME_TYPES.get(row["language"], "text/plain"),
        **{key: row[key] for key in PROVENANCE_KEYS},
    }
    return {"text": row["content"], "meta": meta}


def _lines(path: Path) -> Iterator[bytes]:
    pending: list[bytes] = []
    size = number = 0
    for chunk in _chunks(path):
        *whole, last = chunk.split(b"\n")
        for end in whole:
            yield b"".join([*pending, end])
            pending, size, number = [], 0, number + 1
        pending.append(last)
        size += len(last)
        if size > MAX_LINE_BYTES:
            raise CorruptArtifactError(
                f"expected lines of at most {MAX_LINE_BYTES:,} bytes, got a longer one in line "
                f"{number + 1} of {str(path)!r}: split the file's text, or leave it out"
            )
    if size:
        yield b"".join(pending)


def _chunks(path: Path) -> Iterator[bytes]:
    read = 0
    try:
        with (
            pa.OSFile(str(path), "rb") as file,
            pa.CompressedInputStream(file, "zstd") as stream,
        ):
            while chunk := stream.read(CHUNK_BYTES):
                read += len(chunk)
                yield chunk
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise CorruptArtifactError(
            f"expected JSON lines in zstd, got {error} after {read:,} bytes of text in "
            f"{str(path)!r}: fetch or make that file again"
        ) from None
    if not read:
        raise CorruptArtifactError(
            f"expected JSON lines in zstd, got nothing in {str(path)!r}: fetch that file again"
        )


def _read_line(line: bytes, where: str) -> ArchivedFile:
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _no_row(f"{line[:60]!r} ({error})", where) from None
    meta = row.get("meta") if isinstance(row, dict) else None
    if not isinstance(meta, dict):
        raise _no_row(repr(line[:60]), where)
    text = _string(row, "text", where)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _no_row(f"a text that is no Unicode ({error.reason})", where) from None
    repo_name, file_name = (_string(meta, key, where) for key in ("repo_name", "file_name"))
    others = ("repo_language", "mime_type", *PROVENANCE_KEYS)
    return ArchivedFile(
        text=text,
        repo_name=repo_name,
        file_name=file_name,
        stars=_stars(meta.get("stars"), where),
        **{key: _string(meta, key, where) if meta.get(key) is not None else "" for key in others},
    )


def _string(row: Mapping[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise _no_row(f"{key} {value!r:.60}", where)
    return value


def _stars(value: Any, where: str) -> int:
    """A number, or its text as in GPT-Code-Clippy's archives, whose stars come from a CSV."""
    if value is None or value == "":
        return 0
    try:
        stars = int(value)
    except (TypeError, ValueError, OverflowError):
        raise _no_row(f"stars {value!r:.60}", where) from None
    return stars


def _no_row(got: str, where: str) -> CorruptArtifactError:
    return CorruptArtifactError(
        f"expected {{'text', 'meta': {{'repo_name', 'file_name', 'stars', ...}}}}, got {got} in "
        f"{where}: mend or remove that line"
    )
