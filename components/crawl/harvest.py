"""One fetched repository as rows: every file kept or counted, each with its own provenance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from components.artifacts.documents import Document
from components.artifacts.licenses import is_allowed
from components.artifacts.opt_out import OptOut
from components.artifacts.swhid import revision_swhid
from components.artifacts.tally import Tally
from components.crawl.evidence import PROJECT_FILE, gather_evidence, is_license_name
from components.crawl.languages import language_of
from components.crawl.reading import make_document
from components.crawl.source import Repository, RepositoryRef
from components.crawl.tarball import Member

FETCHED = "fetched"
"""The outcome of a repository that was read; any other is the class of a dead letter, or why it
was never asked for."""

OPTED_OUT = "opted_out"
LICENSE = "license"
SEEN_TWICE = "seen_twice"
CASE_COLLISION = "case_collision"
LFS = "lfs_pointer"
OVER_CAP = "over_repository_cap"

EXPORT_ATTRIBUTES = "export_attributes"
"""The flag of rows from a tarball whose .gitattributes leave files out or rewrite them."""

ATTRIBUTES_FILE = ".gitattributes"
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""How a file begins whose content git LFS keeps elsewhere."""

MAX_KEPT_BYTES = 256_000_000
"""Source bytes taken of one repository: what a process holds of it at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What is taken of a repository. Picklable; the same rules and commit give the same rows."""

    languages: frozenset[str]
    max_file_bytes: int
    licenses: tuple[str, ...]
    opt_out: OptOut

    def wants(self, path: str) -> bool:
        """Whether a file is to be read: a source file, or one that says something of the rest."""
        return self.is_source(path) or is_evidence(path)

    def is_source(self, path: str) -> bool:
        """Whether a file is of a wanted language."""
        return language_of(path) in self.languages


def is_evidence(path: str) -> bool:
    """Whether a file tells of licences or attributes."""
    return is_license_name(path) or path == PROJECT_FILE or path.endswith(ATTRIBUTES_FILE)


@dataclass
class Harvest:
    """What became of one repository."""

    record: dict[str, Any]
    """The row of the part `repositories`: in the digest."""

    rows: list[Document] = field(default_factory=list, repr=False)
    """In the order of their paths."""

    tally: Tally = field(default_factory=Tally)
    ledger: dict[str, Any] = field(default_factory=dict)
    """How and when it was fetched: in no digest."""

    @property
    def outcome(self) -> str:
        return str(self.record["outcome"])


@dataclass
class Refusals:
    """Members of an archive, or entries of a tree, that are no files to read."""

    rules: Rules
    tally: Tally = field(default_factory=Tally)

    def note(self, reason: str, path: str, size: int) -> None:
        """Count one. A link or a large file of another language is no candidate."""
        if path and not self.rules.is_source(path):
            self.tally.count("files_without_language")
            return
        self.tally.take_in(size)
        self.tally.drop(reason, size)


def unfetched(ref: RepositoryRef, reason: str) -> Harvest:
    """The record of a repository that was not read, and why."""
    harvest = Harvest(record=record_of(ref, reason, {}, ref.license, "api", Tally()))
    harvest.tally.count("repositories_not_fetched")
    harvest.tally.count(f"repositories_{reason}")
    return harvest


def harvest_repository(
    ref: RepositoryRef,
    commit: str,
    members: Sequence[Member],
    refused: Tally,
    rules: Rules,
    flags: Sequence[str] = (),
) -> Harvest:
    """Make the rows of a repository.

    Args:
        ref: the repository.
        commit: of the files.
        members: its source files and its evidence, in any order.
        refused: what reading left out before.
        rules: what is taken.
        flags: of every row.
    """
    ref = replace(ref, commit=commit)
    evidence = gather_evidence(
        ((one.path, one.data) for one in members if _tells_license(one.path)), ref.license
    )
    harvest = Harvest(record={}, tally=Tally.total([refused]))
    chosen = _Chooser(rules)
    for member in sorted(members, key=lambda one: one.path):
        if not rules.is_source(member.path):
            continue
        size = len(member.data)
        harvest.tally.take_in(size)
        verdict = evidence.of_file(member.path, member.data)
        repository = _repository(ref, verdict.license, verdict.source)
        document = chosen.document_of(repository, member, flags)
        if isinstance(document, str):
            harvest.tally.drop(document, size)
        else:
            harvest.tally.keep(size, document["license"], document["language"])
            harvest.rows.append(document)
    harvest.tally.count("repositories")
    root = evidence.root
    harvest.record = record_of(
        ref, FETCHED, evidence.texts, root.license, root.source, harvest.tally
    )
    return harvest


def refresh(record: Mapping[str, Any], ref: RepositoryRef) -> dict[str, Any]:
    """The record of an unchanged repository with what may change beside its files."""
    names = ("repo", "stars", "fork", "archived", "created_at", "pushed_at")
    return {**record, **{name: getattr(ref, name) for name in names}}


def has_export_attributes(members: Sequence[Member]) -> bool:
    """Whether an archive of this repository leaves files out or rewrites them."""
    return any(
        b"export-ignore" in one.data or b"export-subst" in one.data
        for one in members
        if one.path.rpartition("/")[2] == ATTRIBUTES_FILE
    )


class _Chooser:
    """Decides file by file, in the order of paths."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._paths: set[str] = set()
        self._folded: set[str] = set()
        self._held = 0

    def document_of(
        self, repository: Repository, member: Member, flags: Sequence[str]
    ) -> Document | str:
        rules, path = self._rules, member.path
        if path in self._paths:
            return SEEN_TWICE
        self._paths.add(path)
        if path.casefold() in self._folded:
            return CASE_COLLISION
        self._folded.add(path.casefold())
        if member.data.startswith(LFS_POINTER):
            return LFS
        if self._held + len(member.data) > MAX_KEPT_BYTES:
            self._held = MAX_KEPT_BYTES + 1  # the rest too: a prefix of the order is taken
            return OVER_CAP
        if rules.licenses and not is_allowed(repository.license, rules.licenses):
            return LICENSE
        language = language_of(path)
        assert language is not None, path
        document = make_document(repository, path, language, member.data, flags)
        if isinstance(document, str):
            return document
        if rules.opt_out.of_file(repository.repo, path, document["sha256"]):
            return OPTED_OUT
        self._held += len(member.data)
        return document


def _tells_license(path: str) -> bool:
    return is_license_name(path) or path == PROJECT_FILE


def _repository(ref: RepositoryRef, license_name: str, license_source: str) -> Repository:
    return Repository(
        source=ref.source,
        repo_id=ref.repo_id,
        repo=ref.repo,
        commit=ref.commit,
        license=license_name,
        license_source=license_source,
        stars=ref.stars,
    )


def record_of(
    ref: RepositoryRef,
    outcome: str,
    texts: Mapping[str, str],
    license_name: str,
    license_source: str,
    tally: Tally,
) -> dict[str, Any]:
    """The row of the part `repositories`: what became of one, and its licence with its evidence."""
    return {
        "source": ref.source,
        "repo_id": ref.repo_id,
        "repo": ref.repo,
        "commit": ref.commit,
        "swhid": revision_swhid(ref.commit),
        "outcome": outcome,
        "license": license_name,
        "license_source": license_source,
        "declared_license": ref.license,
        "license_files": dict(sorted(texts.items())),
        "stars": ref.stars,
        "fork": ref.fork,
        "archived": ref.archived,
        "created_at": ref.created_at,
        "pushed_at": ref.pushed_at,
        "files": tally.counts.get("files", 0),
        "bytes": tally.counts.get("bytes", 0),
    }
