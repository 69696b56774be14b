"""The published selections. `--source github --github.as-of DAY --contact WHO` makes a crawl of
one; the recipes of the same names hold them as well.
"""

from components.crawl.config import CrawlConfig
from components.crawl.selection import ANY_LICENSE, GithubConfig


def gpt_cc() -> CrawlConfig:
    """GPT-Code-Clippy's criteria: more than 10 stars, some licence, no forks, less than 72 MB.

    Its README prints the last as 70,708 bytes, which SEART's list counts in kilobytes. More than
    two commits, its one further criterion, is nothing that GitHub's search can ask for. It had no
    limit of a file's size; 100 MB is the most that the crawl takes.
    """
    return CrawlConfig(
        max_file_bytes=100_000_000,
        github=GithubConfig(
            min_stars=11,
            forks=False,
            repository_licenses=(ANY_LICENSE,),
            max_repository_mb=72,
        ),
    )


def pycodegpt() -> CrawlConfig:
    """PyCodeGPT's: repositories of Python, of each the Python files below 1 MB.

    It names 1.2 million repositories "related to Python" and neither stars nor licences.
    """
    return CrawlConfig(
        languages=("Python",),
        max_file_bytes=1_000_000,
        github=GithubConfig(language="Python", expected_repositories=1_200_000),
    )
