"""Rows of archives: what each kind of archive says of a file, and which files are kept."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from components.artifacts.archives import ArchivedFile
from components.artifacts.documents import Document
from components.artifacts.errors import CorruptArtifactError
from components.artifacts.licenses import is_allowed
from components.artifacts.tally import Tally
from components.crawl.harvest import FETCHED, LICENSE, OPTED_OUT, Rules, record_of
from components.crawl.languages import NAMES, language_of
from components.crawl.reading import make_document
from components.crawl.source import UNKNOWN, Repository, RepositoryRef
from components.crawl.tarball import TOO_LARGE

SOURCE = "archive"
NAME_REPEATED = "name_repeated"
"""The flag of rows whose file name several files of the repository carry: GPT-Code-Clippy gave
all of them the last one's. The language is then the repository's, not the name's."""

ALTERED = "altered"


@dataclass(frozen=True, kw_only=True, slots=True)
class Archived:
    """What an archive says of one file."""

    repo: str
    path: str
    content: str
    repo_id: str = ""
    commit: str = ""
    license: str = UNKNOWN
    license_source: str = SOURCE
    stars: int = 0
    repo_language: str = ""
    sha256: str = ""
    """Empty where the archive does not say."""

    @classmethod
    def of_gpt_cc(cls, one: ArchivedFile) -> "Archived":
        """A line of GPT-Code-Clippy's archives, or of those that codekiln writes in its form."""
        return cls(
            repo=one.repo_name,
            path=one.file_name,
            content=one.text,
            commit=one.commit,
            license=one.license or UNKNOWN,
            stars=one.stars,
            repo_language=one.repo_language,
            sha256=one.sha256,
        )


def read_row(row: Mapping[str, Any], where: str) -> Archived:
    """A row of a table, by the columns that it has.

    Raises:
        CorruptArtifactError: of no known kind.
    """
    if "max_stars_repo_name" in row:  # The Stack, https://huggingface.co/datasets/bigcode/the-stack
        licenses = [str(one) for one in row.get("max_stars_repo_licenses") or ()]
        return Archived(
            repo=_text(row, "max_stars_repo_name", where),
            path=_text(row, "max_stars_repo_path", where),
            content=_text(row, "content", where),
            commit=str(row.get("max_stars_repo_head_hexsha") or ""),
            license=" AND ".join(sorted(set(licenses))) or UNKNOWN,
            stars=int(row.get("max_stars_count") or 0),
            repo_language=str(row.get("lang") or ""),
        )
    if "repo" in row and "sha256" in row:  # codekiln's own
        return Archived(
            repo=_text(row, "repo", where),
            repo_id=str(row.get("repo_id") or ""),
            path=_text(row, "path", where),
            content=_text(row, "content", where),
            commit=str(row.get("commit") or ""),
            license=str(row.get("license") or UNKNOWN),
            license_source=str(row.get("license_source") or SOURCE),
            stars=int(row.get("stars") or 0),
            repo_language=str(row.get("language") or ""),
            sha256=str(row["sha256"]),
        )
    if "repo_name" in row:  # CodeParrot, https://huggingface.co/datasets/codeparrot/github-code
        return Archived(
            repo=_text(row, "repo_name", where),
            path=_text(row, "path", where),
            content=_text(row, "content" if "content" in row else "code", where),
            license=str(row.get("license") or UNKNOWN),
            repo_language=str(row.get("language") or ""),
        )
    raise CorruptArtifactError(
        "expected the columns of codekiln, The Stack or CodeParrot, got "
        f"{sorted(map(str, row))[:12]} in {where}: rename the columns to one of these"
    )


@dataclass
class Keeper:
    """Decides what is kept of an archive, and keeps count by repository."""

    rules: Rules
    tally: Tally = field(default_factory=Tally)
    _records: dict[str, tuple[RepositoryRef, Tally]] = field(default_factory=dict)

    def rows(self, groups: Iterable[Iterable[Archived]]) -> Iterator[Document]:
        """The documents of an archive; the files of a repository come together."""
        for group in groups:
            files = [*group]
            times = Counter(one.path for one in files)
            for one in files:
                if document := self._keep(one, repeated=times[one.path] > 1):
                    yield document

    def records(self) -> list[dict[str, Any]]:
        """A row a repository, by its id."""
        self.tally.count("repositories", len(self._records))
        return [
            record_of(ref, FETCHED, {}, ref.license, SOURCE, tally)
            for _, (ref, tally) in sorted(self._records.items())
        ]

    def _keep(self, one: Archived, repeated: bool) -> Document | None:
        language = _language(one, repeated)
        if language not in self.rules.languages:
            name = "files_of_other_languages" if language else "files_without_language"
            self.tally.count(name)
            return None
        data = one.content.encode("utf-8", "surrogatepass")
        self.tally.take_in(len(data))
        document = self._document(one, language, data, repeated)
        if isinstance(document, str):
            self.tally.drop(document, len(data))
            return None
        self.tally.keep(len(data), document["license"], language)
        ref = RepositoryRef(
            source=SOURCE,
            repo_id=document["repo_id"],
            repo=one.repo,
            commit=one.commit,
            license=one.license,
            stars=one.stars,
        )
        _, tally = self._records.setdefault(ref.repo_id, (ref, Tally()))
        tally.keep(len(data), one.license, language)
        return document

    def _document(
        self, one: Archived, language: str, data: bytes, repeated: bool
    ) -> Document | str:
        rules = self.rules
        repo_id = one.repo_id or f"{SOURCE}:{one.repo}"
        sha256 = hashlib.sha256(data).hexdigest()
        if len(data) > rules.max_file_bytes:
            return TOO_LARGE
        if one.sha256 and one.sha256 != sha256:
            return ALTERED
        if rules.licenses and not is_allowed(one.license, rules.licenses):
            return LICENSE
        opt_out = rules.opt_out
        if opt_out.of_repository(repo_id, one.repo) or opt_out.of_file(one.repo, one.path, sha256):
            return OPTED_OUT
        source = one.license_source if one.license != UNKNOWN else UNKNOWN
        repository = Repository(
            source=SOURCE,
            repo_id=repo_id,
            repo=one.repo,
            commit=one.commit,
            license=one.license,
            license_source=source,
            stars=one.stars,
        )
        return make_document(
            repository, one.path, language, data, [NAME_REPEATED] if repeated else []
        )


def _language(one: Archived, repeated: bool) -> str:
    """By the file's name; by the repository where the name cannot be this file's."""
    known = one.repo_language if one.repo_language in NAMES else ""
    return known if repeated else language_of(one.path) or ""


def _text(row: Mapping[str, Any], name: str, where: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise CorruptArtifactError(
            f"expected text in column {name!r}, got {value!r:.60} in {where}: mend that row"
        )
    return value
