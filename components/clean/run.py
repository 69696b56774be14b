"""The order of cleaning: every shard by itself; shard i comes out of shard i."""

from collections.abc import Mapping
from functools import partial

from components.artifacts.artifact import Artifact, ArtifactWriter
from components.artifacts.documents import DOCUMENTS
from components.clean.cleaning import clean_shard
from components.clean.config import CleanConfig
from components.clean.tables import rules_markdown
from components.stage.engine import Engine, map_shards
from components.stage.step import Report


def run(
    inputs: Mapping[str, Artifact],
    output: ArtifactWriter,
    config: CleanConfig,
    engine: Engine,
) -> Report:
    """Drop the documents that break a rule."""
    documents = inputs["documents"]
    work = partial(clean_shard, documents, config)
    tally = map_shards(engine, output, work, documents.part(DOCUMENTS), "clean")
    counts = tally.counts
    return Report(
        tally=tally,
        measures={
            "files": counts.get("files", 0),
            "megabytes": counts.get("bytes", 0) / 1e6,
            "share_of_bytes_kept": counts.get("bytes", 0) / max(1, counts.get("bytes_in", 0)),
        },
        markdown=rules_markdown(config, tally),
    )
