"""Take a repository back out of a corpus that exists: a successor, a tombstone, who is affected.

The successor holds the same rows without those of the repository; shards that hold none are copied
as they are. Its identity is the old one with the entry under `withdrawn`, so that no crawl makes
another artifact under the same key. The old folder gets a tombstone, which every step that is
handed it, or would reuse it, refuses.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from components.artifacts.artifact import Artifact, ArtifactWriter, Draft
from components.artifacts.canonical import key_of
from components.artifacts.documents import DOCUMENTS, draft_documents, read_documents
from components.artifacts.errors import ArtifactError
from components.artifacts.inspection import list_artifacts
from components.artifacts.manifest import (
    LEDGER_NAME,
    MANIFEST_NAME,
    TOMBSTONE_NAME,
    FileEntry,
    Manifest,
    digest_of_files,
)
from components.artifacts.opt_out import OptOut
from components.artifacts.rows import draft_rows
from components.artifacts.storage import Storage
from components.artifacts.tally import Tally

REPOSITORIES = "repositories"
OPTED_OUT = "opted_out"
COPIED = ("plan/", "ledger/", "summary.md", LEDGER_NAME)
"""What a successor takes over as it is, beside records and shards."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Withdrawal:
    """What became of one artifact."""

    withdrawn: Artifact
    successor: Artifact
    files: int
    """Rows that are gone."""

    descendants: tuple[Artifact, ...]
    """Every artifact that was made of the old one, in the order of their steps' making."""


def refuse_withdrawn(storage: Storage) -> None:
    """Refuse an artifact that has a tombstone.

    Raises:
        ArtifactError: with who asked and what replaces it.
    """
    if storage.exists(TOMBSTONE_NAME):
        told = json.loads(storage.read(TOMBSTONE_NAME))
        raise ArtifactError(
            f"expected documents that may be used, got {storage.uri}, withdrawn on "
            f"{told['date']} for {told['entry']!r} ({told['reason']}): use {told['successor']}, or "
            "add the entry to crawl.opt_out and crawl again"
        )


def withdraw(data_root: Storage, step: str, entry: str, reason: str, date: str) -> list[Withdrawal]:
    """Publish a successor of every artifact of a step that holds a repository.

    Args:
        data_root: where artifacts live.
        step: whose artifacts: `crawl`.
        entry: as a list of opt-outs spells it.
        reason: for the tombstone; one line.
        date: for the tombstone.
    """
    opt_out = OptOut.read([entry], "crawl-forget")
    everything = [*list_artifacts(data_root)]
    done = []
    for artifact in everything:
        manifest = artifact.manifest
        if manifest.step != step or artifact.storage.exists(TOMBSTONE_NAME):
            continue
        touched = {
            one.name: hit
            for one in artifact.part(DOCUMENTS)
            if (hit := _hits(artifact, one, opt_out))
        }
        if not touched:
            continue
        successor = _publish(data_root, artifact, touched, opt_out, entry)
        files = sum(map(len, touched.values()))
        tombstone = {
            "entry": entry,
            "reason": reason,
            "date": date,
            "successor": successor.manifest.key,
            "files": files,
        }
        artifact.storage.create(
            TOMBSTONE_NAME, (json.dumps(tombstone, sort_keys=True, indent=1) + "\n").encode()
        )
        done.append(
            Withdrawal(
                withdrawn=artifact,
                successor=successor,
                files=files,
                descendants=tuple(find_descendants(everything, manifest.key)),
            )
        )
    return done


def remove_data(artifact: Artifact) -> None:
    """Take the files of a withdrawn artifact away; its manifest and tombstone stay as a proof."""
    for name in {entry.name for entry in artifact.manifest.files}:
        artifact.storage.remove(name)


def find_descendants(artifacts: Sequence[Artifact], key: str) -> Iterator[Artifact]:
    """Artifacts that were made of one, directly or through others."""
    known, rest = {key}, [*artifacts]
    while found := [
        one for one in rest if any(p.key in known for p in one.manifest.parents.values())
    ]:
        yield from found
        known |= {one.manifest.key for one in found}
        rest = [one for one in rest if one not in found]


def _hits(artifact: Artifact, entry: FileEntry, opt_out: OptOut) -> list[int]:
    """Rows of a shard that an entry leaves out."""
    table = read_documents(artifact, entry, ["repo_id", "repo", "path", "sha256"])
    return [
        number
        for number, row in enumerate(table.to_pylist())
        if opt_out.of_repository(row["repo_id"], row["repo"])
        or opt_out.of_file(row["repo"], row["path"], row["sha256"])
    ]


