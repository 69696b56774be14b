"""One shard: what is kept, and the span of every trace of a benchmark."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from components.artifacts.artifact import Artifact, Draft
from components.artifacts.documents import draft_documents, read_documents
from components.artifacts.manifest import FileEntry
from components.artifacts.rows import draft_rows
from components.artifacts.tally import Tally
from components.decontamination.config import DecontaminationConfig
from components.decontamination.needles import Target
from components.decontamination.search import Hit, Searcher

SPANS = "spans"
"""The part that holds one row for each problem and rule found in a document."""

EXCERPT_CHARACTERS = 160

PROBLEM_COUNT = "problem:"
"""Counts of the tally with this prefix say in how many documents each problem was found."""


def drop_contaminated(
    documents: Artifact,
    targets: Sequence[Target],
    config: DecontaminationConfig,
    entry: FileEntry,
) -> tuple[list[Draft], Tally]:
    """Look for all targets in one shard's documents and drop those that hold one."""
    table = read_documents(documents, entry)
    searcher = Searcher(targets, config)
    tally = Tally()
    clean: list[bool] = []
    spans: list[dict[str, Any]] = []
    columns = ["repo", "path", "sha256", "size", "license", "language", "content"]
    for row in table.select(columns).to_pylist():
        tally.take_in(row["size"])
        hits = searcher.find(row["content"])
        clean.append(not hits)
        if not hits:
            tally.keep(row["size"], row["license"], row["language"])
            continue
        tally.drop(hits[0].rule, row["size"])
        for name in sorted({hit.target.name for hit in hits}):
            tally.count(PROBLEM_COUNT + name)
        spans += [_span(row, hit) for hit in hits]
    kept = table.filter(pa.array(clean, pa.bool_()))
    return [draft_documents(kept), draft_rows(SPANS, spans)], tally


def _span(row: dict[str, Any], hit: Hit) -> dict[str, Any]:
    return {
        "repo": row["repo"],
        "path": row["path"],
        "sha256": row["sha256"],
        "benchmark": hit.target.benchmark,
        "task_id": hit.target.task_id,
        "rule": hit.rule,
        "start": hit.start,
        "end": hit.end,
        "excerpt": row["content"][hit.start : hit.end][:EXCERPT_CHARACTERS],
    }
