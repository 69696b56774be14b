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


@dataclass(frozen=True)
class TokenShard:
    """The tokens of one shard and split, documents one after another, EOS after each."""

    ids: Ids
    """[tokens]"""

    offsets: npt.NDArray[np.int64]
    """[documents + 1]: document i is ids[offsets[i]:offsets[i + 1]], its EOS included."""

    sources: pa.Table
    """[documents] rows of SOURCE_COLUMNS; `size` is in UTF-8 bytes."""


def draft_tokens(
    split: str,
    ids: Ids,
    offsets: Sequence[int],
    sources: Sequence[Mapping[str, Any]],
    index: Mapping[str, Any],
) -> list[Draft]:
    """Spell the tokens of one shard and split as its three files.

    Args:
        split: one of SPLITS.
        ids: [tokens], documents one after another, EOS after each.
        offsets: [documents + 1].
        sources: a row of SOURCE_COLUMNS a document.
        index: what a reader must know: `eos_id`, `tokenizer_digest`, `vocabulary_size`.
    """
    assert split in SPLITS, split
    assert len(offsets) == len(sources) + 1, (len(offsets), len(sources))
    buffer = io.BytesIO()
    np.save(buffer, ids.astype("<u2"))
    whole_index = {**index, "dtype": "uint16", "tokens": len(ids), "offsets": [*offsets]}
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
        offsets = np.array(index["offsets"], dtype=np.int64)
        sources = pq.read_table(pa.BufferReader(artifact.read(sources_entry)))
        ids = _memory_map(artifact, ids_entry)
        if len(ids) != index["tokens"] or sources.num_rows != len(offsets) - 1:
            raise CorruptArtifactError(
                f"expected {index['tokens']} tokens of {len(offsets) - 1} documents, got "
                f"{len(ids)} of {sources.num_rows} in {ids_entry.name!r} of "
                f"{artifact.storage.uri}: remove that folder and run again"
            )
        shards.append(TokenShard(ids, offsets, sources))
    return shards


def _memory_map(artifact: Artifact, entry: FileEntry) -> Ids:
    ids: Ids = np.load(artifact.path(entry), mmap_mode="r")
    return ids


_SOURCES = pa.schema(
    [(name, pa.int64() if name == "size" else pa.string()) for name in SOURCE_COLUMNS]
)
