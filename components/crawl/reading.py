"""Read the files of a shard into documents; what cannot be one is counted with a reason."""

import hashlib
from collections.abc import Sequence

from components.artifacts.artifact import Draft
from components.artifacts.documents import (
    Document,
    documents_table,
    draft_documents,
    git_blob_sha1,
)
from components.artifacts.tally import Tally
from components.crawl.source import Candidate, Source

UNREADABLE = "unreadable"
ALTERED = "altered"
EMPTY = "empty"
NUL_BYTE = "nul_byte"
NOT_UTF8 = "not_utf8"


def crawl_shard(source: Source, candidates: Sequence[Candidate]) -> tuple[list[Draft], Tally]:
    """Read the candidates of a shard, in their order."""
    tally = Tally()
    rows = []
    for candidate in candidates:
        tally.take_in(candidate.size)
        document = read_document(source, candidate)
        if isinstance(document, str):
            tally.drop(document, candidate.size)
        else:
            tally.keep(document["size"], document["license"], document["language"])
            rows.append(document)
    return [draft_documents(documents_table(rows))], tally


def read_document(source: Source, candidate: Candidate) -> Document | str:
    """Make a document of a file, or say why not.

    The bytes must be those that the source recorded, or the crawl would depend on more than the
    inventory that stands in its identity.
    """
    try:
        data = source.read(candidate)
    except OSError:
        return UNREADABLE
    sha256 = hashlib.sha256(data).hexdigest()
    if len(data) != candidate.size or sha256 != candidate.sha256:
        return ALTERED
    if not data:
        return EMPTY
    if b"\0" in data:
        return NUL_BYTE
    try:
        content = data.decode()
    except UnicodeDecodeError:
        return NOT_UTF8
    repository = candidate.repository
    return Document(
        source=repository.source,
        repo_id=repository.repo_id,
        repo=repository.repo,
        commit=repository.commit,
        path=candidate.path,
        blob_sha1=git_blob_sha1(data),
        sha256=sha256,
        size=len(data),
        content=content,
        language=candidate.language,
        license=repository.license,
        license_source=repository.license_source,
        stars=repository.stars,
        flags=[],
    )