def _publish(
    data_root: Storage,
    artifact: Artifact,
    touched: Mapping[str, Sequence[int]],
    opt_out: OptOut,
    entry: str,
) -> Artifact:
    """The successor, whole; found again where a withdrawal was killed before its tombstone."""
    manifest = artifact.manifest
    withdrawn = sorted({*manifest.config.get("withdrawn", ()), entry})
    identity = {**manifest.config, "withdrawn": withdrawn}
    parents = {name: parent.digest for name, parent in manifest.parents.items()}
    key = key_of(manifest.step, manifest.version, identity, parents)
    storage = data_root.child(manifest.step).child(key)
    if not storage.exists(MANIFEST_NAME):
        writer = ArtifactWriter(storage)
        with storage.lease():
            files, tally = _copy(artifact, writer, touched, opt_out)
            _copy_beside(artifact.storage, storage, entry)
            made = replace(
                manifest,
                key=key,
                config=identity,
                files=files,
                digest=digest_of_files(files, frozenset()),
                tally=tally,
                measures=_measure(manifest, tally),
            )
            storage.create(MANIFEST_NAME, made.to_bytes())
    return Artifact.open(storage.uri)


def _copy(
    artifact: Artifact,
    writer: ArtifactWriter,
    touched: Mapping[str, Sequence[int]],
    opt_out: OptOut,
) -> tuple[tuple[FileEntry, ...], Tally]:
    """All files of an artifact without the rows, and its counts without them."""
    gone = Tally()
    by_index: dict[int, list[Draft]] = {}
    shards = Counter(entry.index for entry in artifact.part(DOCUMENTS))
    for entry in artifact.manifest.files:
        draft = _draft(artifact, entry, touched.get(entry.name, ()), opt_out, gone)
        if entry.part == DOCUMENTS and shards[entry.index] > 1:
            draft = replace(draft, name=entry.name)  # their order is that of their names
        by_index.setdefault(entry.index, []).append(draft)
    files: list[FileEntry] = []
    for index, drafts in sorted(by_index.items()):
        writer.commit(index, drafts, Tally())
        committed = writer.committed(index)
        assert committed is not None
        files += committed[0]
    tally = _without(artifact.manifest.tally, gone)
    return tuple(sorted(files, key=lambda one: (one.part, one.index, one.name))), tally


def _draft(
    artifact: Artifact, entry: FileEntry, rows: Sequence[int], opt_out: OptOut, gone: Tally
) -> Draft:
    if rows:
        table = read_documents(artifact, entry)
        for row in table.take(pa.array(rows)).to_pylist():
            gone.keep(row["size"], row["license"], row["language"])
        kept = sorted({*range(table.num_rows)} - {*rows})
        return draft_documents(table.take(pa.array(kept, pa.int64())))
    data = artifact.read(entry)
    if entry.part == REPOSITORIES:
        lines = [json.loads(line) for line in data.splitlines()]
        return draft_rows(REPOSITORIES, [_bury(row, opt_out) for row in lines])
    suffix = "." + entry.name.rpartition(".")[2]
    return Draft(part=entry.part, suffix=suffix, data=data, rows=entry.rows, digest=entry.digest)


def _bury(row: dict[str, Any], opt_out: OptOut) -> dict[str, Any]:
    """The tombstone of a repository in the part that lists them."""
    if not opt_out.of_repository(row["repo_id"], row["repo"]):
        return row
    return {**row, "outcome": OPTED_OUT, "files": 0, "bytes": 0}


def _without(tally: Tally, gone: Tally) -> Tally:
    files, size = gone.counts["files"], gone.counts["bytes"]
    left = Tally.from_json(tally.to_json())
    left.count("files", -files)
    left.count("bytes", -size)
    left.drop(OPTED_OUT, size, files)
    for mine, other in ((left.licenses, gone.licenses), (left.languages, gone.languages)):
        for name, (number, length) in other.items():
            held = mine.pop(name)
            if held[0] > number:
                mine[name] = (held[0] - number, held[1] - length)
    left.balance()
    return left


def _measure(manifest: Manifest, tally: Tally) -> dict[str, float]:
    """The measures that counting again changes."""
    measures = dict(manifest.measures)
    for name, value in (("files", 1.0), ("megabytes", 1e6)):
        if name in measures:
            measures[name] = tally.counts["files" if name == "files" else "bytes"] / value
    return measures


def _copy_beside(old: Storage, new: Storage, entry: str) -> None:
    """The plan, with the entry among its opt-outs, so that a later crawl can build on it."""
    for name in old.names():
        if not name.startswith(COPIED):
            continue
        data = old.read(name)
        if name == "plan/whole.json":
            whole = json.loads(data)
            whole["opt_out"] = sorted({*whole["opt_out"], entry})
            data = (json.dumps(whole, sort_keys=True) + "\n").encode()
        new.replace(name, data)
