"""Documents as sets of hashed word n-grams: Arrow buffers in, arrays out."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.dedup.kernels import hash_documents, scratch_size

Hashes = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]

SLAB_BYTES = 8_000_000
"""Text that is hashed in one call: what a call needs beside it is at most nine times as large."""


@dataclass(frozen=True, slots=True)
class GramSets:
    """The n-gram sets of D documents, one after another."""

    offsets: Indices
    """[D + 1] where each document's hashes begin; the last is where all end."""

    hashes: Hashes
    """[offsets[D]] distinct within a document, in the order in which the text has them."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, document: int) -> Hashes:
        return self.hashes[self.offsets[document] : self.offsets[document + 1]]


@dataclass(frozen=True, slots=True)
class Texts:
    """The UTF-8 bytes of documents in one buffer."""

    data: npt.NDArray[np.uint8]
    offsets: npt.NDArray[Any]
    """[documents + 1]"""

    @classmethod
    def of_column(cls, column: pa.ChunkedArray) -> "Texts":
        """The buffers of a column of strings; nothing is copied where it has one chunk."""
        if column.num_chunks == 1:
            array = column.chunk(0)
        else:  # joined, they may pass the 2 GB that 32-bit offsets reach
            array = pa.concat_arrays(
                [pa.array([], pa.large_string()), *column.cast(pa.large_string()).chunks]
            )
        if not len(array):
            return cls(np.empty(0, np.uint8), np.zeros(1, np.int64))
        wide = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
        _, offsets, data = array.buffers()
        places = np.frombuffer(offsets, np.int64 if wide else np.int32)
        places = places[array.offset : array.offset + len(array) + 1]
        return cls(np.frombuffer(data or b"", np.uint8), places)

    @classmethod
    def of_contents(cls, contents: Sequence[bytes]) -> "Texts":
        """Join documents that lie apart."""
        offsets = np.zeros(len(contents) + 1, dtype=np.int64)
        np.cumsum([len(content) for content in contents], out=offsets[1:])
        return cls(np.frombuffer(b"".join(contents), np.uint8), offsets)

    def slabs(self, documents: Indices) -> Iterator[Indices]:
        """Cut documents into runs of about SLAB_BYTES, at least one document each."""
        if len(documents):
            slab = np.cumsum(self.sizes(documents)) // SLAB_BYTES
            yield from np.split(documents, np.flatnonzero(np.diff(slab)) + 1)

    def sizes(self, documents: Indices) -> Indices:
        """UTF-8 bytes of each document."""
        sizes: Indices = self.offsets[documents + 1].astype(np.int64) - self.offsets[documents]
        return sizes


def hash_slabs(
    texts: Texts, documents: Indices, gram_words: int, splitter: str
) -> Iterator[GramSets]:
    """The n-gram sets of some documents of one text, slab by slab; see `hash_parts`."""
    return hash_parts([(texts, documents)], gram_words, splitter)


def hash_parts(
    parts: Iterable[tuple[Texts, Indices]], gram_words: int, splitter: str
) -> Iterator[GramSets]:
    """The n-gram sets of documents that come part by part, slab by slab.

    A slab's arrays are used again for the next one: copy what must stay. Fresh memory for every
    slab would take half as long again, in page faults.

    Args:
        parts: texts, and which of their documents are wanted.
        gram_words: words in an n-gram; a document with fewer has the empty set.
        splitter: `runs` or `bigcode`, see DedupConfig.
    """
    scratch = hashes = np.empty(0, dtype=np.uint64)
    for texts, documents in parts:
        for slab in texts.slabs(documents):
            sizes = texts.sizes(slab)
            if len(scratch) < (needed := scratch_size(int(sizes.max()))):
                scratch = np.empty(needed, dtype=np.uint64)
            if len(hashes) < (needed := int(sizes.sum()) + len(slab)):
                hashes = np.empty(needed, dtype=np.uint64)
            offsets = np.zeros(len(slab) + 1, dtype=np.int64)
            count = hash_documents(
                texts.data,
                texts.offsets,
                slab,
                splitter == "bigcode",
                gram_words,
                scratch,
                hashes,
                offsets[1:],
            )
            yield GramSets(offsets, hashes[:count])


def gram_sets(contents: Sequence[bytes], gram_words: int, splitter: str) -> GramSets:
    """The n-gram sets of documents that lie apart, in the order given; see `hash_slabs`."""
    texts = Texts.of_contents(contents)
    parts = [
        (np.diff(sets.offsets), sets.hashes.copy())
        for sets in hash_slabs(texts, np.arange(len(contents)), gram_words, splitter)
    ]
    sizes = [np.zeros(1, np.int64), *(part[0] for part in parts)]
    hashes = [np.empty(0, np.uint64), *(part[1] for part in parts)]
    return GramSets(np.cumsum(np.concatenate(sizes)), np.concatenate(hashes))
