"""A corpus as an artifact of documents, for benchmarks that run whole steps."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from benchmarks.corpus import SourceFile
from components.artifacts.artifact import Artifact, ArtifactWriter
from components.artifacts.documents import (
    DOCUMENTS,
    documents_table,
    draft_documents,
    git_blob_sha1,
)
from components.artifacts.manifest import Manifest, digest_of_files
from components.artifacts.storage import open_storage
from components.artifacts.tally import Tally

SHARD_BYTES = 32_000_000


def write_documents(
    files: Sequence[SourceFile], folder: Path, shard_bytes: int = SHARD_BYTES
) -> Artifact:
    """The corpus as an artifact of documents, in shards of about `shard_bytes`."""
    storage = open_storage(str(folder))
    writer, entries = ArtifactWriter(storage), []
    for index, shard in enumerate(cut(files, shard_bytes)):
        rows = [row_of(file) for file in shard]
        writer.commit(index, [draft_documents(documents_table(rows))], Tally())
        committed = writer.committed(index)
        assert committed is not None
        entries += committed[0]
    manifest = Manifest(
        step="benchmark",
        version=1,
        kind=DOCUMENTS,
        key="0" * 32,
        digest=digest_of_files(tuple(entries), frozenset()),
        files=tuple(entries),
        tally=Tally(),
        measures={},
        config={},
        parents={},
        code_version="benchmark",
    )
    storage.create("manifest.json", manifest.to_bytes())
    return Artifact.open(storage.uri)


def cut(files: Sequence[SourceFile], shard_bytes: int) -> list[list[SourceFile]]:
    """Shards of about `shard_bytes`."""
    shards: list[list[SourceFile]] = [[]]
    size = 0
    for file in files:
        shards[-1].append(file)
        size += len(file.content)
        if size >= shard_bytes:
            shards.append([])
            size = 0
    return [shard for shard in shards if shard]


def row_of(file: SourceFile) -> dict[str, object]:
    """A document row of one file."""
    return {
        "source": "benchmark",
        "repo_id": file.repo,
        "repo": file.repo,
        "commit": "0",
        "path": file.path,
        "blob_sha1": git_blob_sha1(file.content),
        "sha256": hashlib.sha256(file.content).hexdigest(),
        "size": len(file.content),
        "content": file.content.decode(),
        "language": file.language,
        "license": "MIT",
        "license_source": "benchmark",
        "stars": 0,
        "flags": [],
    }
