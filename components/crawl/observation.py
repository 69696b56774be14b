"""What the crawl sees of its source that decides what comes out: part of its identity."""

from typing import Any

from components.crawl.config import CrawlConfig
from components.crawl.source import Source


def open_source(config: CrawlConfig) -> Source:
    """The source that a config names; only its own modules are imported.

    Raises:
        ConfigError: the config lacks what the source needs.
    """
    config.require()
    match config.source:
        case "installed":
            from components.crawl.installed import installed_source

            return installed_source(config)
        case "github":
            from components.crawl.github import github_source

            return github_source(config)
        case "git":
            from components.crawl.git import git_source

            return git_source(config)
        case "archive":
            from components.crawl.archive import archive_source

            return archive_source(config)


def observe(config: CrawlConfig) -> dict[str, Any]:
    """The inventory of the source."""
    return open_source(config).observe()
