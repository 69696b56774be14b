"""Clean one shard: every document is kept, or dropped with the first rule's reason."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from components.artifacts.artifact import Artifact, Draft
from components.artifacts.documents import SCHEMA, draft_documents, read_documents
from components.artifacts.errors import CorruptArtifactError
from components.artifacts.license_tags import LICENSE_SOURCE, read_license_tags
from components.artifacts.manifest import FileEntry
from components.artifacts.tally import Tally
from components.clean.comments import strip_license_header
from components.clean.config import CleanConfig
from components.clean.redaction import redact
from components.clean.rules import AFTER_STRIPPING, BEFORE_STRIPPING, first_reason
from components.clean.syntax import LANGUAGES, SYNTAX_ERROR, SyntaxChecker
from components.clean.view import DocumentView

HEADER_STRIPPED = "header_stripped"
REDACTED = "redacted"
"""Flags of a document: its licence header was cut off, sensitive text was replaced."""

REDACTION_BREAKS_SYNTAX = "redaction_breaks_syntax"
"""The reason of a document that parses only with what must not stay in it."""


@dataclass(slots=True)
class Candidate:
    """A document on its way through the rules."""

    path: str
    language: str
    license: str
    size: int
    """Bytes as it came in."""

    data: bytes
    license_source: str | None = None
    """Where its licence was read, None where the row's own source stands."""

    flags: list[str] = field(default_factory=list)
    """What was done to it."""

    num_header_bytes: int = 0
    finds: Counter[str] = field(default_factory=Counter)
    """What was redacted, by kind."""

    unredacted: bytes | None = None
    """The text before redaction, None where nothing was found."""

    reason: str | None = None
    """Why it is dropped."""

    def view(self) -> DocumentView:
        """The document as rules see it."""
        return DocumentView(self.path, self.language, self.license, self.data)


def clean_shard(
    documents: Artifact, config: CleanConfig, entry: FileEntry
) -> tuple[list[Draft], Tally]:
    """Clean the documents of a shard; the order stays.

    Raises:
        CorruptArtifactError: the shard is damaged, or holds what is no text.
    """
    table = read_documents(documents, entry)
    try:
        table.column("content").validate(full=True)
    except pa.ArrowInvalid as error:
        raise CorruptArtifactError(
            f"expected content as valid UTF-8, got {error} in {entry.name!r} of "
            f"{documents.storage.uri}: run the step that made it again"
        ) from error
    tally = Tally()
    return [draft_documents(clean_table(table, config, tally))], tally


def clean_table(table: pa.Table, config: CleanConfig, tally: Tally) -> pa.Table:
    """The documents of a table that every rule keeps, as they stay; all are counted."""
    candidates = read_candidates(table)
    for candidate in candidates:
        candidate.reason = judge(candidate, config)
    check_syntax(candidates, config)
    for candidate in candidates:
        count(candidate, tally)
    return kept_table(table, candidates)


def read_candidates(table: pa.Table) -> list[Candidate]:
    """The rows of a table of documents."""
    names = ("path", "language", "license", "size")
    columns = [table.column(name).to_pylist() for name in names]
    contents = table.column("content").cast(pa.binary()).to_pylist()
    return [Candidate(*values) for values in zip(*columns, contents, strict=True)]


def judge(candidate: Candidate, config: CleanConfig) -> str | None:
    """Ask every rule but syntax, and change the document as it will stay if it is kept.

    Returns:
        The reason of the first rule that drops it.
    """
    if config.file_licenses and (spdx := read_license_tags(candidate.data)):
        candidate.license, candidate.license_source = spdx, LICENSE_SOURCE
    view = candidate.view()
    reason = first_reason(BEFORE_STRIPPING, view, config)
    if reason is None and config.strip_license_header:
        stripped = strip_license_header(candidate.data, candidate.language)
        if stripped is not None:
            candidate.num_header_bytes = len(candidate.data) - len(stripped)
            candidate.data = stripped
            candidate.flags.append(HEADER_STRIPPED)
            view = candidate.view()
    reason = reason or first_reason(AFTER_STRIPPING, view, config)
    if reason is None and config.redact:
        text, candidate.finds = redact(candidate.data)
        if candidate.finds:
            candidate.unredacted, candidate.data = candidate.data, text
            candidate.flags.append(REDACTED)
    return reason


def check_syntax(candidates: list[Candidate], config: CleanConfig) -> None:
    """Write the reasons of the documents down that do not parse as they would stay."""
    parsed = [one for one in candidates if one.reason is None and one.language in LANGUAGES]
    if not (config.syntax_version and parsed):
        return
    checker = SyntaxChecker(config.syntax_version, config.syntax_cpu_s, config.syntax_memory_bytes)
    with checker:
        for one, reason in zip(parsed, checker.reasons([c.data for c in parsed]), strict=True):
            one.reason = reason
        # Was it the redaction that broke it? Then the count must say so.
        changed = [one for one in parsed if one.reason == SYNTAX_ERROR and one.finds]
        before = checker.reasons([one.unredacted or b"" for one in changed])
        for one, reason in zip(changed, before, strict=True):
            one.reason = reason or REDACTION_BREAKS_SYNTAX


def count(candidate: Candidate, tally: Tally) -> None:
    """Count a document where it ends up, also by its language."""
    language, size = candidate.language, len(candidate.data)
    tally.take_in(candidate.size)
    if candidate.reason is not None:
        tally.drop(candidate.reason, candidate.size)
        tally.count(f"dropped/{language}/{candidate.reason}")
        tally.count(f"dropped_bytes/{language}", candidate.size)
        return
    tally.keep(size, candidate.license, language)
    if candidate.license_source is not None:
        tally.count("licenses_read_in_files")
    if candidate.num_header_bytes:
        tally.count("headers_stripped")
        tally.count("header_bytes_stripped", candidate.num_header_bytes)
    if candidate.finds:
        tally.count("files_redacted")
        # May be negative: a placeholder can be longer than what it stands for.
        tally.count("redaction_bytes_removed", candidate.size - candidate.num_header_bytes - size)
        for kind, number in candidate.finds.items():
            tally.count(f"redacted/{kind}", number)


def kept_table(table: pa.Table, candidates: list[Candidate]) -> pa.Table:
    """The rows of a table whose candidates are kept, as they are now."""
    places = [place for place, one in enumerate(candidates) if one.reason is None]
    kept = [candidates[place] for place in places]
    rest = table.drop_columns(["content"]).take(pa.array(places, pa.int64()))
    columns: dict[str, Any] = {name: rest.column(name) for name in rest.column_names}
    columns["content"] = pa.array([one.data for one in kept], pa.binary()).cast(pa.string())
    changed = [place for place, one in enumerate(kept) if one.flags]
    if changed:
        for name in ("sha256", "size", "flags"):
            values = columns[name].to_pylist()
            for place in changed:
                values[place] = _measured_again(name, values[place], kept[place])
            columns[name] = pa.array(values, SCHEMA.field(name).type)
    if any(one.license_source is not None for one in kept):
        sources = columns["license_source"].to_pylist()
        columns["license"] = pa.array([one.license for one in kept], pa.string())
        columns["license_source"] = pa.array(
            [one.license_source or source for one, source in zip(kept, sources, strict=True)],
            pa.string(),
        )
    return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _measured_again(name: str, old: Any, document: Candidate) -> Any:
    """A field of a document whose content changed; git's id stays that of the crawled file."""
    if name == "sha256":
        return hashlib.sha256(document.data).hexdigest()
    return len(document.data) if name == "size" else [*old, *document.flags]
