"""What the crawl sees of its source that decides what comes out: part of its identity."""

from typing import Any

from components.crawl.config import CrawlConfig
from components.crawl.installed import installed_source
from components.crawl.source import Source


def open_source(config: CrawlConfig) -> Source:
    """The source that a config names."""
    match config.source:
        case "installed":
            return installed_source(config)


def observe(config: CrawlConfig) -> dict[str, Any]:
    """The inventory of the source."""
    return open_source(config).observe()
