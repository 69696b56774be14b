"""Exact Jaccard similarity of n-gram sets: what decides, where a signature only proposes."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from components.dedup.shingles import Hashes, Indices


class Sets(Protocol):
    """Sorted, distinct hashes of a document by its number."""

    def __getitem__(self, document: int, /) -> Hashes: ...


def jaccard(left: Hashes, right: Hashes) -> float:
    """The size of the intersection over the size of the union; 0 for two empty sets.

    Args:
        left: sorted, distinct hashes.
        right: the same of the other document.
    """
    if len(left) > len(right):
        left, right = right, left
    if not len(left):
        return 0.0
    places = np.searchsorted(right, left)
    places[places == len(right)] = 0
    common = int(np.count_nonzero(right[places] == left))
    return common / (len(left) + len(right) - common)


def are_similar(
    sets: Sets, left: Indices, right: Indices, threshold: float
) -> npt.NDArray[np.bool_]:
    """Which pairs reach the threshold.

    Args:
        sets: the documents' n-grams.
        left: [P] documents.
        right: [P] documents, each to compare with the left one of its place.
        threshold: Jaccard similarity that a pair must reach.

    Returns:
        [P].
    """
    pairs = zip(left.tolist(), right.tolist(), strict=True)
    return np.fromiter(
        (_is_similar(sets[first], sets[second], threshold) for first, second in pairs),
        dtype=np.bool_,
        count=len(left),
    )


def _is_similar(left: Hashes, right: Hashes, threshold: float) -> bool:
    # The intersection is no larger than the smaller set, the union no smaller than the larger.
    if min(len(left), len(right)) < threshold * max(len(left), len(right)):
        return False
    return jaccard(left, right) >= threshold
