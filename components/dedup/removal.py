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
from components.dedup.verification import Sets, jaccard

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
    starts = np.flatnonzero(np.diff(kept[dropped], prepend=-1))
    for number, members in enumerate(np.split(dropped, starts[1:]) if len(dropped) else []):
        best = int(kept[members[0]])
        yield {
            "cluster": number,
            "kept": catalogue.name(best),
            "dropped": [
                {
                    **catalogue.name(member),
                    "reason": REASONS[int(marks[member])],
                    "jaccard": _similarity(sets, best, int(twins[member])),
                }
                for member in members.tolist()
            ],
        }


def _similarity(sets: Sets | None, best: int, twin: int) -> float:
    if best == twin:
        return 1.0
    assert sets is not None, f"{twin} is no copy of {best} and nothing was compared"
    return round(jaccard(sets[best], sets[twin]), 6)


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
