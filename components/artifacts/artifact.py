"""Read and write artifacts: whole or not there, each shard committed once, every byte checked.

Layout of an artifact's folder:

    manifest.json               last of all, create-only
    ledger.json                 times, host and URIs; in no digest
    records/00012.json          shard 12 is committed: its files and its tally
    documents/00012-<sha16>.parquet
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.artifacts.canonical import sha256_hex
from components.artifacts.errors import CorruptArtifactError, MissingArtifactError, WrongKindError
from components.artifacts.manifest import (
    LOCATION_NAME,
    MANIFEST_NAME,
    FileEntry,
    Manifest,
)
from components.artifacts.storage import Storage, open_storage
from components.artifacts.tally import Tally

SHORT_HASH = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A file before it is committed."""

    part: str
    suffix: str
    """With the dot, such as `.parquet`."""

    data: bytes
    rows: int
    digest: str
    """sha256 over the rows in order."""

    name: str | None = None
    """A fixed name relative to the artifact's folder; by default part, index and hash make one."""


@dataclass(frozen=True)
class Artifact:
    """A whole artifact, open for reading. Picklable: worker processes are handed it."""

    storage: Storage
    manifest: Manifest

    @classmethod
    def open(cls, uri: str, kind: str | None = None) -> "Artifact":
        """Open the artifact in a folder, or the one that a copied manifest points to.

        Args:
            uri: the artifact's folder, or a folder with a copy of its manifest.
            kind: what the reader expects; None takes any.

        Raises:
            MissingArtifactError: no manifest there.
            WrongKindError: an artifact of another kind.
        """
        storage = open_storage(uri)
        if storage.exists(LOCATION_NAME):
            storage = open_storage(str(json.loads(storage.read(LOCATION_NAME))["uri"]))
        if not storage.exists(MANIFEST_NAME):
            raise MissingArtifactError(
                f"expected a finished artifact in {storage.uri!r}, found no {MANIFEST_NAME}: "
                "run the step that makes it"
            )
        manifest = Manifest.from_bytes(storage.read(MANIFEST_NAME), storage.uri)
        if kind is not None and manifest.kind != kind:
            raise WrongKindError(
                f"expected an artifact of kind {kind!r}, got {manifest.kind!r} (made by "
                f"{manifest.step}) in {storage.uri}: give the output of another step"
            )
        return cls(storage, manifest)

    def part(self, part: str) -> tuple[FileEntry, ...]:
        """The files of one part, in the order of the plan."""
        return self.manifest.part(part)

    def only(self, part: str) -> FileEntry:
        """The one file of a part.

        Raises:
            CorruptArtifactError: the part has none, or several.
        """
        entries = self.part(part)
        if len(entries) != 1:
            raise CorruptArtifactError(
                f"expected one file of part {part!r}, got {len(entries)} in {self.storage.uri}: "
                "run the step again"
            )
        return entries[0]

    def read(self, entry: FileEntry) -> bytes:
        """A file's bytes, checked against the manifest.

        Raises:
            CorruptArtifactError: missing, truncated or altered.
        """
        data = self.storage.read(entry.name)
        _check(entry, len(data), sha256_hex(data), self.storage.uri)
        return data

    def path(self, entry: FileEntry) -> Path:
        """A path on this machine to a file, checked against the manifest.

        Raises:
            CorruptArtifactError: missing, truncated or altered.
        """
        path = self.storage.local_path(entry.name)
        data = path.read_bytes()
        _check(entry, len(data), sha256_hex(data), self.storage.uri)
        return path


@dataclass(frozen=True)
class ArtifactWriter:
    """The one writer of a key. Picklable: worker processes commit their own shards."""

    storage: Storage

    def committed(self, index: int) -> tuple[list[FileEntry], Tally] | None:
        """What was committed for a place in the plan, None where nothing was yet."""
        name = _record_name(index)
        if not self.storage.exists(name):
            return None
        record = json.loads(self.storage.read(name))
        files = [FileEntry.from_json(entry) for entry in record["files"]]
        return files, Tally.from_json(record["tally"])

    def commit(self, index: int, drafts: Sequence[Draft], tally: Tally) -> None:
        """Publish the files of one place in the plan: the data first, then its record.

        Raises:
            CorruptArtifactError: the place is taken by other bytes.
        """
        entries = [self._publish(index, draft) for draft in drafts]
        record = {"files": [entry.to_json() for entry in entries], "tally": tally.to_json()}
        data = (json.dumps(record, sort_keys=True) + "\n").encode()
        name = _record_name(index)
        if not self.storage.create(name, data) and self.storage.read(name) != data:
            raise CorruptArtifactError(
                f"expected to write {name} in {self.storage.uri}, found another content there: "
                "the step is not deterministic, or two versions write one key"
            )

    def _publish(self, index: int, draft: Draft) -> FileEntry:
        sha256 = sha256_hex(draft.data)
        default = f"{draft.part}/{index:05d}-{sha256[:SHORT_HASH]}{draft.suffix}"
        name = draft.name or default
        if not self.storage.create(name, draft.data):
            held = self.storage.read(name)
            if sha256_hex(held) != sha256:
                self.storage.replace(name, draft.data)
        return FileEntry(
            part=draft.part,
            index=index,
            name=name,
            bytes=len(draft.data),
            sha256=sha256,
            rows=draft.rows,
            digest=draft.digest,
        )


def _record_name(index: int) -> str:
    return f"records/{index:05d}.json"


def _check(entry: FileEntry, size: int, sha256: str, uri: str) -> None:
    if size == entry.bytes and sha256 == entry.sha256:
        return
    what = f"{size} bytes" if size != entry.bytes else f"sha256 {sha256[:SHORT_HASH]}"
    wanted = f"{entry.bytes} bytes, sha256 {entry.sha256[:SHORT_HASH]}"
    raise CorruptArtifactError(
        f"expected {wanted}, got {what} for {entry.name!r} in {uri}: "
        "remove that artifact's folder and run again"
    )
