"""What each source but `installed` selects: the configs nested in CrawlConfig."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from components.artifacts.errors import ConfigError
from components.stage.config import Config, Within

ANY_LICENSE = "any"
"""In `repository_licenses`: some licence, recognised or not (GPT-Code-Clippy)."""

FIRST_REPOSITORY = "2007-10-20"
"""GitHub's first repositories are of this day; none was created before."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\dZ)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class GithubConfig(Config):
    """Which repositories of GitHub: the qualifiers of its search, and what is too large."""

    as_of: str = ""
    """The day of the crawl, such as 2026-11-24: repositories created before it are searched. Has to
    be given: it names a crawl, which a later day is not, and keeps its windows the same."""

    created_from: str = FIRST_REPOSITORY
    """Only repositories created from this day on; windows begin here."""

    pushed_from: str = ""
    """Only repositories pushed to from this day on. Empty: all."""

    min_stars: Annotated[int, Within(0, 10_000_000)] = 0
    """Stars at least (GPT-Code-Clippy: more than 10, so 11)."""

    max_stars: Annotated[int, Within(0, 10_000_000)] = 0
    """Stars at most; 0 is no bound."""

    language: str = ""
    """The repository's main language as GitHub names it, such as `Python`. Empty: all."""

    forks: bool = False
    """Whether forks are taken."""

    archived: bool = True
    """Whether archived repositories are taken."""

    repository_licenses: tuple[str, ...] = ()
    """SPDX identifiers that GitHub may read in a repository's licence file; `permissive` for the
    project's list, `any` for whatever licence. Others are left out before they are fetched, also
    those without one. Empty: all."""

    max_repositories: Annotated[int, Within(0)] = 0
    """Repositories at most, in the order of their creation: a trial. 0 is no cap."""

    max_repository_mb: Annotated[int, Within(1, 1_000_000)] = 2000
    """Larger repositories, by GitHub's count of their disk usage, are left out (10**6 bytes)."""

    clone_from_mb: Annotated[int, Within(0, 1_000_000)] = 200
    """From this size on a repository is fetched by a partial git clone instead of its tarball, for
    a third of the bytes. 0: every repository is cloned."""

    export_attributes: Literal["flag", "clone"] = "flag"
    """What becomes of a repository whose .gitattributes leave files out of its tarball or rewrite
    them: its rows are flagged, or it is fetched again by git."""

    discovery: Literal["graphql", "rest"] = "graphql"
    """The API that lists repositories. `graphql` names the commit in the same answer; `rest` takes
    whatever commit the tarball holds."""

    api_version: str = "2022-11-28"
    """The X-GitHub-Api-Version header: the oldest version that GitHub still answers, so that
    nothing moves below a crawl."""

    api_url: str = "https://api.github.com"
    """Where the API is; GitHub Enterprise has its own."""

    git_url: str = "https://github.com"
    """Where repositories are cloned from."""

    expected_repositories: Annotated[int, Within(1, 1_000_000_000)] = 1_200_000
    """How many repositories `--dry-run` reckons with, which asks nothing (PyCodeGPT: 1.2 million
    of Python). Enters no key."""

    def require(self) -> None:
        """Refuse what a crawl cannot start with."""
        if not self.as_of:
            raise ConfigError(
                "expected --github.as-of DATE for source 'github', got none: name the day, such as "
                "2026-11-24, so that the crawl can be repeated"
            )
        for name in ("as_of", "created_from"):
            _check_date(name, getattr(self, name))
        if self.pushed_from:
            _check_date("pushed_from", self.pushed_from)
        if unix_s(self.created_from) >= unix_s(self.as_of):
            raise ConfigError(
                f"expected github.created_from before as_of {self.as_of!r}, got "
                f"{self.created_from!r}"
            )
        if self.max_stars and self.max_stars < self.min_stars:
            raise ConfigError(
                f"expected github.max_stars of at least min_stars {self.min_stars}, got "
                f"{self.max_stars}"
            )
        for name in ("api_url", "git_url"):
            check_url(f"github.{name}", getattr(self, name))


@dataclass(frozen=True, kw_only=True, slots=True)
class GitConfig(Config):
    """Which git repositories."""

    repositories: tuple[str, ...] = ()
    """URLs (https:// or http://), and folders by path or file:/// URL: a repository, or a folder
    that holds some, bare or with a worktree. A URL holds no password; git's own credential helpers
    are not asked."""

    list_file: str = ""
    """A file with one URL or folder a line. Empty: none."""

    license: str = "unknown"
    """SPDX expression of repositories whose files name no licence."""

    repositories_per_shard: Annotated[int, Within(1, 10_000)] = 50
    """Repositories of a shard, in the order of their names."""

    def require(self) -> None:
        """Refuse an empty list, and a URL with a password."""
        if not (self.repositories or self.list_file):
            raise ConfigError(
                "expected --git.repositories or --git.list-file for source 'git', got neither"
            )
        for one in self.repositories:
            if "://" in one:
                check_url("git.repositories", one, ("https", "http", "file"))


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveConfig(Config):
    """Which files that others crawled, and how their columns are called."""

    paths: tuple[str, ...] = ()
    """Files, or folders of files: `.jsonl.zst` as GPT-Code-Clippy wrote them, `.parquet` with
    codekiln's columns or The Stack's."""

    dataset: str = ""
    """A data set of the Hugging Face hub to stream through `datasets`, such as
    `bigcode/the-stack-smol`, with The Stack's columns or CodeParrot's. Empty: none. It needs
    `dataset_revision`."""

    dataset_revision: str = ""
    """The commit of that data set: a branch would not be the same tomorrow."""

    dataset_data_dir: str = ""
    """A folder inside the data set, such as `data/python`. Empty: all."""

    max_documents: Annotated[int, Within(0)] = 0
    """Rows of a data set that are read. 0: all."""

    def require(self) -> None:
        """Refuse an empty selection, and a data set whose revision can move."""
        if not (self.paths or self.dataset):
            raise ConfigError(
                "expected --archive.paths or --archive.dataset for source 'archive', got neither"
            )
        if self.dataset and not re.fullmatch(r"[0-9a-f]{40}", self.dataset_revision):
            raise ConfigError(
                "expected --archive.dataset-revision as 40 hex digits, a commit, got "
                f"{self.dataset_revision!r}: a branch is not the same tomorrow"
            )


def unix_s(date: str) -> int:
    """Seconds since 1970 of a date or a time in UTC, as ISO 8601 spells it."""
    return int(datetime.fromisoformat(date.replace("Z", "+00:00")).replace(tzinfo=UTC).timestamp())


def check_url(name: str, url: str, schemes: tuple[str, ...] = ("https", "http")) -> None:
    """Refuse a URL of another scheme, or one that holds a user or a password.

    Raises:
        ConfigError: without the URL's user and password in its text.
    """
    scheme, separator, rest = url.partition("://")
    host = rest.partition("/")[0]
    if not separator or scheme not in schemes:
        raise ConfigError(
            f"expected {name} to begin with {' or '.join(one + '://' for one in schemes)}, got "
            f"{scheme[:20]!r}"
        )
    if "@" in host:
        raise ConfigError(
            f"expected {name} without a user or a password, got one for "
            f"{host.rpartition('@')[2]!r}: give tokens in the environment"
        )


def _check_date(name: str, value: str) -> None:
    try:
        if not _DATE.fullmatch(value):
            raise ValueError
        unix_s(value)
    except ValueError:
        raise ConfigError(
            f"expected github.{name} as 2026-11-24 or 2026-11-24T00:00:00Z, got {value!r}"
        ) from None
