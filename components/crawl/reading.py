"""Make documents of files' bytes; what cannot be one is counted with a reason."""

import hashlib
from collections.abc import Callable, Sequence

from components.artifacts.documents import (
    Document,
    documents_table,
    draft_documents,
    git_blob_sha1,
)
from components.artifacts.tally import Tally
from components.crawl.source import Candidate, Packed, Repository

UNREADABLE = "unreadable"
ALTERED = "altered"
EMPTY = "empty"
NUL_BYTE = "nul_byte"
NOT_UTF8 = "not_utf8"


ReadFile = Callable[[Candidate], bytes]
"""Gives the bytes of a file, no more than one past the recorded size; OSError where it cannot."""


def crawl_shard(read: ReadFile, candidates: Sequence[Candidate]) -> Packed:
    """Read the candidates of a shard, in their order."""
    tally = Tally()
    rows = []
    for candidate in candidates:
        tally.take_in(candidate.size)
        document = read_document(read, candidate)
        if isinstance(document, str):
            tally.drop(document, candidate.size)
        else:
            tally.keep(document["size"], document["license"], document["language"])
            rows.append(document)
    return [draft_documents(documents_table(rows))], tally


def read_document(read: ReadFile, candidate: Candidate) -> Document | str:
    """Make a document of a file, or say why not.

    The bytes must be those that the source recorded, or the crawl would depend on more than the
    inventory that stands in its identity.
    """
    try:
        data = read(candidate)
    except OSError:
        return UNREADABLE
    if len(data) != candidate.size or hashlib.sha256(data).hexdigest() != candidate.sha256:
        return ALTERED
    return make_document(candidate.repository, candidate.path, candidate.language, data)


def make_document(
    repository: Repository, path: str, language: str, data: bytes, flags: Sequence[str] = ()
) -> Document | str:
    """Make a document of a file's bytes, or say why not."""
    if not data:
        return EMPTY
    if b"\0" in data:
        return NUL_BYTE
    try:
        content = data.decode()
    except UnicodeDecodeError:
        return NOT_UTF8
    return Document(
        source=repository.source,
        repo_id=repository.repo_id,
        repo=repository.repo,
        commit=repository.commit,
        path=path,
        blob_sha1=git_blob_sha1(data),
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        content=content,
        language=language,
        license=repository.license,
        license_source=repository.license_source,
        stars=repository.stars,
        flags=[*flags],
    )
