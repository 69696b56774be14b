"""Documents of one shard as tokens, one stream a split, EOS after each document."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from components.artifacts.artifact import Artifact, Draft
from components.artifacts.documents import read_documents
from components.artifacts.manifest import FileEntry
from components.artifacts.tally import Tally
from components.artifacts.tokens import SOURCE_COLUMNS, SPLITS, Ids, draft_tokens
from components.model.encoding import BatchEncoder, TokenIds
from components.model.text import TextCodec
from components.packing.infilling import Infilling

TRAINING, VALIDATION = SPLITS

BATCH_BYTES = 2_000_000
"""Text that is encoded at once: enough for every thread, and the ids of a batch stay small."""

SLOWLY = "texts_encoded_slowly"
"""The count of texts that Hugging Face encoded because the fast encoder was refused or failed."""

LOSSY = "lossy_tokens"
"""The reason of a document whose tokens do not spell its text: a base with a normaliser."""


@dataclass(slots=True)
class _Stream:
    """The tokens of one split, as they grow."""

    ids: list[Ids] = field(default_factory=list)
    offsets: list[int] = field(default_factory=lambda: [0])
    sources: list[dict[str, Any]] = field(default_factory=list)

    def add(self, ids: TokenIds, eos_id: int, source: dict[str, Any]) -> None:
        ended = np.empty(len(ids) + 1, np.uint16)
        ended[:-1], ended[-1] = ids, eos_id
        self.ids.append(ended)
        self.offsets.append(self.offsets[-1] + len(ids) + 1)
        self.sources.append(source)


def encode_shard(
    documents: Artifact,
    tokenizer: Artifact,
    held_out: frozenset[str],
    infilling: Infilling | None,
    entry: FileEntry,
) -> tuple[list[Draft], Tally]:
    """Encode one shard of documents.

    Text that spells a special token is text. Each document is decoded again: one that does not
    come back is dropped and counted.

    Args:
        documents: the corpus.
        tokenizer: the artifact with `tokenizer.json`.
        held_out: the repositories of the validation split.
        infilling: how documents of the training split are rearranged; None for not at all.
        entry: the shard.
    """
    codec = TextCodec.from_artifact(tokenizer)
    table = read_documents(documents, entry, [*SOURCE_COLUMNS, "content"])
    encoder = BatchEncoder(codec, table["content"])
    tally = Tally()
    streams = {split: _Stream() for split in SPLITS}
    for batch in _batches(table):
        texts = [row.pop("content") for row in batch]
        for row, text, whole in zip(batch, texts, encoder.encode(texts), strict=True):
            tally.take_in(row["size"])
            split = VALIDATION if row["repo"] in held_out else TRAINING
            cut = infilling.cut(text, row["sha256"]) if infilling and split == TRAINING else None
            parts = encoder.encode(cut.parts) if cut else [whole]
            if not all(map(codec.spells, parts, cut.parts if cut else (text,))):
                tally.drop(LOSSY, row["size"])
                continue
            ids = infilling.arrange(cut, parts) if infilling and cut else whole
            streams[split].add(ids, codec.eos_id, row)
            tally.keep(row["size"], row["license"], row["language"])
            tally.count(f"documents_{split}")
            tally.count(f"bytes_{split}", row["size"])
            tally.count(f"tokens_{split}", len(ids) + 1)
            if cut:
                tally.count("documents_infilled")
    if encoder.num_slow:
        tally.count(SLOWLY, encoder.num_slow)
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
