"""Which documents the tokenizer learns from and which measure it: by hash, whatever the shards."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.artifacts.artifact import Artifact
from components.artifacts.documents import DOCUMENTS, read_documents
from components.artifacts.errors import ArtifactError
from components.artifacts.manifest import FileEntry
from components.stage.engine import Engine

MEASURED_SHARE = 0.05
MAX_MEASURED_BYTES = 2_000_000
"""A twentieth of the corpus measures the tokenizer and is never learnt from: at most 2 MB, about
600,000 tokens, where bytes per token stands to a few parts in a thousand."""

Ranks = npt.NDArray[np.uint64]
Sizes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Text:
    """A document of the sample."""

    content: str
    size: int
    """UTF-8 bytes."""

    language: str


@dataclass(frozen=True, slots=True)
class Sample:
    """The documents to measure with and to learn from: those whose rank lies below a limit."""

    measured: tuple[Text, ...]
    learnt: tuple[Text, ...]


def draw_sample(documents: Artifact, engine: Engine, seed: int, max_training_bytes: int) -> Sample:
    """Choose documents by the hash of their content.

    Ranked by hash, the first documents measure and the next ones are learnt from, each up to its
    bytes and at least one. A corpus of one document measures with what it learns from.

    Args:
        documents: the corpus.
        engine: reads the shards.
        seed: of the hash.
        max_training_bytes: UTF-8 bytes to learn from; 0 for none.

    Raises:
        ArtifactError: there is no document.
    """
    entries = documents.part(DOCUMENTS)
    parts = list(engine.map(partial(_ranks, documents, seed), entries, "sampling"))
    ranks = np.concatenate([part[0] for part in parts]) if parts else np.zeros(0, np.uint64)
    if not len(ranks):
        raise ArtifactError(
            f"expected documents to learn from, got none in {documents.storage.uri}: "
            "look at the summary of the step before for what it dropped"
        )
    sizes = np.concatenate([part[1] for part in parts])
    first, last = _limits(ranks, sizes, max_training_bytes)
    drawn = engine.map(partial(_read, documents, seed, last), entries, "reading the sample")
    ranked = sorted((row for rows in drawn for row in rows), key=lambda row: row[0])
    measured = tuple(text for (rank, _, _), text in ranked if rank < first)
    learnt = tuple(text for (rank, _, _), text in ranked if first <= rank < last)
    return Sample(measured, learnt if learnt or not max_training_bytes else measured)


def rank_of(content_sha256: str, seed: int) -> int:
    """A document's place in the order of the hash: 64 bits; equal contents share it."""
    return int.from_bytes(sha256(f"{seed}\0{content_sha256}".encode()).digest()[:8], "big")


def _limits(ranks: Ranks, sizes: Sizes, max_training_bytes: int) -> tuple[int, int]:
    """The ranks below which documents measure, and below which they are read at all."""
    order = np.argsort(ranks, kind="stable")
    ranks, ends = ranks[order], np.cumsum(sizes[order])
    budget = min(int(MEASURED_SHARE * int(ends[-1])), MAX_MEASURED_BYTES)
    measured = _count_below(ranks, ends, budget)
    first = _rank_at(ranks, measured)
    if not max_training_bytes:
        return first, first
    before = int(ends[measured - 1])
    learnt = _count_below(ranks[measured:], ends[measured:] - before, max_training_bytes)
    return first, _rank_at(ranks, measured + learnt)


def _count_below(ranks: Ranks, ends: Sizes, budget: int) -> int:
    """How many first documents fit a budget: at least one, equal ranks together."""
    count = max(int(np.searchsorted(ends, budget, side="right")), 1)
    while 0 < count < len(ranks) and ranks[count] == ranks[count - 1]:
        count += 1
    return min(count, len(ranks))


def _rank_at(ranks: Ranks, index: int) -> int:
    return int(ranks[index]) if index < len(ranks) else 2**64


def _ranks(documents: Artifact, seed: int, entry: FileEntry) -> tuple[Ranks, Sizes]:
    table = read_documents(documents, entry, ["sha256", "size"])
    ranks = [rank_of(content_sha256, seed) for content_sha256 in table["sha256"].to_pylist()]
    return np.array(ranks, np.uint64), np.array(table["size"].to_pylist(), np.int64)


Place = tuple[int, str, str]
"""Rank, repository and path: one order, however the documents lie in shards."""


def _read(
    documents: Artifact, seed: int, limit: int, entry: FileEntry
) -> Sequence[tuple[Place, Text]]:
    columns = ["repo", "path", "sha256", "size", "content", "language"]
    table = read_documents(documents, entry, columns)
    ranks = [rank_of(content_sha256, seed) for content_sha256 in table["sha256"].to_pylist()]
    indices = [index for index, rank in enumerate(ranks) if rank < limit]
    rows = table.take(pa.array(indices, pa.int64())).to_pylist()
    chosen = (rank for rank in ranks if rank < limit)
    return [
        ((rank, row["repo"], row["path"]), Text(row["content"], row["size"], row["language"]))
        for rank, row in zip(chosen, rows, strict=True)
    ]


def num_bytes(texts: Iterable[Text]) -> int:
    """UTF-8 bytes of texts."""
    return sum(text.size for text in texts)
