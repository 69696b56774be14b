"""Exact Jaccard similarity of n-gram sets: what decides, where a signature only proposes."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from components.dedup.joining import measure_pairs
from components.dedup.shingles import GramSets, Indices

Similarities = npt.NDArray[np.float64]


class Sets(Protocol):
    """The n-gram sets of D documents; they stay where they are while this object lives."""

    @property
    def addresses(self) -> Indices:
        """[D] where the first hash of each lies in this process's memory."""

    @property
    def sizes(self) -> Indices:
        """[D] how many n-grams each has."""


class HeldSets:
    """Sets in this process's memory."""

    def __init__(self, sets: GramSets) -> None:
        self._hashes = np.ascontiguousarray(sets.hashes)
        self.addresses: Indices = self._hashes.ctypes.data + 8 * sets.offsets[:-1]
        self.sizes: Indices = np.diff(sets.offsets)


def jaccard(sets: Sets, left: Indices, right: Indices) -> Similarities:
    """The size of the intersection over the size of the union; 0 for two empty sets.

    Args:
        sets: the documents' n-grams.
        left: [P] documents.
        right: [P] documents, each to compare with the left one of its place.

    Returns:
        [P].
    """
    similarities = np.empty(len(left))
    order = np.lexsort((right, left))
    ordered = np.empty(len(left))
    measure_pairs(sets.addresses, sets.sizes, left[order], right[order], ordered)
    similarities[order] = ordered
    return similarities
