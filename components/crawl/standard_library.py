"""Python's standard library: its files, by walking the folder of the Python that runs."""

import hashlib
import os
import platform
import stat
from collections.abc import Iterator

from components.artifacts.tally import Tally
from components.crawl.distributions import (
    OF_OTHER_LANGUAGES,
    SEEN_TWICE,
    WITHOUT_LANGUAGE,
    is_seen,
)
from components.crawl.languages import language_of
from components.crawl.source import Candidate, Repository

STANDARD_LIBRARY = "cpython"
"""Its name as a repository."""

REPO_ID = f"pkg:generic/{STANDARD_LIBRARY}"
FOLDER_IN_REPOSITORY = "Lib"
"""Where the standard library lies in CPython's own repository: a row's path is the path there."""

NOT_OF_THE_LIBRARY = frozenset({"site-packages", "dist-packages", "__pycache__"})
"""Folders of installed distributions and of compiled files."""

SYNTAX_FIXTURES = ("lib2to3/tests/data/", "test/test_lib2to3/data/")
"""Fixtures in old or broken Python."""

BUILD_CONFIGURATION = ("_sysconfigdata_", "config-")
"""What a build wrote about itself, paths of the machine among it."""

TEST_FOLDERS = frozenset({"test", "tests", "idle_test"})
"""Folders that hold the standard library's own tests, about half of its bytes."""

TEST = "standard_library_test"
TEST_DATA = "test_data"
BUILT = "build_configuration"
UNREADABLE = "unreadable"


def standard_library_repository() -> Repository:
    """The provenance of the standard library of the Python that runs."""
    return Repository(
        source="installed",
        repo_id=REPO_ID,
        repo=STANDARD_LIBRARY,
        commit=platform.python_version(),
        license="PSF-2.0",
        license_source="Python",
    )


def list_standard_library(
    root: str, languages: frozenset[str], with_tests: bool, seen: set[str], tally: Tally
) -> Iterator[Candidate]:
    """The files of the standard library, in the order of their paths.

    There is no record to trust: each file of a wanted language is read once for its sha256.

    Args:
        root: its folder.
        languages: names of the wanted languages.
        with_tests: whether its own tests are wanted.
        seen: locations that were listed before; those found here are added.
        tally: counts what is no candidate.
    """
    repository = standard_library_repository()
    for path in sorted(_walk(root, tally)):
        language = language_of(path)
        if language not in languages:
            tally.count(OF_OTHER_LANGUAGES if language else WITHOUT_LANGUAGE)
            continue
        assert language is not None
        location = os.path.join(root, path)
        identity = _identity(location)
        size = identity[0] if identity else 0
        reason = _refusal(path, with_tests) or (SEEN_TWICE if is_seen(location, seen) else None)
        if identity is None or reason:
            tally.take_in(size)
            tally.drop(reason or UNREADABLE, size)
            continue
        yield Candidate(
            repository=repository,
            path=f"{FOLDER_IN_REPOSITORY}/{path}",
            size=size,
            sha256=identity[1],
            language=language,
            location=location,
        )


def _walk(root: str, tally: Tally) -> Iterator[str]:
    """Paths of all files below a folder, relative to it, with `/`; links to folders are counted."""
    for folder, folders, files in os.walk(root):
        for name in list(folders):
            if name in NOT_OF_THE_LIBRARY:
                folders.remove(name)
            elif os.path.islink(os.path.join(folder, name)):
                folders.remove(name)
                tally.count("folders_linked")
        for name in files:
            yield os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/")


def _refusal(path: str, with_tests: bool) -> str | None:
    if path.startswith(SYNTAX_FIXTURES):
        return TEST_DATA
    if path.startswith(BUILD_CONFIGURATION):
        return BUILT
    if not with_tests and TEST_FOLDERS.intersection(path.split("/")[:-1]):
        return TEST
    if any(0xD800 <= ord(letter) <= 0xDFFF for letter in path):  # a name that is not UTF-8
        return UNREADABLE
    return None


def _identity(location: str) -> tuple[int, str] | None:
    """Size and sha256 of a regular file, None where it cannot be read."""
    try:
        if not stat.S_ISREG(os.stat(location).st_mode):
            return None
        with open(location, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return file.tell(), digest
    except OSError:
        return None
