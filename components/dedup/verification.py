"""Exact Jaccard similarity of n-gram sets: what decides, where a signature only proposes."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from components.dedup.kernels import compare_pairs
from components.dedup.shingles import GramSets, Indices

CHUNK_HASHES = 4_000_000
"""Hashes that are read for one call: 32 MB."""

Similarities = npt.NDArray[np.float64]


class Sets(Protocol):
    """The n-gram sets of documents by their numbers."""

    def sizes(self, documents: Indices, /) -> Indices:
        """How many n-grams each document has."""

    def gather(self, documents: Indices, /) -> GramSets:
        """The sets of some documents, in the order given."""


def jaccard(sets: Sets, left: Indices, right: Indices) -> Similarities:
    """The size of the intersection over the size of the union; 0 for two empty sets.

    Args:
        sets: the documents' n-grams.
        left: [P] documents.
        right: [P] documents, each to compare with the left one of its place.

    Returns:
        [P].
    """
    common = np.empty(len(left), dtype=np.int64)
    order = np.lexsort((right, left))
    for part in _chunks(order, sets.sizes(left[order]) + sets.sizes(right[order])):
        documents, places = np.unique(
            np.concatenate([left[part], right[part]]), return_inverse=True
        )
        held = sets.gather(documents)
        shared = np.empty(len(part), dtype=np.int64)
        first, second = np.split(places, 2)
        compare_pairs(held.hashes, held.offsets, first, second, shared)
        common[part] = shared
    union = sets.sizes(left) + sets.sizes(right) - common
    similarities: Similarities = common / np.maximum(union, 1)
    return similarities


def are_similar(
    sets: Sets, left: Indices, right: Indices, threshold: float
) -> npt.NDArray[np.bool_]:
    """Which pairs (left[i], right[i]) reach the Jaccard similarity `threshold`, [P]."""
    sizes = sets.sizes(left), sets.sizes(right)
    # The intersection is no larger than the smaller set, the union no smaller than the larger.
    similar = np.minimum(*sizes) >= threshold * np.maximum(*sizes)
    similar[similar] = jaccard(sets, left[similar], right[similar]) >= threshold
    return similar


def _chunks(order: Indices, sizes: Indices) -> Iterator[Indices]:
    """Cut pairs into runs of about CHUNK_HASHES hashes, at least one pair each."""
    if len(order):
        chunk = np.cumsum(sizes) // CHUNK_HASHES
        yield from np.split(order, np.flatnonzero(np.diff(chunk)) + 1)
