"""The repositories of an unfinished unit: each written once, whole, as soon as it was fetched.

    journal/00012/<id>.arrow    rows of one repository; in the schema's metadata its record, its
                                counts, and its line of the ledger
    ledger/00012.jsonl          how and when the repositories of a finished unit were fetched

A repository with a record is not fetched again. The journal of a unit goes once the unit itself
is committed.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from components.artifacts.artifact import ArtifactWriter, Draft
from components.artifacts.canonical import canonical_json, sha256_hex
from components.artifacts.documents import SCHEMA, draft_document_tables
from components.artifacts.rows import draft_rows
from components.artifacts.storage import Storage
from components.artifacts.tally import Tally
from components.crawl.harvest import Harvest
from components.crawl.source import Packed

REPOSITORIES = "repositories"
"""The part with a row for every repository: what became of it, its licence and its evidence."""

SUFFIX = ".arrow"
_METADATA = b"codekiln"


@dataclass(frozen=True)
class Journal:
    """The fetched repositories of one unit."""

    storage: Storage

    @classmethod
    def of_unit(cls, output: ArtifactWriter, index: int) -> "Journal":
        """The journal of a unit."""
        return cls(output.storage.child(f"journal/{index:05d}"))

    def fetched(self) -> set[str]:
        """Names of the repositories that have a record; see `name_of`."""
        return {name.removesuffix(SUFFIX) for name in self.storage.names()}

    def write(self, harvest: Harvest) -> None:
        """Record a repository; nothing happens where it has a record."""
        told = {
            "record": harvest.record,
            "tally": harvest.tally.to_json(),
            "ledger": harvest.ledger,
        }
        schema = SCHEMA.with_metadata({_METADATA: json.dumps(told).encode()})
        table = pa.Table.from_pylist(harvest.rows, schema=schema)
        buffer = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_stream(buffer, schema, options=options) as stream:
            stream.write_table(table)
        name = name_of(str(harvest.record["repo_id"])) + SUFFIX
        self.storage.create(name, buffer.getvalue().to_pybytes())

    def read(self, name: str) -> tuple[pa.Table, dict[str, Any]]:
        """The rows of a repository, and what was told of it: record, tally, ledger."""
        with pa.ipc.open_stream(self.storage.read(name + SUFFIX)) as stream:
            table = stream.read_all()
        told: dict[str, Any] = json.loads(table.schema.metadata[_METADATA])
        return table.replace_schema_metadata(None), told

    def clear(self) -> None:
        """Remove the records."""
        for name in self.storage.names():
            self.storage.remove(name)


def name_of(repo_id: str) -> str:
    """A repository's id as a file's name."""
    plain = repo_id.replace(":", "-")
    if all(letter.isalnum() or letter in "-_." for letter in plain) and len(plain) < 100:
        return plain
    return sha256_hex(repo_id.encode())


def pack_journal(output: ArtifactWriter, index: int, repo_ids: Sequence[str]) -> Packed:
    """Pack a unit whose repositories are all in its journal.

    Memory holds the compressed shard and one repository.

    Args:
        output: of the crawl.
        index: of the unit.
        repo_ids: of its plan.
    """
    journal = Journal.of_unit(output, index)
    records: list[dict[str, Any]] = []
    tallies: list[Tally] = []
    lines: list[str] = []

    def tables() -> Iterator[pa.Table]:
        for repo_id in sorted(repo_ids):
            table, told = journal.read(name_of(repo_id))
            records.append(told["record"])
            tallies.append(Tally.from_json(told["tally"]))
            lines.append(canonical_json({"repo_id": repo_id, **told["ledger"]}))
            yield table

    documents = draft_document_tables(tables())
    output.storage.replace(f"ledger/{index:05d}.jsonl", ("\n".join(lines) + "\n").encode())
    drafts: list[Draft] = [documents, draft_rows(REPOSITORIES, records)]
    return drafts, Tally.total(tallies)


def sweep(output: ArtifactWriter, num_units: int) -> None:
    """Remove the journals of committed units, which a crawl that was killed may have left."""
    held = {name.split("/")[0] for name in output.storage.child("journal").names()}
    for index in range(num_units):
        if f"{index:05d}" in held and output.committed(index) is not None:
            Journal.of_unit(output, index).clear()
