"""What one shard contributes to the join, on disk: n-gram sets and band keys, mapped on demand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components.artifacts.artifact import Artifact
from components.artifacts.documents import read_documents
from components.artifacts.manifest import FileEntry
from components.dedup.bands import Buckets, band_keys, buckets_of
from components.dedup.config import DedupConfig
from components.dedup.shingles import GramSets, Hashes, Indices, gram_sets
from components.dedup.signatures import sign


@dataclass(frozen=True)
class SpillTask:
    """One shard to spill."""

    entry: FileEntry
    rows: Indices
    """The rows to compare: those that are no exact duplicates."""

    folder: Path
    """Where this shard's arrays go."""


@dataclass(frozen=True)
class Spill:
    """The arrays of one shard's compared rows."""

    folder: Path

    @property
    def sets(self) -> GramSets:
        """The n-gram sets; the hashes stay on disk until they are read."""
        offsets: Indices = self._load("offsets")
        hashes: Hashes = self._load("hashes")
        return GramSets(offsets, hashes)

    @property
    def keys(self) -> Hashes:
        """[bands, rows]."""
        keys: Hashes = self._load("keys")
        return keys

    def save(self, sets: GramSets, keys: Hashes) -> None:
        """Write all arrays."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, array in (("offsets", sets.offsets), ("hashes", sets.hashes), ("keys", keys)):
            np.save(self.folder / f"{name}.npy", array)

    def _load(self, name: str) -> Any:
        return np.load(self.folder / f"{name}.npy", mmap_mode="r")


def spill_shard(documents: Artifact, config: DedupConfig, task: SpillTask) -> Spill:
    """Hash one shard's documents, sign them and write what the join needs."""
    table = read_documents(documents, task.entry, ["content"])
    contents = (
        table["content"].cast(pa.large_binary()).take(pa.array(task.rows, pa.int64())).to_pylist()
    )
    sets = gram_sets(contents, config.ngram_words, config.splitter)
    signatures = sign(sets, config.num_permutations, config.seed)
    spill = Spill(task.folder)
    spill.save(sets, band_keys(signatures, config.bands, config.rows))
    return spill


class SpilledSets:
    """The n-gram sets of all shards by document."""

    def __init__(self, spills: Sequence[Spill], ranks: Sequence[Indices], size: int) -> None:
        """Open the spills.

        Args:
            spills: one for every shard.
            ranks: for every shard the documents that its rows stand for.
            size: documents in all, those that were not spilled included.
        """
        self._sets = [spill.sets for spill in spills]
        self._shards = np.zeros(size, dtype=np.int32)
        self._rows = np.zeros(size, dtype=np.int64)
        for shard, documents in enumerate(ranks):
            self._shards[documents] = shard
            self._rows[documents] = np.arange(len(documents))

    def __getitem__(self, document: int) -> Hashes:
        sets = self._sets[int(self._shards[document])]
        return sets[int(self._rows[document])]


def spilled_bands(
    spills: Sequence[Spill], ranks: Sequence[Indices], bands: int
) -> Iterator[Buckets]:
    """The buckets of every band, one band in memory at a time.

    Documents without n-grams are in none: their signatures would all be equal.
    """
    with_grams = [np.diff(spill.sets.offsets) > 0 for spill in spills]
    none = [np.empty(0, dtype=np.int64)]
    documents = np.concatenate(
        none + [shard[keep] for shard, keep in zip(ranks, with_grams, strict=True)]
    )
    keys = [spill.keys for spill in spills]
    for band in range(bands):
        parts = [shard[band][keep] for shard, keep in zip(keys, with_grams, strict=True)]
        yield buckets_of(np.concatenate([np.empty(0, dtype=np.uint64), *parts]), documents)
