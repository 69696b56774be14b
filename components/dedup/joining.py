"""The compiled loops of the join: exact comparison of n-gram sets, and union of those alike.

A set is named by the address of its first hash and by its size: the hashes lie in files that are
mapped into memory, and a corpus has many of them. Whoever holds the addresses holds the maps.

Legend: D documents.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from components.dedup.kernels import U64, Hashes, Indices, compiled, mix, table_size

COMPARED, SIMILAR, SKIPPED, SEEN = range(4)
"""What `join_band` counts: comparisons, those that reached the threshold, pairs of large buckets
that `max_comparisons` left out, and places taken in the table of pairs."""

NO_PAIR = U64(0xFFFFFFFFFFFFFFFF)
"""An empty place in the table of pairs."""


def _build_load(_context: Any, address: Any) -> Any:
    """The instructions of `_load`."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.load(pointer)

    return types.uint64(address), generate


_load: Any = intrinsic(_build_load)
"""The uint64 at an address."""


@compiled
def _fill_table(table: Hashes, address: int, size: int) -> Any:
    """Put a set into an open hash table; returns the mask of its places."""
    places = table_size(size)
    table[:places] = 0
    last = U64(places - 1)
    for index in range(size):
        value = U64(_load(address + 8 * index))
        place = value & last
        while table[place] != U64(0):
            place = (place + U64(1)) & last
        table[place] = value
    return last


@compiled
def _count_common(table: Hashes, last: Any, address: int, size: int, max_misses: int) -> int:
    """How many hashes of a set are in the table; -1 once more than `max_misses` are not."""
    misses = 0
    for index in range(size):
        value = U64(_load(address + 8 * index))
        place = value & last
        while table[place] != U64(0) and table[place] != value:
            place = (place + U64(1)) & last
        if table[place] == U64(0):
            misses += 1
            if misses > max_misses:
                return -1
    return size - misses


@compiled
def measure_pairs(
    addresses: Indices, sizes: Indices, left: Indices, right: Indices, similarities: Any
) -> None:
    """The Jaccard similarity of pairs; 0 for two empty sets.

    Args:
        addresses: [D] of the sets.
        sizes: [D] of the sets.
        left: [pairs] documents; equal neighbours are read into the table once.
        right: [pairs] what to compare them with.
        similarities: [pairs], the result.
    """
    largest = 0
    for document in left:
        largest = max(largest, sizes[document])
    table = np.empty(table_size(largest), dtype=np.uint64)
    held, last = -1, U64(0)
    for pair in range(len(left)):
        one, two = left[pair], right[pair]
        if one != held:
            held, last = one, _fill_table(table, addresses[one], sizes[one])
        common = _count_common(table, last, addresses[two], sizes[two], sizes[two])
        similarities[pair] = common / max(1, sizes[one] + sizes[two] - common)


@compiled
def find_root(parents: Indices, document: int) -> int:
    """The lowest document of a cluster; halves the path to it."""
    while parents[document] != document:
        parents[document] = parents[parents[document]]
        document = parents[document]
    return document


@compiled
def flatten(parents: Indices) -> None:
    """Point every document at its root."""
    for document in range(len(parents)):
        parents[document] = find_root(parents, document)


@compiled
def unite_pairs(parents: Indices, left: Indices, right: Indices) -> None:
    """Join the clusters of every pair (left[i], right[i])."""
    for pair in range(len(left)):
        one, two = find_root(parents, left[pair]), find_root(parents, right[pair])
        parents[max(one, two)] = min(one, two)


