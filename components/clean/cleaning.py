"""Clean one shard: every document is kept, or dropped with the first rule's reason."""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from components.artifacts.artifact import Artifact, Draft
from components.artifacts.documents import documents_table, draft_documents, read_documents
from components.artifacts.manifest import FileEntry
from components.artifacts.tally import Tally
from components.clean.comments import strip_license_header
from components.clean.config import CleanConfig
from components.clean.rules import AFTER_STRIPPING, BEFORE_STRIPPING, first_reason
from components.clean.syntax import LANGUAGES, SyntaxChecker
from components.clean.view import DocumentView

HEADER_STRIPPED = "header_stripped"
"""The flag of a document whose licence header was cut off."""

Row = dict[str, Any]


def clean_shard(
    documents: Artifact, config: CleanConfig, entry: FileEntry
) -> tuple[list[Draft], Tally]:
    """Clean the documents of a shard; the order stays."""
    tally = Tally()
    rows: list[Row] = read_documents(documents, entry).to_pylist()
    kept = list(clean_rows(rows, config, tally))
    return [draft_documents(documents_table(kept))], tally


def clean_rows(rows: list[Row], config: CleanConfig, tally: Tally) -> Iterator[Row]:
    """Pass the documents on that every rule keeps; count all."""
    with ExitStack() as stack:
        checker = None
        if config.syntax_version:
            checker = stack.enter_context(
                SyntaxChecker(
                    config.syntax_version, config.syntax_cpu_s, config.syntax_memory_bytes
                )
            )
        for row in rows:
            tally.take_in(row["size"])
            cleaned = clean_row(row, config, checker)
            if isinstance(cleaned, str):
                tally.drop(cleaned, row["size"])
                continue
            if cleaned["size"] != row["size"]:
                tally.count("headers_stripped")
                tally.count("header_bytes_stripped", row["size"] - cleaned["size"])
            tally.keep(cleaned["size"], cleaned["license"], cleaned["language"])
            yield cleaned


def clean_row(row: Row, config: CleanConfig, checker: SyntaxChecker | None) -> Row | str:
    """A document as it stays, or the reason why it does not."""
    reason = first_reason(BEFORE_STRIPPING, DocumentView.of(row), config)
    if reason:
        return reason
    row = strip_row(row) if config.strip_license_header else row
    reason = first_reason(AFTER_STRIPPING, DocumentView.of(row), config)
    if reason is None and checker is not None and row["language"] in LANGUAGES:
        reason = checker.reason(row["content"])
    return reason or row


def strip_row(row: Row) -> Row:
    """A document without its licence header; git's id stays that of the file as it was crawled."""
    content = strip_license_header(row["content"], row["language"])
    if content is None:
        return row
    data = content.encode()
    return {
        **row,
        "content": content,
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
        "flags": [*row["flags"], HEADER_STRIPPED],
    }
