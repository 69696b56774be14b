"""What one shard contributes to the join, on disk: n-gram sets and band keys, mapped on demand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.artifacts.artifact import Artifact
from components.artifacts.documents import read_row_groups
from components.artifacts.manifest import FileEntry
from components.dedup.bands import Buckets, buckets_of
from components.dedup.config import DedupConfig
from components.dedup.kernels import band_documents, sign_documents
from components.dedup.shingles import Hashes, Indices, Texts, hash_parts
from components.dedup.signatures import permutations

HASHES, OFFSETS, KEYS = "hashes.bin", "offsets.npy", "keys.npy"
"""The files of a shard's spill."""


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
    def offsets(self) -> Indices:
        """[rows + 1] where each row's hashes begin."""
        offsets: Indices = np.load(self.folder / OFFSETS)
        return offsets

    @property
    def keys(self) -> Hashes:
        """[bands, rows]; stays on disk until it is read."""
        keys: Hashes = np.load(self.folder / KEYS, mmap_mode="r")
        return keys

    @property
    def hashes(self) -> Hashes:
        """The hashes of all rows; they stay on disk until they are read."""
        path = self.folder / HASHES
        if not path.stat().st_size:
            return np.empty(0, dtype=np.uint64)
        return np.memmap(path, dtype=np.uint64, mode="r")


def spill_shard(documents: Artifact, config: DedupConfig, task: SpillTask) -> Spill:
    """Hash one shard's documents, sign them and write what the join needs, slab by slab."""
    factors, summands = permutations(config.num_permutations, config.seed)
    task.folder.mkdir(parents=True, exist_ok=True)
    keys = np.empty((len(task.rows), config.bands), dtype=np.uint64)
    ends = [np.zeros(1, dtype=np.int64)]
    done = 0
    with (task.folder / HASHES).open("wb") as file:
        parts = _wanted_texts(documents, task)
        for sets in hash_parts(parts, config.ngram_words, config.splitter):
            signatures = np.empty((len(sets), config.num_permutations), dtype=np.uint32)
            sign_documents(sets.hashes, sets.offsets[1:], factors, summands, signatures)
            band_documents(signatures, config.rows, keys[done : done + len(sets)])
            file.write(sets.hashes.data)
            ends.append(sets.offsets[1:] + ends[-1][-1])
            done += len(sets)
    np.save(task.folder / OFFSETS, np.concatenate(ends))
    np.save(task.folder / KEYS, np.ascontiguousarray(keys.T))
    return Spill(task.folder)


def _wanted_texts(documents: Artifact, task: SpillTask) -> Iterator[tuple[Texts, Indices]]:
    """The contents of each row group, and which of its rows to compare."""
    start = 0
    for table in read_row_groups(documents, task.entry, ["content"]):
        first, last = np.searchsorted(task.rows, [start, start + table.num_rows])
        yield Texts.of_column(table["content"]), task.rows[first:last] - start
        start += table.num_rows


class SpilledSets:
    """The n-gram sets of all shards by document, mapped from their files."""

    def __init__(self, spills: Sequence[Spill], ranks: Sequence[Indices], size: int) -> None:
        """Open the spills.

        Args:
            spills: one for every shard.
            ranks: for every shard the documents that its rows stand for.
            size: documents in all, those that were not spilled included.
        """
        self._hashes = [spill.hashes for spill in spills]
        self.addresses: Indices = np.zeros(size, dtype=np.int64)
        self.sizes: Indices = np.zeros(size, dtype=np.int64)
        for hashes, spill, documents in zip(self._hashes, spills, ranks, strict=True):
            offsets = spill.offsets
            self.addresses[documents] = hashes.ctypes.data + 8 * offsets[:-1]
            self.sizes[documents] = np.diff(offsets)


def spilled_bands(
    spills: Sequence[Spill], ranks: Sequence[Indices], bands: int
) -> Iterator[Buckets]:
    """The buckets of every band, one band in memory at a time.

    Documents without n-grams are in none: their signatures would all be equal.
    """
    with_grams = [np.diff(spill.offsets) > 0 for spill in spills]
    none = [np.empty(0, dtype=np.int64)]
    documents = np.concatenate(
        none + [shard[keep] for shard, keep in zip(ranks, with_grams, strict=True)]
    )
    keys = [spill.keys for spill in spills]
    for band in range(bands):
        parts = [shard[band][keep] for shard, keep in zip(keys, with_grams, strict=True)]
        yield buckets_of(np.concatenate([np.empty(0, dtype=np.uint64), *parts]), documents)
