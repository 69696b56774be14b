"""What a source of documents is: the protocol, and what passes through it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from components.artifacts.tally import Tally


@dataclass(frozen=True, slots=True)
class Repository:
    """Where files come from: the provenance that all of them share."""

    source: str
    repo_id: str
    """An id that survives renames, such as a package URL."""

    repo: str
    commit: str
    license: str
    """SPDX expression, or `unknown`."""

    license_source: str
    stars: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may become a document: known, and not read yet.

    Frozen, with a path of its own: no file can be given the name of another of its repository, as
    happened to GPT-Code-Clippy, where one dictionary a repository was shared by all of its rows.
    """

    repository: Repository
    path: str
    """Inside the repository, with `/`."""

    size: int
    """Bytes, as the source recorded it."""

    sha256: str
    """Hex, as the source recorded it."""

    language: str
    location: str
    """Where the source reads it; never in a row."""


class Source(Protocol):
    """Where documents come from. Picklable: worker processes read through it."""

    def observe(self) -> dict[str, Any]:
        """What the source holds, as far as it decides what is crawled; JSON."""

    def candidates(self, tally: Tally) -> Iterator[Candidate]:
        """All files of the wanted languages, in the order in which a cap takes them.

        Args:
            tally: files that are no candidates are counted here, with a reason.
        """

    def read(self, candidate: Candidate) -> bytes:
        """The bytes of a file; no more than one past the recorded size.

        Raises:
            OSError: it cannot be read.
        """
