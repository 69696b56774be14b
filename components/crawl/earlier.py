"""What earlier crawls of the same data root hold: unchanged repositories are not fetched again.

A crawl of a later day finds most repositories as they were. Those at the same commit, with the
same licence by the API and under the same rules, are copied; by REST, which names no commit, those
whose last push is the same, or whose archive's ETag is. The rows are those that fetching would
give, so the digest does not tell a delta from a crawl from nothing.
"""

import json
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from components.artifacts.artifact import Artifact, ArtifactWriter
from components.artifacts.documents import DOCUMENTS, read_documents
from components.artifacts.errors import CodekilnError
from components.artifacts.manifest import MANIFEST_NAME, TOMBSTONE_NAME, FileEntry
from components.artifacts.storage import open_storage
from components.artifacts.tally import Tally
from components.crawl.discovery import read_whole
from components.crawl.harvest import FETCHED, Harvest, Rules, refresh
from components.crawl.journal import REPOSITORIES
from components.crawl.selection import unix_s
from components.crawl.source import RepositoryRef

MAX_HELD = 4
"""Windows of earlier crawls held at once: one of today's overlaps one to three of them."""


@dataclass(frozen=True)
class _Place:
    """One window of an earlier crawl, read."""

    records: dict[str, dict[str, Any]]
    ledger: dict[str, dict[str, Any]]
    artifact: Artifact
    entry: FileEntry

    def rows(self, repo_id: str) -> list[dict[str, Any]]:
        table: pa.Table = read_documents(self.artifact, self.entry)
        rows: list[dict[str, Any]] = table.filter(pc.equal(table["repo_id"], repo_id)).to_pylist()
        return rows


@dataclass(frozen=True)
class _Crawl:
    """An earlier crawl: where its windows begin and end."""

    artifact: Artifact
    windows: list[tuple[int, int]]
    opt_out: frozenset[str]


@dataclass
class EarlierCrawls:
    """Finished crawls beside the one under way, the latest first."""

    crawls: list[_Crawl] = field(default_factory=list)
    _held: "OrderedDict[tuple[str, int], _Place]" = field(default_factory=OrderedDict)

    @classmethod
    def beside(cls, output: ArtifactWriter, digest: str, rules: Rules) -> "EarlierCrawls":
        """Those under the same rules, whose opt-outs are all still in force."""
        mine = output.storage.uri
        parent = open_storage(mine.rpartition("/")[0])
        found = []
        for name in parent.names():
            key, _, file = name.partition("/")
            if file != MANIFEST_NAME or key.startswith(".") or mine.endswith(f"/{key}"):
                continue
            if crawl := _open(parent.child(key).uri, digest):
                found.append(crawl)
        now = frozenset(rules.opt_out.entries)
        kept = [one for one in found if one.opt_out <= now]
        return cls(sorted(kept, key=lambda one: one.windows[-1:], reverse=True))

    def find(self, ref: RepositoryRef, rules: Rules) -> Harvest | None:
        """A repository that did not change, by its commit or its last push."""
        for place in self._places(ref):
            record = place.records.get(ref.repo_id)
            if not record or not _usable(record, ref):
                continue
            same = record["commit"] == ref.commit if ref.commit else _same_push(record, ref)
            if same:
                return _copy(place, record, ref, rules)
        return None

    def unchanged(self, ref: RepositoryRef, rules: Rules) -> Harvest | None:
        """The repository whose ETag was sent, after the server said that it holds."""
        for place in self._places(ref):
            record = place.records.get(ref.repo_id)
            if record and _usable(record, ref) and place.ledger.get(ref.repo_id, {}).get("etag"):
                return _copy(place, record, ref, rules)
        return None

    def etag(self, ref: RepositoryRef) -> str:
        """The ETag of a repository's archive when it was fetched last; empty where there is none.

        Asked for by branch only: an archive of a commit that is known to differ has another.
        """
        if ref.commit:
            return ""
        for place in self._places(ref):
            record = place.records.get(ref.repo_id)
            etag = place.ledger.get(ref.repo_id, {}).get("etag", "")
            if etag and record and _usable(record, ref):
                return str(etag)
        return ""

    def _places(self, ref: RepositoryRef) -> Iterable[_Place]:
        if not self.crawls or not ref.created_at:
            return
        created = unix_s(ref.created_at)
        for number, crawl in enumerate(self.crawls):
            for index, (start, stop) in enumerate(crawl.windows):
                if start <= created < stop:
                    yield self._place(number, index)

    def _place(self, number: int, index: int) -> _Place:
        key = (self.crawls[number].artifact.storage.uri, index)
        if key not in self._held:
            while len(self._held) >= MAX_HELD:
                self._held.popitem(last=False)
            self._held[key] = _read_place(self.crawls[number].artifact, index)
        self._held.move_to_end(key)
        return self._held[key]


def _open(uri: str, digest: str) -> _Crawl | None:
    """A finished crawl that can be copied from: whole, under the same rules, not withdrawn."""
    try:
        artifact = Artifact.open(uri, kind=DOCUMENTS)
    except CodekilnError:
        return None
    whole = read_whole(artifact.storage.child("plan"))
    if whole is None or whole["rules"] != digest or artifact.storage.exists(TOMBSTONE_NAME):
        return None
    windows = [(int(start), int(stop)) for start, stop in whole["windows"]]
    return _Crawl(artifact, windows, frozenset(whole["opt_out"]))


def _read_place(artifact: Artifact, index: int) -> _Place:
    entry = next(one for one in artifact.part(DOCUMENTS) if one.index == index)
    rows = next(one for one in artifact.part(REPOSITORIES) if one.index == index)
    records = [json.loads(line) for line in artifact.read(rows).splitlines()]
    name = f"ledger/{index:05d}.jsonl"
    lines = artifact.storage.read(name).splitlines() if artifact.storage.exists(name) else []
    ledger = {one["repo_id"]: one for one in (json.loads(line) for line in lines if line)}
    return _Place({one["repo_id"]: one for one in records}, ledger, artifact, entry)


def _usable(record: dict[str, Any], ref: RepositoryRef) -> bool:
    return bool(record["outcome"] == FETCHED and record["declared_license"] == ref.license)


def _same_push(record: dict[str, Any], ref: RepositoryRef) -> bool:
    return bool(ref.pushed_at) and record["pushed_at"] == ref.pushed_at


def _copy(
    place: _Place, record: dict[str, Any], ref: RepositoryRef, rules: Rules
) -> Harvest | None:
    """The repository as fetching it now would give it."""
    told = place.ledger.get(ref.repo_id, {})
    rows = place.rows(ref.repo_id)
    out = [one for one in rows if rules.opt_out.of_file(ref.repo, one["path"], one["sha256"])]
    if out or "tally" not in told:
        return None  # what is left out now is counted by fetching it
    harvest = Harvest(record=refresh(record, ref), tally=Tally.from_json(told["tally"]))
    for row in rows:
        row["stars"], row["repo"] = ref.stars, ref.repo
        harvest.rows.append(row)  # type: ignore[arg-type]
    harvest.ledger.update(transport="earlier_crawl", etag=told.get("etag", ""))
    return harvest
