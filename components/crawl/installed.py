"""The source `installed`: the standard library and the distributions that lie beside it."""

import hashlib
import os
import platform
import stat
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from components.artifacts.artifact import ArtifactWriter
from components.artifacts.canonical import canonical_json
from components.artifacts.tally import Tally
from components.crawl.config import CrawlConfig
from components.crawl.distributions import find_distributions, list_files, normalized_name
from components.crawl.languages import NAMES
from components.crawl.plan import Caps, cut_shards, select
from components.crawl.reading import crawl_shard
from components.crawl.source import Candidate, Discovery, Packed
from components.crawl.standard_library import REPO_ID, STANDARD_LIBRARY, list_standard_library

PACKAGE_FOLDERS = ("site-packages", "dist-packages")


@dataclass(frozen=True, kw_only=True, slots=True)
class InstalledSource:
    """What is installed on this machine, read and never imported."""

    standard_library: str
    """Its folder."""

    folders: tuple[str, ...]
    """Site-packages folders, in the order of the import path."""

    languages: frozenset[str]
    """Names of the wanted languages."""

    standard_library_tests: bool
    """Whether the standard library's own tests are wanted."""

    exclude: frozenset[str]
    """Normalised names of distributions to leave out."""

    caps: Caps
    shard_bytes: int

    def observe(self) -> dict[str, Any]:
        """Python's version, a hash of the standard library, and of each distribution's record."""
        tally = Tally()
        library = hashlib.sha256()
        for one in self._library(set(), tally):
            library.update(canonical_json([one.path, one.size, one.sha256]).encode() + b"\n")
        found = find_distributions(self.folders, self.exclude, tally)
        return {
            "python": platform.python_version(),
            "standard_library": library.hexdigest(),
            "distributions": {
                one.repository.repo: {
                    "version": one.repository.commit,
                    "record_sha256": one.fingerprint,
                }
                for one in found
            },
        }

    def discover(self, output: ArtifactWriter, tally: Tally) -> Discovery:  # noqa: ARG002
        """List the files, take them up to the caps, and cut them into shards."""
        selection = select(self.candidates(tally), self.caps, tally)
        return Discovery(
            units=[*cut_shards(selection.taken, self.shard_bytes)],
            repositories=selection.by_repository,
        )

    def fetch(
        self,
        output: ArtifactWriter,  # noqa: ARG002
        num_sharing: int,  # noqa: ARG002
        unit: tuple[Candidate, ...],
    ) -> Packed:
        """Read the files of a shard."""
        return crawl_shard(self.read, unit)

    def attest(self, output: ArtifactWriter, discovery: Discovery) -> None:
        """Nothing is left to do."""

    def candidates(self, tally: Tally) -> Iterator[Candidate]:
        """The standard library, then distributions in the order of the sha256 of their names."""
        seen: set[str] = set()
        yield from self._library(seen, tally)
        found = find_distributions(self.folders, self.exclude, tally)
        for one in sorted(found, key=lambda one: _name_hash(one.repository.repo)):
            yield from list_files(one, self.languages, seen, tally)

    def read(self, candidate: Candidate) -> bytes:
        """The bytes of a file; no more than one past the recorded size.

        Raises:
            OSError: it cannot be read, or is no regular file.
        """
        if not stat.S_ISREG(os.stat(candidate.location).st_mode):
            raise OSError(f"no regular file: {candidate.path}")
        with open(candidate.location, "rb") as file:
            return file.read(candidate.size + 1)

    def _library(self, seen: set[str], tally: Tally) -> Iterator[Candidate]:
        if STANDARD_LIBRARY in self.exclude:
            return iter(())
        return list_standard_library(
            self.standard_library, self.languages, self.standard_library_tests, seen, tally
        )


def installed_source(config: CrawlConfig) -> InstalledSource:
    """The source of the Python that runs."""
    return InstalledSource(
        standard_library=standard_library_folder(),
        folders=package_folders(),
        languages=frozenset(config.languages) or NAMES,
        standard_library_tests=config.standard_library_tests,
        exclude=frozenset(map(normalized_name, config.exclude)),
        caps=Caps(
            file=config.max_file_bytes,
            distribution=config.max_distribution_bytes,
            total=config.max_total_bytes,
            uncapped=frozenset({REPO_ID}),
        ),
        shard_bytes=config.shard_bytes,
    )


def standard_library_folder() -> str:
    """Where the standard library of the Python that runs lies."""
    return os.path.realpath(sysconfig.get_path("stdlib"))


def package_folders() -> tuple[str, ...]:
    """The site-packages folders of the import path: not the current folder, not a checkout."""
    real = (os.path.realpath(folder) for folder in sys.path)
    return tuple(dict.fromkeys(f for f in real if os.path.basename(f) in PACKAGE_FOLDERS))


def _name_hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
