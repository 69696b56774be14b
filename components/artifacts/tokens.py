"""Token shards: raw uint16 `.npy`, a JSON index, and a table of where each document is from.

torch and JAX both read the ids through `numpy.memmap`. A block of tokens traces back to its
documents through the offsets, and from there to repository, commit, path and licence.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from components.artifacts.artifact import Artifact, Draft
from components.artifacts.canonical import canonical_json, sha256_hex
from components.artifacts.errors import CorruptArtifactError
from components.artifacts.manifest import FileEntry

TOKENS = "tokens"
"""The kind of an artifact of token shards."""

MAX_VOCABULARY = 65_536
"""uint16 holds ids below this."""

SPLITS = ("training", "validation")
"""A split's parts are `<split>_ids`, `<split>_index` and `<split>_sources`."""

SOURCE_COLUMNS = ("source", "repo", "commit", "path", "sha256", "size", "language", "license")

Ids = npt.NDArray[np.uint16]


Places = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Where documents stand in a shard that was packed as blocks.

    Every block begins at a multiple of `block_length`; what no piece covers is EOS as padding.
    """

    block_length: int
    """Tokens of a block."""

    eos_id: int
    """Fills blocks, and stands before each when it is read."""

    documents: Places
    """[pieces] the row in `sources`."""

    starts: Places
    """[pieces] the piece's first token within its document, 0 unless the document was cut."""

    offsets: Places
    """[pieces] the piece's first token in `ids`, rising."""

    lengths: Places
    """[pieces] tokens, the document's EOS included in its last piece."""

    def to_json(self) -> dict[str, Any]:
        """What the index says of the blocks."""
        pieces = {name: getattr(self, name).tolist() for name in _PIECES}
        return {"block_length": self.block_length, "pieces": pieces}

    @classmethod
    def from_json(cls, index: Mapping[str, Any]) -> "Blocks":
        """Read them from an index."""
        pieces = {name: np.array(index["pieces"][name], dtype=np.int64) for name in _PIECES}
        return cls(block_length=index["block_length"], eos_id=index["eos_id"], **pieces)


_PIECES = ("documents", "starts", "offsets", "lengths")


@dataclass(frozen=True)
class TokenShard:
    """The tokens of one shard and split: a stream of documents, or blocks of their pieces."""

    ids: Ids
    """[tokens]"""

    offsets: Places
    """[documents + 1]: document i is ids[offsets[i]:offsets[i + 1]], its EOS included. Empty where
    `blocks` says where the documents stand."""

    sources: pa.Table
    """[documents] rows of SOURCE_COLUMNS; `size` is in UTF-8 bytes."""

    blocks: Blocks | None = None
    """None in a stream, where documents follow each other whole."""


def draft_tokens(
    split: str,
    ids: Ids,
    layout: Sequence[int] | Blocks,
    sources: Sequence[Mapping[str, Any]],
    index: Mapping[str, Any],
) -> list[Draft]:
    """Spell the tokens of one shard and split as its three files.

    Args:
        split: one of SPLITS.
        ids: [tokens], EOS after each document.
        layout: [documents + 1] offsets of a stream, or where the pieces stand in blocks.
        sources: a row of SOURCE_COLUMNS a document.
        index: what a reader must know: `eos_id`, `tokenizer_digest`, `vocabulary_size`.
    """
    assert split in SPLITS, split
    if isinstance(layout, Blocks):
        where = layout.to_json()
    else:
        assert len(layout) == len(sources) + 1, (len(layout), len(sources))
        where = {"offsets": [*layout]}
    buffer = io.BytesIO()
    np.save(buffer, ids.astype("<u2"))
    whole_index = {**index, "dtype": "uint16", "tokens": len(ids), **where}
    index_data = canonical_json(whole_index).encode()
    rows = [{name: source[name] for name in SOURCE_COLUMNS} for source in sources]
    table_data = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=_SOURCES), table_data, compression="zstd")
    return [
        Draft(
            part=f"{split}_ids",
            suffix=".npy",
            data=buffer.getvalue(),
            rows=len(ids),
            digest=sha256_hex(ids.astype("<u2").tobytes()),
        ),
        Draft(
            part=f"{split}_index",
            suffix=".json",
            data=index_data,
            rows=len(sources),
            digest=sha256_hex(index_data),
        ),
        Draft(
            part=f"{split}_sources",
            suffix=".parquet",
            data=table_data.getvalue(),
            rows=len(rows),
            digest=sha256_hex(canonical_json(rows).encode()),
        ),
    ]


def read_tokens(artifact: Artifact, split: str) -> list[TokenShard]:
    """Open the token shards of a split; the ids are memory maps.

    Raises:
        CorruptArtifactError: a file is damaged, or its parts do not fit each other.
    """
    assert split in SPLITS, split
    shards = []
    for ids_entry, index_entry, sources_entry in zip(
        artifact.part(f"{split}_ids"),
        artifact.part(f"{split}_index"),
        artifact.part(f"{split}_sources"),
        strict=True,
    ):
        index = json.loads(artifact.read(index_entry))
        sources = pq.read_table(pa.BufferReader(artifact.read(sources_entry)))
        ids = _memory_map(artifact, ids_entry)
        blocks = Blocks.from_json(index) if "pieces" in index else None
        offsets = np.array(index.get("offsets", ()), dtype=np.int64)
        rows = int(blocks.documents.max(initial=-1)) + 1 if blocks else len(offsets) - 1
        if len(ids) != index["tokens"] or sources.num_rows != rows:
            raise CorruptArtifactError(
                f"expected {index['tokens']} tokens of {rows} documents, got "
                f"{len(ids)} of {sources.num_rows} in {ids_entry.name!r} of "
                f"{artifact.storage.uri}: remove that folder and run again"
            )
        shards.append(TokenShard(ids, offsets, sources, blocks))
    return shards


def _memory_map(artifact: Artifact, entry: FileEntry) -> Ids:
    ids: Ids = np.load(artifact.path(entry), mmap_mode="r")
    return ids


_SOURCES = pa.schema(
    [(name, pa.int64() if name == "size" else pa.string()) for name in SOURCE_COLUMNS]
)
