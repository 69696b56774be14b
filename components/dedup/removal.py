"""From clusters to what is dropped and why: rows for people, and a mark for every document."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.artifacts.artifact import Artifact, Draft
from components.artifacts.documents import draft_document_tables, read_row_groups
from components.artifacts.manifest import FileEntry
from components.artifacts.tally import Tally
from components.dedup.catalogue import Catalogue
from components.dedup.shingles import Indices
from components.dedup.verification import Sets, Similarities, jaccard

KEPT, EXACT, NEAR = 0, 1, 2
"""The marks of documents."""

REASONS = {EXACT: "exact_duplicate", NEAR: "near_duplicate"}

Marks = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Removal:
    """What is dropped, and for what, by rank of D documents."""

    twins: Indices
    """[D] the first document with the same content."""

    kept: Indices
    """[D] the document that is kept for each."""

    marks: Marks
    """[D] kept, or dropped for which reason."""

    similarities: Similarities
    """[D] exact similarity to the kept one; it lies below the threshold where the two are joined
    through a third."""

    threshold: float

    @classmethod
    def of(cls, twins: Indices, kept: Indices, sets: Sets | None, threshold: float) -> "Removal":
        """Say of every document whether it is kept, and if not, why.

        Args:
            twins: [D] the first document with the same content.
            kept: [D] the document that is kept for each.
            sets: the n-grams of the twins; None where only exact duplicates are dropped.
            threshold: similarity of near duplicates.
        """
        documents = np.arange(len(twins))
        marks = np.full(len(twins), KEPT, dtype=np.uint8)
        marks[kept != documents] = NEAR
        marks[twins != documents] = EXACT
        similarities = np.ones(len(twins))
        near = np.flatnonzero(kept != twins)
        if len(near):
            assert sets is not None, "near duplicates come from compared sets"
            similarities[near] = jaccard(sets, kept[near], twins[near])
        return cls(
            twins=twins, kept=kept, marks=marks, similarities=similarities, threshold=threshold
        )

    def clusters(self) -> list[Indices]:
        """The dropped documents of every cluster, by the rank of the document that is kept."""
        dropped = np.flatnonzero(self.marks != KEPT)
        dropped = dropped[np.argsort(self.kept[dropped], kind="stable")]
        starts = np.flatnonzero(np.diff(self.kept[dropped], prepend=-1))
        return np.split(dropped, starts[1:]) if len(dropped) else []


def cluster_rows(catalogue: Catalogue, removal: Removal) -> Iterator[dict[str, Any]]:
    """List every cluster of two or more documents, the one that is kept first."""
    for number, members in enumerate(removal.clusters()):
        yield {
            "cluster": number,
            "kept": catalogue.name(int(removal.kept[members[0]])),
            "dropped": [
                {
                    **catalogue.name(member),
                    "reason": REASONS[int(removal.marks[member])],
                    "jaccard": round(float(removal.similarities[member]), 6),
                }
                for member in members.tolist()
            ],
        }


@dataclass(frozen=True)
class MarkedShard:
    """One shard, and which of its rows go."""

    entry: FileEntry
    marks: Marks


def write_kept(documents: Artifact, shard: MarkedShard) -> tuple[list[Draft], Tally]:
    """Write the kept rows of one shard and count all of them."""
    tally = Tally()
    return [draft_document_tables(_kept_rows(documents, shard, tally))], tally


def _kept_rows(documents: Artifact, shard: MarkedShard, tally: Tally) -> Iterator[pa.Table]:
    """The kept rows of each row group, counted as they go by."""
    start = 0
    for table in read_row_groups(documents, shard.entry):
        marks = shard.marks[start : start + table.num_rows]
        start += table.num_rows
        _count(table, marks, tally)
        # Bits of a buffer: `pa.array` imports pandas where there is one, for 0.1 s.
        bits = np.packbits(marks == KEPT, bitorder="little")
        kept = pa.Array.from_buffers(pa.bool_(), table.num_rows, [None, pa.py_buffer(bits)])
        yield table.filter(kept)


def _count(table: pa.Table, marks: Marks, tally: Tally) -> None:
    """Count what is kept and what is dropped, by licence and language."""
    sizes: dict[tuple[int, str, str], list[int]] = {}
    columns = (table[name].to_pylist() for name in ("license", "language", "size"))
    for code, license_name, language, size in zip(marks.tolist(), *columns, strict=True):
        sizes.setdefault((code, license_name, language), []).append(size)
    for (code, license_name, language), group in sizes.items():
        tally.take_in(sum(group), files=len(group))
        if code == KEPT:
            tally.keep(sum(group), license_name, language, files=len(group))
        else:
            tally.drop(REASONS[code], sum(group), files=len(group))
