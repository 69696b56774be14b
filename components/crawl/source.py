"""What a source of documents is: the protocol, and what passes through it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from components.artifacts.artifact import ArtifactWriter, Draft
from components.artifacts.tally import Amount, Tally

UNKNOWN = "unknown"
"""Where no licence is known."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryRef:
    """A repository that was found and not fetched yet."""

    source: str
    repo_id: str
    """An id that survives renames: `github:<number>`."""

    repo: str
    """Owner and name."""

    commit: str = ""
    """What to fetch; empty where only fetching tells."""

    license: str = UNKNOWN
    """What the source says of the whole repository."""

    stars: int = 0
    size_kb: int = 0
    """What the source says of its size on disk, in 2**10 bytes."""

    created_at: str = ""
    pushed_at: str = ""
    fork: bool = False
    archived: bool = False
    problem: str = ""
    """Why it cannot be fetched, as far as the source says before."""

    def to_json(self) -> dict[str, Any]:
        """The reference as a JSON value."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "RepositoryRef":
        """Read what `to_json` wrote."""
        return cls(**value)


@dataclass(frozen=True)
class Discovery:
    """What a source found: the plan of the crawl."""

    units: Sequence[Any]
    """Picklable; unit i becomes place i of the artifact, whoever fetches it."""

    repositories: Mapping[Repository, Amount] = field(default_factory=dict)
    """Files and bytes planned by repository, where they are known before anything is read."""

    counts: Mapping[str, int] = field(default_factory=dict)
    """What discovery counted, such as requests; part of no tally of files."""


class Source(Protocol):
    """Where documents come from. Picklable: worker processes fetch through it.

    A crawl goes through discover (what is there), plan (units of work, in an order that depends
    on nothing else), fetch, pack (a shard a unit) and attest (counts that add up, a record of every
    repository). Each can be killed and goes on where it was: what discovery found and what was
    fetched is published create-only in the artifact's folder, and a finished unit is not begun
    again.
    """

    def observe(self) -> dict[str, Any]:
        """What the source holds, as far as it decides what is crawled; JSON."""

    def discover(self, output: ArtifactWriter, tally: Tally) -> Discovery:
        """Find what there is and plan it.

        Args:
            output: where discovery of a network keeps what it found.
            tally: files that are left out by the plan are counted here, with a reason.
        """

    def fetch(self, output: ArtifactWriter, num_sharing: int, unit: Any) -> "Packed":
        """Fetch a unit and pack it.

        Args:
            output: where a network's source keeps the repositories of an unfinished unit.
            num_sharing: processes that share the source's limits at the same time.
            unit: of the plan.
        """

    def attest(self, output: ArtifactWriter, discovery: Discovery) -> None:
        """End the crawl: every unit is committed, what only the way there needed goes."""


Packed = tuple[list[Draft], Tally]
"""The files of one place of the artifact, and what was counted."""
