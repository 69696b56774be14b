"""From clusters to what is dropped and why: rows for people, and a mark for every document."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.artifacts.artifact import Artifact, Draft
from components.artifacts.documents import draft_documents, read_documents
from components.artifacts.manifest import FileEntry
from components.artifacts.tally import Tally
from components.dedup.catalogue import Catalogue
from components.dedup.shingles import Indices
from components.dedup.verification import Sets, Similarities, jaccard

KEPT, EXACT, NEAR = 0, 1, 2
"""The marks of documents."""

REASONS = {EXACT: "exact_duplicate", NEAR: "near_duplicate"}

Marks = npt.NDArray[np.uint8]


def mark(twins: Indices, kept: Indices) -> Marks:
    """Say of every document whether it is kept, and if not, why.

    Args:
        twins: [D] the first document with the same content.
        kept: [D] the document that is kept of its cluster.
    """
    documents = np.arange(len(twins))
    marks = np.full(len(twins), KEPT, dtype=np.uint8)
    marks[kept != documents] = NEAR
    marks[twins != documents] = EXACT
    return marks


def cluster_rows(
    catalogue: Catalogue, twins: Indices, kept: Indices, marks: Marks, sets: Sets | None
) -> Iterator[dict[str, Any]]:
    """List every cluster of two or more documents, the best kept copy first.

    The similarity is that of the dropped document, or of its exact twin, to the kept one; it may
    lie below the threshold where the two are joined through a third.

    Args:
        catalogue: the documents' names.
        twins: [D] the first document with the same content.
        kept: [D] the document that is kept of its cluster.
        marks: [D] kept, or dropped for which reason.
        sets: the n-grams of the twins; None where only exact duplicates are dropped.
    """
    dropped = np.flatnonzero(marks != KEPT)
    dropped = dropped[np.argsort(kept[dropped], kind="stable")]
    similarities = _similarities(sets, kept[dropped], twins[dropped])
    starts = np.flatnonzero(np.diff(kept[dropped], prepend=-1))
    for number, places in enumerate(np.split(np.arange(len(dropped)), starts[1:])):
        if not len(places):
            return
        yield {
            "cluster": number,
            "kept": catalogue.name(int(kept[dropped[places[0]]])),
            "dropped": [
                {
                    **catalogue.name(int(dropped[place])),
                    "reason": REASONS[int(marks[dropped[place]])],
                    "jaccard": round(float(similarities[place]), 6),
                }
                for place in places.tolist()
            ],
        }


def _similarities(sets: Sets | None, best: Indices, twins: Indices) -> Similarities:
    similarities = np.ones(len(best))
    near = best != twins
    if near.any():
        assert sets is not None, "near duplicates come from compared sets"
        similarities[near] = jaccard(sets, best[near], twins[near])
    return similarities


@dataclass(frozen=True)
class MarkedShard:
    """One shard, and which of its rows go."""

    entry: FileEntry
    marks: Marks


def write_kept(documents: Artifact, shard: MarkedShard) -> tuple[list[Draft], Tally]:
    """Write the kept rows of one shard and count all of them."""
    table = read_documents(documents, shard.entry)
    tally = Tally()
    rows = table.select(["size", "license", "language"]).to_pylist()
    for row, code in zip(rows, shard.marks.tolist(), strict=True):
        tally.take_in(row["size"])
        if code == KEPT:
            tally.keep(row["size"], row["license"], row["language"])
        else:
            tally.drop(REASONS[code], row["size"])
    return [draft_documents(table.filter(pa.array(shard.marks == KEPT)))], tally
