"""Document shards: Parquet, zstd, sorted by repository and path, provenance in every row."""

import contextlib
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
ROW_GROUP_BYTES = 1 << 24
"""From here on small tables that are written one after the other make a row group."""
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
    return hashlib.sha256(canonical_lines(table).encode()).hexdigest()


def canonical_lines(table: pa.Table) -> str:
    """Every row but its content as canonical JSON with a line end.

    What `canonical_json` makes of the rows, column by column: a fifth of the time.
    """
    names = sorted(name for name in table.column_names if name != "content")
    template = "{" + ",".join(f'"{name}":%s' for name in names) + "}\n"
    rows = zip(*(_spelled(table[name]) for name in names), strict=True)
    return "".join([template % row for row in rows])


def _spelled(column: pa.ChunkedArray) -> list[str]:
    """The canonical JSON of each value, made once for each different one."""
    values = column.to_pylist()
    if pa.types.is_list(column.type):
        return ["[]" if value == [] else canonical_json(value) for value in values]
    known = {value: canonical_json(value) for value in set(values)}
    return [known[value] for value in values]


def draft_documents(table: pa.Table) -> Draft:
    """Spell a table of documents as a Parquet shard."""
    return draft_document_tables([table])


def draft_document_tables(tables: Iterable[pa.Table], name: str | None = None) -> Draft:
    """Spell tables of documents as one Parquet shard, holding one of them at a time.

    Args:
        tables: in the order of the rows.
        name: of the file; by default one is made of place and hash.
    """
    buffer, hasher, rows = io.BytesIO(), hashlib.sha256(), 0
    with pq.ParquetWriter(
        buffer,
        SCHEMA,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        use_dictionary=[*REPETITIVE],
        write_statistics=False,
    ) as writer:
        for table in _in_groups(tables):
            writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
            rows += table.num_rows
            hasher.update(canonical_lines(table).encode())
    return Draft(
        part=DOCUMENTS,
        suffix=".parquet",
        data=buffer.getvalue(),
        rows=rows,
        digest=hasher.hexdigest(),
        name=name,
    )


def _in_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Small tables together, so that a row group is not a handful of rows."""
    held: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        held.append(table)
        rows += table.num_rows
        size += table.nbytes
        if rows >= ROW_GROUP_ROWS or size >= ROW_GROUP_BYTES:
            yield pa.concat_tables(held)
            held, rows, size = [], 0, 0
    if held:
        yield pa.concat_tables(held)


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
    # Not `pq.read_table`, which imports pyarrow.dataset for 0.1 s.
    with _opened(artifact, entry) as file:
        return file.read(columns=_wanted(columns), use_threads=False)


def read_row_groups(
    artifact: Artifact, entry: FileEntry, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Read one document shard a row group at a time, as `read_documents` does.

    A pass over a shard touches the memory of one group, which is used again for the next.
    """
    with _opened(artifact, entry) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=_wanted(columns), use_threads=False)


def read_rows(
    artifact: Artifact, entry: FileEntry, rows: Sequence[int], columns: Sequence[str] | None = None
) -> pa.Table:
    """Read some rows of one document shard, in their order, and no row group without one."""
    parts, start = [SCHEMA.empty_table().select(_wanted(columns) or SCHEMA.names)], 0
    with _opened(artifact, entry) as file:
        for group in range(file.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            if inside := [row - start for row in rows if start <= row < start + size]:
                table = file.read_row_group(group, columns=_wanted(columns), use_threads=False)
                parts += [table.slice(row, 1) for row in inside]
            start += size
    return pa.concat_tables(parts)


def _wanted(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else [*columns]


@contextlib.contextmanager
def _opened(artifact: Artifact, entry: FileEntry) -> Iterator[pq.ParquetFile]:
    """A shard whose bytes were checked. It is read by one thread: shards are read in parallel as it
    is, and threads double the CPU time.
    """
    data = artifact.read(entry)
    try:
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            yield file
    except pa.ArrowException as error:
        raise CorruptArtifactError(
            f"expected a document shard, got {error} in {entry.name!r} (digest {entry.digest}) "
            f"of {artifact.storage.uri}: remove that folder and run again"
        ) from error
