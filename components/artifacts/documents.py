"""Document shards: Parquet, zstd, sorted by repository and path, provenance in every row."""

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq

from components.artifacts.artifact import Artifact, Draft
from components.artifacts.canonical import canonical_json
from components.artifacts.errors import CorruptArtifactError
from components.artifacts.manifest import FileEntry

DOCUMENTS = "documents"
"""The kind of an artifact of documents, and the part that holds them."""

ROW_GROUP_ROWS = 1024
ZSTD_LEVEL = 1
"""A shard of code is a tenth larger than at level 3, and is written a third faster."""
REPETITIVE = ("source", "repo_id", "repo", "commit", "language", "license", "license_source")
"""Columns written through a dictionary; trying one on contents and hashes costs a tenth."""

SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("repo_id", pa.string()),
        ("repo", pa.string()),
        ("commit", pa.string()),
        ("path", pa.string()),
        ("blob_sha1", pa.string()),
        ("sha256", pa.string()),
        ("size", pa.int64()),
        ("content", pa.string()),
        ("language", pa.string()),
        ("license", pa.string()),
        ("license_source", pa.string()),
        ("stars", pa.int64()),
        ("flags", pa.list_(pa.string())),
    ]
)


class Document(TypedDict):
    """One source file with its provenance: a row of a document shard."""

    source: str
    """Which source it was crawled from, such as `installed`."""
    repo_id: str
    """An id that survives renames."""
    repo: str
    """Owner and name, or a distribution's name."""
    commit: str
    """Commit, or a distribution's version."""
    path: str
    """Inside the repository, with `/`."""
    blob_sha1: str
    """git's id of the file as it was crawled."""
    sha256: str
    """Of the UTF-8 bytes of `content`."""
    size: int
    """UTF-8 bytes of `content`."""
    content: str
    language: str
    license: str
    """SPDX expression, or `unknown`."""
    license_source: str
    """Where the licence was read."""
    stars: int
    flags: list[str]
    """What a later step should know, such as `header_stripped`."""


def git_blob_sha1(data: bytes) -> str:
    """Git's id of a file: sha1 over a header and the bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def documents_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Make an Arrow table of documents."""
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)


def digest_documents(table: pa.Table) -> str:
    """sha256 over the rows in order; the content counts through its own sha256."""
    hasher = hashlib.sha256()
    table = table.drop_columns(["content"])
    names = table.column_names
    for values in zip(*(column.to_pylist() for column in table.columns), strict=True):
        hasher.update(canonical_json(dict(zip(names, values, strict=True))).encode() + b"\n")
    return hasher.hexdigest()


def draft_documents(table: pa.Table) -> Draft:
    """Spell a table of documents as a Parquet shard."""
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        row_group_size=ROW_GROUP_ROWS,
        use_dictionary=[*REPETITIVE],
        write_statistics=False,
    )
    return Draft(
        part=DOCUMENTS,
        suffix=".parquet",
        data=buffer.getvalue(),
        rows=table.num_rows,
        digest=digest_documents(table),
    )


def read_documents(
    artifact: Artifact, entry: FileEntry, columns: Sequence[str] | None = None
) -> pa.Table:
    """Read one document shard.

    Args:
        artifact: an artifact of documents.
        entry: one of its files.
        columns: the columns wanted; None takes all.

    Raises:
        CorruptArtifactError: the file is damaged, or no Parquet file.
    """
    data = artifact.read(entry)
    try:
        # One thread: shards are read in parallel as it is, and threads double the CPU time. Not
        # `pq.read_table`, which imports pyarrow.dataset for 0.1 s.
        wanted = None if columns is None else [*columns]
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            return file.read(columns=wanted, use_threads=False)
    except pa.ArrowException as error:
        raise CorruptArtifactError(
            f"expected a document shard, got {error} in {entry.name!r} (digest {entry.digest}) "
            f"of {artifact.storage.uri}: remove that folder and run again"
        ) from error
