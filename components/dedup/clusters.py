"""Union-find over an array: clusters are what verified pairs join, and nothing else."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from components.dedup.bands import Buckets
from components.dedup.shingles import Hashes, Indices
from components.dedup.verification import Sets, are_similar


class Forest:
    """Documents 0 to size - 1 in clusters; the root of a cluster is its lowest document."""

    def __init__(self, size: int) -> None:
        self._parents = np.arange(size, dtype=np.int64)

    def roots(self, documents: Indices) -> Indices:
        """The roots of documents; shortens the paths to them."""
        found = self._parents[documents]
        while (above := self._parents[found]).tobytes() != found.tobytes():
            found = above
        self._parents[documents] = found
        return found

    def union(self, left: Indices, right: Indices) -> None:
        """Join the clusters of every pair (left[i], right[i])."""
        while len(left):
            left, right = self.roots(left), self.roots(right)
            apart = left != right
            left, right = left[apart], right[apart]
            # A root joined to several takes the lowest; the next round joins the others.
            np.minimum.at(self._parents, np.maximum(left, right), np.minimum(left, right))


class Join:
    """Compare the documents of each bucket exactly, and unite those that are similar.

    A pair is compared once at most, and not at all where verified pairs already join the two: so
    the clusters are those of all pairs that share a bucket, at far fewer comparisons.
    """

    def __init__(self, sets: Sets, threshold: float, size: int) -> None:
        self.forest = Forest(size)
        self.num_compared = 0
        self.num_similar = 0
        self.sets = sets
        self._threshold = threshold
        self._different = np.empty(0, dtype=np.uint64)

    def join_bands(self, bands: Iterable[Buckets]) -> None:
        """Take in the buckets of all bands, band by band."""
        for buckets in bands:
            different = [self._different]
            distance = 0
            while len(buckets.members):
                distance += 1
                different.append(self._join_pairs(*buckets.pairs(distance)))
                buckets = self._undecided(buckets, distance)
            # Within a band no pair comes twice, so sorting once a band is enough.
            self._different = np.sort(np.concatenate(different))

    def _join_pairs(self, left: Indices, right: Indices) -> Hashes:
        """Compare what is still open among pairs; returns those that proved different."""
        codes = left.astype(np.uint64) << np.uint64(32) | right.astype(np.uint64)
        is_open = self.forest.roots(left) != self.forest.roots(right)
        is_open &= ~_contains(self._different, codes)
        left, right, codes = left[is_open], right[is_open], codes[is_open]
        similar = are_similar(self.sets, left, right, self._threshold)
        self.forest.union(left[similar], right[similar])
        self.num_compared += len(left)
        self.num_similar += int(np.count_nonzero(similar))
        different: Hashes = codes[~similar]
        return different

    def _undecided(self, buckets: Buckets, distance: int) -> Buckets:
        """The buckets with a pair farther apart than `distance` whose members are not all one."""
        starts = buckets.starts()
        roots = self.forest.roots(buckets.members)
        several = np.minimum.reduceat(roots, starts) != np.maximum.reduceat(roots, starts)
        return buckets.select(several & (buckets.sizes() > distance + 1))


def _contains(ordered: Hashes, values: Hashes) -> npt.NDArray[np.bool_]:
    if not len(ordered):
        return np.zeros(len(values), dtype=np.bool_)
    places = np.searchsorted(ordered, values)
    places[places == len(ordered)] = 0
    found: npt.NDArray[np.bool_] = ordered[places] == values
    return found


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
        near = are_similar(sets, kept[followers], followers, threshold)
        followers = followers[~near]
        # What is left of a cluster follows its first document from now on.
        order = np.argsort(kept[followers], kind="stable")
        starts = np.diff(kept[followers[order]], prepend=-1) != 0
        firsts = followers[order][starts]
        kept[followers[order]] = firsts[np.cumsum(starts) - 1]
        followers = np.sort(followers[kept[followers] != followers])
    return kept