@compiled
def _is_new(pairs: Hashes, used: int, pair: Any) -> Any:
    """Put a pair into the table of pairs; whether it was new, and the table, grown if full."""
    if 2 * used >= len(pairs):
        grown = np.full(2 * len(pairs), NO_PAIR)
        last = U64(len(grown) - 1)
        for held in pairs:
            if held != NO_PAIR:
                place = mix(held) & last
                while grown[place] != NO_PAIR:
                    place = (place + U64(1)) & last
                grown[place] = held
        pairs = grown
    last = U64(len(pairs) - 1)
    place = mix(pair) & last
    while pairs[place] != NO_PAIR and pairs[place] != pair:
        place = (place + U64(1)) & last
    is_new = pairs[place] == NO_PAIR
    pairs[place] = pair
    return is_new, pairs


@compiled
def _are_one(parents: Indices, members: Indices) -> bool:
    """Whether all are in one cluster."""
    root = find_root(parents, members[0])
    for member in members[1:]:  # noqa: SIM110 - numba compiles no generators
        if find_root(parents, member) != root:
            return False
    return True


@compiled
def join_band(
    members: Indices,
    starts: Indices,
    addresses: Indices,
    sizes: Indices,
    threshold: float,
    max_comparisons: int,
    parents: Indices,
    pairs: Hashes,
    counts: Indices,
) -> Hashes:
    """Compare the documents of each bucket of one band, and unite those that are similar.

    A pair is compared once in all bands, and not at all where the two are one cluster already.

    Args:
        members: documents, bucket by bucket, ascending within one.
        starts: where each bucket begins; one more place holds the end of the last.
        addresses: [D] of the sets.
        sizes: [D] of the sets.
        threshold: Jaccard similarity from which two documents are alike.
        max_comparisons: later ones of a bucket that a document is held against; 0 takes all.
        parents: [D] the forest; a root is the lowest document of its cluster.
        pairs: an open hash table of the pairs compared so far that proved different.
        counts: [4], added to.

    Returns:
        The table of pairs, grown where it had to be.
    """
    largest = 0
    for member in members:
        largest = max(largest, sizes[member])
    table = np.empty(table_size(largest), dtype=np.uint64)
    for bucket in range(len(starts) - 1):
        group = members[starts[bucket] : starts[bucket + 1]]
        for first in range(len(group) - 1):
            if _are_one(parents, group[first:]):
                break
            one = group[first]
            pairs = _compare_with_rest(
                one, group[first + 1 :], addresses, sizes, threshold, max_comparisons, parents,
                table, pairs, counts
            )  # fmt: skip
    return pairs


@compiled
def _compare_with_rest(
    one: int,
    rest: Indices,
    addresses: Indices,
    sizes: Indices,
    threshold: float,
    max_comparisons: int,
    parents: Indices,
    table: Hashes,
    pairs: Hashes,
    counts: Indices,
) -> Hashes:
    """Compare a document with the later ones of its bucket, see `join_band`."""
    is_read, last = False, U64(0)
    if max_comparisons and len(rest) > max_comparisons:
        counts[SKIPPED] += len(rest) - max_comparisons
        rest = rest[:max_comparisons]
    for two in rest:
        if find_root(parents, one) == find_root(parents, two):
            continue
        # The intersection is no larger than the smaller set, the union no smaller than the larger.
        if min(sizes[one], sizes[two]) < threshold * max(sizes[one], sizes[two]):
            continue
        is_new, pairs = _is_new(pairs, counts[SEEN], U64(one) << U64(32) | U64(two))
        if not is_new:
            continue
        counts[SEEN] += 1
        counts[COMPARED] += 1
        if not is_read:
            is_read, last = True, _fill_table(table, addresses[one], sizes[one])
        together = sizes[one] + sizes[two]
        # common / (together - common) >= threshold, with room for rounding
        needed = np.int64(np.ceil(threshold / (1 + threshold) * together - 1e-6))
        common = _count_common(table, last, addresses[two], sizes[two], sizes[two] - needed)
        if common >= 0 and common / (together - common) >= threshold:
            counts[SIMILAR] += 1
            left, right = find_root(parents, one), find_root(parents, two)
            parents[max(left, right)] = min(left, right)
    return pairs
