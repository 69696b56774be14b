"""Source files as an artifact of documents, as the steps read them."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

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
    """Write files as shards of documents below a folder that does not exist yet."""
    storage = open_storage(str(folder))
    writer = ArtifactWriter(storage)
    tally = Tally()
    for index, shard in enumerate(_cut(files, shard_bytes)):
        rows = [_row(file) for file in shard]
        for row in rows:
            tally.take_in(row["size"])
            tally.keep(row["size"], row["license"], row["language"])
        writer.commit(index, [draft_documents(documents_table(rows))], Tally())
    entries = [
        entry
        for index in range(index + 1)
        for entry in (writer.committed(index) or ([], Tally()))[0]
    ]
    manifest = Manifest(
        step="benchmark",
        version=1,
        kind=DOCUMENTS,
        key="0" * 32,
        digest=digest_of_files(tuple(entries), frozenset()),
        files=tuple(entries),
        tally=tally,
        measures={},
        config={},
        parents={},
        code_version="benchmark",
    )
    storage.create("manifest.json", manifest.to_bytes())
    return Artifact.open(storage.uri)


def _cut(files: Sequence[SourceFile], shard_bytes: int) -> Iterator[list[SourceFile]]:
    shard: list[SourceFile] = []
    size = 0
    for file in files:
        if shard and size + len(file.content) > shard_bytes:
            yield shard
            shard, size = [], 0
        shard.append(file)
        size += len(file.content)
    yield shard


def _row(file: SourceFile) -> dict[str, Any]:
    return {
        "source": "installed",
        "repo_id": file.repo,
        "repo": file.repo,
        "commit": "1",
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
