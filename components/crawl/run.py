"""The order of the crawl: list candidates, plan shards, read them."""

from collections.abc import Mapping
from functools import partial

from components.artifacts.artifact import Artifact, ArtifactWriter
from components.artifacts.errors import ConfigError
from components.artifacts.tally import Tally
from components.crawl.config import CrawlConfig
from components.crawl.observation import open_source
from components.crawl.plan import Caps, cut_shards, select
from components.crawl.reading import crawl_shard
from components.crawl.standard_library import REPO_ID
from components.crawl.tables import crawl_markdown
from components.stage.engine import Engine, map_shards
from components.stage.step import Report


def run(
    inputs: Mapping[str, Artifact],  # noqa: ARG001  (a source has none)
    output: ArtifactWriter,
    config: CrawlConfig,
    engine: Engine,
) -> Report:
    """Crawl a source into documents.

    Raises:
        ConfigError: the source has no file that the config takes.
    """
    source = open_source(config)
    caps = Caps(
        file=config.max_file_bytes,
        distribution=config.max_distribution_bytes,
        total=config.max_total_bytes,
        uncapped=frozenset({REPO_ID}),
    )
    planned = Tally()
    selection = select(source.candidates(planned), caps, planned)
    shards = list(cut_shards(selection.taken, config.shard_bytes))
    read = map_shards(engine, output, partial(crawl_shard, source), shards, "crawl")
    tally = Tally.total([planned, read])
    if not tally.counts.get("files"):
        raise ConfigError(
            f"expected source files from {config.source!r}, got none of "
            f"{tally.counts.get('files_in', 0)} candidates (languages "
            f"{list(config.languages) or 'all'}, dropped {sorted(tally.drops)}): "
            "widen the languages or the caps, or install something to crawl"
        )
    return Report(
        tally=tally,
        measures={
            "files": tally.counts["files"],
            "megabytes": tally.counts["bytes"] / 1e6,
            "repositories": len(selection.by_repository),
        },
        markdown=crawl_markdown(config, tally, selection),
    )
