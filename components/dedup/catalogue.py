"""All documents of an artifact without their contents, and which copy is better than which."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.artifacts.artifact import Artifact
from components.artifacts.documents import DOCUMENTS, read_documents
from components.artifacts.manifest import FileEntry
from components.dedup.exact import gpt_cc_key, view_numbers
from components.dedup.shingles import Indices
from components.stage.engine import Engine

COLUMNS = ("repo", "path", "sha256", "commit", "source", "stars")

ORDER = [
    ("stars", "descending"),
    ("repo", "ascending"),
    ("path", "ascending"),
    ("sha256", "ascending"),
    ("commit", "ascending"),
    ("source", "ascending"),
]
"""The better copy comes first: most stars, then repository and path. The rest makes the order the
same however the documents are cut into shards."""


@dataclass(frozen=True)
class Catalogue:
    """D documents, numbered from the best copy on: a document's number is its rank."""

    documents: pa.Table
    """[D] COLUMNS, and `key` where that is not the sha256, by rank."""

    ranks: Sequence[Indices]
    """For every shard the ranks of its rows."""

    def __len__(self) -> int:
        return int(self.documents.num_rows)

    def keys(self) -> pa.ChunkedArray:
        """The keys of exact duplicates, by rank."""
        return self.documents["key" if "key" in self.documents.column_names else "sha256"]

    def name(self, document: int) -> dict[str, str]:
        """What identifies a document to people: repository, path and hash."""
        columns = ("repo", "path", "sha256")
        return {column: self.documents[column][document].as_py() for column in columns}


def read_catalogue(engine: Engine, documents: Artifact, exact_key: str) -> Catalogue:
    """Read the provenance of all documents and rank them.

    Args:
        engine: who reads the shards.
        documents: an artifact of documents.
        exact_key: `sha256` or `gpt_cc`, see DedupConfig.
    """
    entries = documents.part(DOCUMENTS)
    tables = list(engine.map(partial(_describe, documents, exact_key), entries, "reading"))
    if not tables:
        return Catalogue(pa.table({name: [] for name in COLUMNS}), [])
    whole = pa.concat_tables(tables)
    order = pc.sort_indices(whole, sort_keys=ORDER)
    ranks = np.empty(whole.num_rows, dtype=np.int64)
    ranks[view_numbers(order, np.uint64).astype(np.int64)] = np.arange(whole.num_rows)
    cuts = np.cumsum([table.num_rows for table in tables])[:-1]
    return Catalogue(whole.take(order).combine_chunks(), np.split(ranks, cuts))


def _describe(documents: Artifact, exact_key: str, entry: FileEntry) -> pa.Table:
    """The COLUMNS of one shard, and `key` where that is not the sha256."""
    if exact_key == "sha256":
        return _widen(read_documents(documents, entry, COLUMNS).select(COLUMNS))
    table = read_documents(documents, entry, [*COLUMNS, "content"])
    keys = [gpt_cc_key(content.as_py()) for content in table["content"]]
    return _widen(table.select(COLUMNS).append_column("key", pa.array(keys, pa.string())))


def _widen(table: pa.Table) -> pa.Table:
    """Strings with 64-bit offsets: all documents together have more than 2 GB of names."""
    fields = [
        field.with_type(pa.large_string()) if pa.types.is_string(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))
