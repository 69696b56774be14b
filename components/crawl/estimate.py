"""What a crawl would cost, before its first request: requests, hours, bytes."""

from pathlib import Path

from components.crawl.config import CrawlConfig
from components.crawl.git import find_repositories
from components.crawl.tokens import ANONYMOUS, read_tokens
from components.crawl.windows import MAX_RESULTS, TARGET

PAGE_SIZE = 100
REQUESTS_PER_PAGE = 1.09
"""Of discovery, for every full page: measured over 1.2 million simulated repositories."""

CORE_PER_HOUR, CORE_PER_HOUR_ANONYMOUS = 5000, 60
GRAPHQL_PER_HOUR, SEARCH_PER_HOUR = 5000, 1800
"""GitHub's primary limits of a token (docs.github.com, November 2026)."""

RECEIVED_MB_PER_REPOSITORY = (0.5, 1.0)
"""Archives of repositories with about 275 KB of Python each (PyCodeGPT: 330 GB of 1.2 million)."""

WRITTEN_MB_PER_REPOSITORY = 0.055
"""275 KB a repository at the fivefold compression of a document shard."""


def estimate(config: CrawlConfig) -> str:
    """The cost of a crawl in a few lines. Nothing is asked of any network.

    Raises:
        ConfigError: the config lacks what the source needs.
    """
    config.require()
    match config.source:
        case "installed":
            return "installed: no requests; reads what is installed on this machine"
        case "github":
            return _of_github(config)
        case "git":
            return _of_git(config)
        case "archive":
            return _of_archive(config)


def _of_github(config: CrawlConfig) -> str:
    chosen = config.github
    number = chosen.expected_repositories
    if chosen.max_repositories:
        number = min(number, chosen.max_repositories)
    tokens = [one for one in read_tokens() if one is not ANONYMOUS]
    pages = int(number / PAGE_SIZE * REQUESTS_PER_PAGE) + 1
    listing = GRAPHQL_PER_HOUR if chosen.discovery == "graphql" else SEARCH_PER_HOUR
    core = CORE_PER_HOUR * len(tokens) or CORE_PER_HOUR_ANONYMOUS
    pace = config.max_requests_per_second * 3600
    discovery_h = pages / min(listing * max(1, len(tokens)), pace)
    budget_h, pace_h = number / core, 2 * number / pace
    low, high = (number * one / 1000 for one in RECEIVED_MB_PER_REPOSITORY)
    bound = "the tokens' budget" if budget_h > pace_h else "max_requests_per_second"
    return "\n".join(
        [
            f"github, reckoning with {number:,} repositories (github.expected_repositories) and "
            f"{len(tokens)} token{'' if len(tokens) == 1 else 's'}; nothing was asked",
            f"discover  {pages:,} requests ({chosen.discovery}), about "
            f"{number // TARGET + 1:,} windows of at most {MAX_RESULTS:,}: {_hours(discovery_h)}",
            f"fetch     {number:,} requests of the API and {number:,} archives: "
            f"{_hours(max(budget_h, pace_h))}, bound by {bound}",
            f"receive   {low:,.1f} to {high:,.1f} GB, an archive each; hold "
            f"{config.max_concurrency} at once",
            f"write     about {number * WRITTEN_MB_PER_REPOSITORY / 1000:,.1f} GB of shards",
        ]
    )


def _of_git(config: CrawlConfig) -> str:
    places = [place for _, place in find_repositories(config)]
    urls = sum("://" in one for one in places)
    requests = urls * 6
    hours = requests / (config.max_requests_per_second * 3600)
    return (
        f"git: {urls:,} URLs, about {requests:,} requests (a listing, then a partial clone of two "
        f"fetches each): {_hours(hours)} at least; {len(places) - urls:,} repositories in folders, "
        "without any"
    )


def _of_archive(config: CrawlConfig) -> str:
    files = [
        file
        for one in map(Path, config.archive.paths)
        for file in (one.rglob("*") if one.is_dir() else [one])
        if file.is_file()
    ]
    size = sum(file.stat().st_size for file in files)
    stream = f"; streams {config.archive.dataset} besides" if config.archive.dataset else ""
    return f"archive: {len(files):,} files, {size / 1e9:,.2f} GB on this machine{stream}"


def _hours(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 1 else f"{hours * 60:,.1f} min"
