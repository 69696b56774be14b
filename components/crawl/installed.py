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

from components.artifacts.canonical import canonical_json
from components.artifacts.tally import Tally
from components.crawl.config import CrawlConfig
from components.crawl.distributions import find_distributions, list_files, normalized_name
from components.crawl.languages import NAMES
from components.crawl.source import Candidate
from components.crawl.standard_library import STANDARD_LIBRARY, list_standard_library

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
