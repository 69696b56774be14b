"""The order of cleaning: every shard by itself; shard i comes out of shard i."""

from collections.abc import Mapping, Sequence
from functools import partial

from components.artifacts.artifact import Artifact, ArtifactWriter
from components.artifacts.documents import DOCUMENTS
from components.clean.cleaning import clean_shard
from components.clean.config import CleanConfig
from components.clean.tables import rules_markdown
from components.stage.config import unknown_name
from components.stage.engine import Engine, map_shards
from components.stage.step import Report


def run(
    inputs: Mapping[str, Artifact],
    output: ArtifactWriter,
    config: CleanConfig,
    engine: Engine,
) -> Report:
    """Drop the documents that break a rule.

    Raises:
        ConfigError: the documents have none of the languages to keep.
    """
    documents = inputs["documents"]
    _check_languages(config.languages, documents)
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


def _check_languages(languages: Sequence[str], documents: Artifact) -> None:
    """Refuse languages of which the documents have none at all: misspelt, or of another corpus.

    The documents say which languages there are; the crawl's table is another step's.
    """
    there = set(documents.manifest.tally.languages)
    if languages and there and not there & set(languages):
        raise unknown_name("language", languages[0], there, "languages of these documents")
