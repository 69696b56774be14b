"""Union-find over an array: clusters are what verified pairs join, and nothing else."""

from collections.abc import Iterable

import numpy as np

from components.artifacts.errors import StepFailedError
from components.dedup.bands import Buckets
from components.dedup.joining import (
    COMPARED,
    NO_PAIR,
    SIMILAR,
    SKIPPED,
    flatten,
    join_band,
    unite_pairs,
)
from components.dedup.shingles import Indices
from components.dedup.verification import Sets, jaccard

MAX_DOCUMENTS = 1 << 32
"""A pair of documents is one 64-bit number."""

FIRST_PAIRS = 1 << 16
"""Places of the table of pairs that proved different, before it grows."""


class Forest:
    """Documents 0 to size - 1 in clusters; the root of a cluster is its lowest document."""

    def __init__(self, size: int) -> None:
        self.parents = np.arange(size, dtype=np.int64)

    def roots(self) -> Indices:
        """The root of every document."""
        flatten(self.parents)
        return self.parents.copy()

    def union(self, left: Indices, right: Indices) -> None:
        """Join the clusters of every pair (left[i], right[i])."""
        unite_pairs(self.parents, left, right)


class Join:
    """Compare the documents of each bucket exactly, and unite those that are similar.

    A pair is compared once at most, and not at all where verified pairs already join the two: so
    the clusters are those of all pairs that share a bucket, at far fewer comparisons.
    """

    def __init__(self, sets: Sets, threshold: float, max_comparisons: int) -> None:
        """Begin with every document alone.

        Args:
            sets: the documents' n-grams.
            threshold: Jaccard similarity that a pair must reach.
            max_comparisons: see DedupConfig.

        Raises:
            StepFailedError: there are more documents than the join can number.
        """
        if len(sets.sizes) > MAX_DOCUMENTS:
            raise StepFailedError(
                f"expected at most {MAX_DOCUMENTS:,} documents to join in one process, got "
                f"{len(sets.sizes):,}: run with --engine spark"
            )
        self.forest = Forest(len(sets.sizes))
        self.sets = sets
        self._threshold = threshold
        self._max_comparisons = max_comparisons
        self._counts = np.zeros(4, dtype=np.int64)
        self._pairs = np.full(FIRST_PAIRS, NO_PAIR)

    @property
    def num_compared(self) -> int:
        """Pairs that were compared."""
        return int(self._counts[COMPARED])

    @property
    def num_similar(self) -> int:
        """Pairs that reached the threshold."""
        return int(self._counts[SIMILAR])

    @property
    def num_skipped(self) -> int:
        """Pairs of large buckets that `max_comparisons` left out."""
        return int(self._counts[SKIPPED])

    def join_bands(self, bands: Iterable[Buckets]) -> None:
        """Take in the buckets of all bands, band by band."""
        for buckets in bands:
            self._pairs = join_band(
                buckets.members,
                np.append(buckets.starts(), len(buckets.members)),
                self.sets.addresses,
                self.sets.sizes,
                self._threshold,
                self._max_comparisons,
                self.forest.parents,
                self._pairs,
                self._counts,
            )


def keep_extremes(kept: Indices, sets: Sets, threshold: float) -> Indices:
    """Split clusters, so that every document dropped is similar to the one kept for it.

    CodeParrot's rule (`minhash_deduplication.py`): of a cluster, in order, a document is kept where
    it is similar to none that is kept already. Union-find alone also drops documents that are
    similar to their best copy only through others.

    Args:
        kept: [D] the best document of each one's cluster, exact copies taken out before.
        sets: the documents' n-grams.
        threshold: Jaccard similarity of two that count as copies.

    Returns:
        [D] the document that is kept for each.
    """
    kept = kept.copy()
    followers = np.flatnonzero(kept != np.arange(len(kept)))
    while len(followers):
        near = jaccard(sets, kept[followers], followers) >= threshold
        followers = followers[~near]
        # What is left of a cluster follows its first document from now on.
        order = np.argsort(kept[followers], kind="stable")
        starts = np.diff(kept[followers[order]], prepend=-1) != 0
        firsts = followers[order][starts]
        kept[followers[order]] = firsts[np.cumsum(starts) - 1]
        followers = np.sort(followers[kept[followers] != followers])
    return kept
