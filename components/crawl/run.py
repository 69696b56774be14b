"""The order of a crawl: discover and plan, fetch and pack, attest."""

from collections.abc import Mapping
from functools import partial

from components.artifacts.artifact import Artifact, ArtifactWriter
from components.artifacts.errors import ConfigError
from components.artifacts.tally import Tally
from components.crawl.config import CrawlConfig
from components.crawl.observation import open_source
from components.crawl.tables import crawl_markdown
from components.stage.engine import Engine, map_shards
from components.stage.step import Report

ADVICE = {
    "installed": "widen the languages or the caps, or install something to crawl",
    "github": "widen the search or the languages; plan/ and repositories say what was found",
    "git": "widen the languages or the licences, or see whether git can read the repositories",
    "archive": "widen the languages or the licences, or give other files",
}
"""What to do where nothing came out."""


def run(
    inputs: Mapping[str, Artifact],  # noqa: ARG001  (a source has none)
    output: ArtifactWriter,
    config: CrawlConfig,
    engine: Engine,
) -> Report:
    """Crawl a source into documents.

    Raises:
        ConfigError: the source has no file that the config takes, or more workers than requests
            may be under way.
    """
    source = open_source(config)
    planned = Tally()
    discovery = source.discover(output, planned)
    num_sharing = max(1, min(engine.workers, len(discovery.units)))
    if config.source in ("github", "git") and num_sharing > config.max_concurrency:
        raise ConfigError(
            f"expected at most max_concurrency {config.max_concurrency} workers, got "
            f"{num_sharing}: each holds a request; give fewer --workers or more --max-concurrency"
        )
    fetch = partial(source.fetch, output, num_sharing)
    fetched = map_shards(engine, output, fetch, discovery.units, "crawl")
    source.attest(output, discovery)
    tally = Tally.total([planned, fetched])
    if not tally.counts.get("files"):
        raise ConfigError(
            f"expected source files from {config.source!r}, got none of "
            f"{tally.counts.get('files_in', 0)} candidates (languages "
            f"{list(config.languages) or 'all'}, dropped {sorted(tally.drops)}): "
            f"{ADVICE[config.source]}"
        )
    repositories = tally.counts.get("repositories") or len(discovery.repositories)
    return Report(
        tally=tally,
        measures={
            "files": tally.counts["files"],
            "megabytes": tally.counts["bytes"] / 1e6,
            "repositories": repositories,
        },
        markdown=crawl_markdown(config, tally, discovery),
    )
