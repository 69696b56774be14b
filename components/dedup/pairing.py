"""The join cut into three maps over Arrow batches: keys, pairs of a bucket, verified pairs.

What stands between them, grouping and taking each pair once, is an engine's work (`spark.py`). A
pair carries where its n-grams lie, so that no process holds a table of all documents.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components.dedup.clusters import Forest
from components.dedup.kernels import compiled
from components.dedup.shingles import Hashes, Indices
from components.dedup.spill import Spill
from components.dedup.verification import Sets, jaccard

Batches = Iterator[pa.RecordBatch]

RANKS = "ranks.npy"
"""Beside a shard's spill: the document that each of its rows stands for."""

PAIRS_OF_A_BATCH = 65_536
"""4 MB: large enough to make a call cheap, small enough to sort in the processor's cache."""

PLACE = ("document", "shard", "start", "size")
"""A document by rank, and where its n-grams lie: shard, first hash in the file, hashes."""

KEY_SCHEMA = "band int, key bigint, document bigint, shard bigint, start bigint, size bigint"
PAIR_SCHEMA = ", ".join(f"{side}_{name} bigint" for side in ("left", "right") for name in PLACE)
VERIFIED_SCHEMA = "compared bigint, similar bigint, left array<bigint>, right array<bigint>"


def read_keys(shards: Batches) -> Batches:
    """Spell every band key of every shard as a row of KEY_SCHEMA.

    Documents without n-grams have none: their signatures would all be equal.

    Args:
        shards: batches of `shard` (its number) and `folder` (of its spill).
    """
    for batch in shards:
        for row in batch.to_pylist():
            spill = Spill(Path(row["folder"]))
            starts, sizes = spill.offsets[:-1], np.diff(spill.offsets)
            keep = sizes > 0
            place = {
                "document": np.load(spill.folder / RANKS)[keep],
                "shard": np.full(np.count_nonzero(keep), row["shard"], dtype=np.int64),
                "start": starts[keep],
                "size": sizes[keep],
            }
            for band, keys in enumerate(spill.keys):
                bands = np.full(len(place["size"]), band, dtype=np.int32)
                key = np.ascontiguousarray(keys[keep]).view(np.int64)
                yield pa.RecordBatch.from_pydict({"band": bands, "key": key, **place})


def pair_members(buckets: Batches, threshold: float, max_comparisons: int) -> Batches:
    """The pairs of every bucket whose sizes allow the threshold, as rows of PAIR_SCHEMA.

    Args:
        buckets: batches with one column of lists of PLACE, ascending by document.
        threshold: Jaccard similarity from which two documents are alike.
        max_comparisons: see DedupConfig: the same pairs as in one process.
    """
    for batch in buckets:
        members = batch.column(0)
        places = dict(zip(PLACE, members.flatten().flatten(), strict=True))
        columns = {name: places[name].to_numpy(zero_copy_only=False) for name in PLACE}
        ends = members.value_lengths().to_numpy(zero_copy_only=False).cumsum()
        state = np.array([0, 0, 1], dtype=np.int64)
        left = np.empty(PAIRS_OF_A_BATCH, dtype=np.int64)
        right = np.empty(PAIRS_OF_A_BATCH, dtype=np.int64)
        while count := next_pairs(
            ends.astype(np.int64), columns["size"], threshold, max_comparisons, state, left, right
        ):
            sides = {"left": left[:count], "right": right[:count]}
            yield pa.RecordBatch.from_pydict(
                {f"{s}_{name}": columns[name][at] for s, at in sides.items() for name in PLACE}
            )


@compiled
def next_pairs(
    ends: Indices,
    sizes: Indices,
    threshold: float,
    max_comparisons: int,
    state: Indices,
    left: Indices,
    right: Indices,
) -> int:
    """Fill `left` and `right` with the next pairs of members; returns how many, 0 at the end.

    Args:
        ends: where each bucket ends among the members.
        sizes: n-grams of each member.
        threshold: pairs whose sizes rule it out are left out.
        max_comparisons: later ones of a bucket that a member is paired with; 0 takes all.
        state: [3] bucket, one and two to go on with; [0, 0, 1] at first.
        left: members of pairs.
        right: their partners, later ones of the same bucket.
    """
    count = 0
    bucket, one, two = state
    while bucket < len(ends):
        while one < ends[bucket]:
            last = ends[bucket]
            if max_comparisons:
                last = min(last, one + 1 + max_comparisons)
            while two < last:
                if count == len(left):
                    state[0], state[1], state[2] = bucket, one, two
                    return count
                if min(sizes[one], sizes[two]) >= threshold * max(sizes[one], sizes[two]):
                    left[count], right[count] = one, two
                    count += 1
                two += 1
            one += 1
            two = one + 1
        bucket += 1
    state[0], state[1], state[2] = bucket, one, two
    return count


def verify_pairs(pairs: Batches, folders: Sequence[str], threshold: float) -> Batches:
    """Compare every pair exactly; a row of VERIFIED_SCHEMA for each batch.

    Of the similar pairs of a batch only those are kept that join clusters: a large cluster would
    send millions to the driver that say nothing new.

    Args:
        pairs: rows of PAIR_SCHEMA, each once, best ordered by the left document.
        folders: of every shard's spill.
        threshold: Jaccard similarity from which two documents are alike.
    """
    hashes: dict[int, Hashes] = {}
    for batch in pairs:
        columns = {name: batch[name].to_numpy() for name in batch.schema.names}
        places = {
            name: np.concatenate([columns[f"left_{name}"], columns[f"right_{name}"]])
            for name in PLACE
        }
        documents, firsts, numbers = np.unique(
            places["document"], return_index=True, return_inverse=True
        )
        shards = places["shard"][firsts]
        for shard in np.unique(shards).tolist():
            if shard not in hashes:
                hashes[shard] = Spill(Path(folders[shard])).hashes
        base = np.array([hashes[shard].ctypes.data for shard in shards.tolist()], dtype=np.int64)
        sets = _PlacedSets(base + 8 * places["start"][firsts], places["size"][firsts])
        left, right = numbers[: batch.num_rows], numbers[batch.num_rows :]
        yield _verified(documents, sets, left, right, threshold)


class _PlacedSets:
    """Sets by their addresses; whoever makes it holds the maps."""

    def __init__(self, addresses: Indices, sizes: Indices) -> None:
        self.addresses, self.sizes = addresses, sizes


def _verified(
    documents: Indices, sets: Sets, left: Indices, right: Indices, threshold: float
) -> pa.RecordBatch:
    similar = jaccard(sets, left, right) >= threshold
    forest = Forest(len(documents))
    forest.union(left[similar], right[similar])
    roots = forest.roots()
    joined = np.flatnonzero(roots != np.arange(len(roots)))
    row: dict[str, list[Any]] = {
        "compared": [len(left)],
        "similar": [int(np.count_nonzero(similar))],
        "left": [documents[roots[joined]].tolist()],
        "right": [documents[joined].tolist()],
    }
    lists = pa.list_(pa.int64())
    types = {"compared": pa.int64(), "similar": pa.int64(), "left": lists, "right": lists}
    return pa.RecordBatch.from_pydict(row, schema=pa.schema(list(types.items())))
