"""Locality-sensitive hashing: documents that agree in a whole band share a bucket.

Buckets are runs of equal keys after a sort, so memory grows with documents, not with pairs.
"""

from dataclasses import dataclass

import numpy as np

from components.dedup.kernels import band_documents
from components.dedup.shingles import Hashes, Indices
from components.dedup.signatures import Signatures


def band_keys(signatures: Signatures, bands: int, rows: int) -> Hashes:
    """Hash every band of every signature.

    Args:
        signatures: [D, bands * rows].
        bands: bands of a signature.
        rows: permutations in a band.

    Returns:
        [bands, D]; equal keys of a band mean equal rows, but for a collision in 64 bits, which
        costs one comparison and no more.
    """
    keys = np.empty((len(signatures), bands), dtype=np.uint64)
    band_documents(signatures, rows, keys)
    return np.ascontiguousarray(keys.T)


@dataclass(frozen=True, slots=True)
class Buckets:
    """The buckets of one band that hold at least two documents, one after another."""

    members: Indices
    """Documents, ascending within a bucket."""

    buckets: Indices
    """The bucket of each member, ascending."""

    def starts(self) -> Indices:
        """Where each bucket begins among the members."""
        return np.flatnonzero(np.diff(self.buckets, prepend=-1))


def buckets_of(keys: Hashes, documents: Indices) -> Buckets:
    """Group the documents of one band by key.

    Args:
        keys: [D] keys of one band.
        documents: [D] the documents they belong to.
    """
    order = np.argsort(keys)
    keys = keys[order]
    begins = np.ones(len(keys), dtype=np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=begins[1:])
    ends = np.append(begins[1:], True)
    shared = ~(begins & ends[: len(keys)])
    # Few documents share a bucket: only those are put in order within it.
    members, buckets = documents[order[shared]], np.cumsum(begins[shared]) - 1
    return Buckets(members[np.lexsort((members, buckets))], buckets)
