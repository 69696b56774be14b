"""Documents of one shard as tokens, one stream a split, EOS after each document."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from components.artifacts.artifact import Artifact, Draft
from components.artifacts.documents import read_documents
from components.artifacts.manifest import FileEntry
from components.artifacts.tally import Tally
from components.artifacts.tokens import SOURCE_COLUMNS, SPLITS, Ids, draft_tokens
from components.model.text import TextCodec

TRAINING, VALIDATION = SPLITS

BATCH_BYTES = 2_000_000
"""Text that is encoded at once: enough for every thread, and the ids of a batch stay small."""

LOSSY = "lossy_tokens"
"""The reason of a document whose tokens do not spell its text: a base with a normaliser."""


@dataclass(slots=True)
class _Stream:
    """The tokens of one split, as they grow."""

    ids: list[Ids] = field(default_factory=list)
    offsets: list[int] = field(default_factory=lambda: [0])
    sources: list[dict[str, Any]] = field(default_factory=list)

    def add(self, ids: Sequence[int], eos_id: int, source: dict[str, Any]) -> None:
        self.ids.append(np.array([*ids, eos_id], dtype=np.uint16))
        self.offsets.append(self.offsets[-1] + len(ids) + 1)
        self.sources.append(source)


def encode_shard(
    documents: Artifact, tokenizer: Artifact, held_out: frozenset[str], entry: FileEntry
) -> tuple[list[Draft], Tally]:
    """Encode one shard of documents.

    Text that spells a special token is text. Each document is decoded again: one that does not
    come back is dropped and counted.

    Args:
        documents: the corpus.
        tokenizer: the artifact with `tokenizer.json`.
        held_out: the repositories of the validation split.
        entry: the shard.
    """
    codec = TextCodec.from_artifact(tokenizer)
    tally = Tally()
    streams = {split: _Stream() for split in SPLITS}
    for batch in _batches(read_documents(documents, entry, [*SOURCE_COLUMNS, "content"])):
        texts = [row.pop("content") for row in batch]
        for row, text, ids in zip(batch, texts, codec.encode_batch(texts), strict=True):
            tally.take_in(row["size"])
            if codec.decode(ids) != text:
                tally.drop(LOSSY, row["size"])
                continue
            split = VALIDATION if row["repo"] in held_out else TRAINING
            streams[split].add(ids, codec.eos_id, row)
            tally.keep(row["size"], row["license"], row["language"])
            tally.count(f"documents_{split}")
            tally.count(f"bytes_{split}", row["size"])
            tally.count(f"tokens_{split}", len(ids) + 1)
    index = {
        "eos_id": codec.eos_id,
        "tokenizer_digest": tokenizer.manifest.digest,
        "vocabulary_size": codec.vocabulary_size,
    }
    return _drafts(streams, index), tally


def _drafts(streams: dict[str, _Stream], index: dict[str, Any]) -> list[Draft]:
    """The files of the splits that have documents in this shard."""
    drafts: list[Draft] = []
    for split, stream in streams.items():
        if stream.sources:
            ids = np.concatenate(stream.ids)
            drafts += draft_tokens(split, ids, stream.offsets, stream.sources, index)
    return drafts


def _batches(table: pa.Table) -> Iterator[list[dict[str, Any]]]:
    """Rows in order, about BATCH_BYTES of text at a time."""
    start, size = 0, 0
    for end, document_size in enumerate(table["size"].to_pylist(), start=1):
        size += document_size
        if size >= BATCH_BYTES or end == table.num_rows:
            yield table.slice(start, end - start).to_pylist()
            start, size = end, 0
