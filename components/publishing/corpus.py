"""What the model read: every file of its training and validation data, listed and added up.

The list is PolyCoder's idea (arXiv 2202.13169): whoever asks whether a file was trained on, or
whether a test leaked, can look its sha256 up.
"""

import gzip
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.artifacts.artifact import Artifact, Draft
from components.artifacts.canonical import canonical_json
from components.artifacts.tally import Amount
from components.artifacts.tokens import SPLITS

TRAINING_FILES_NAME = "training_files.jsonl.gz"
LISTED_COLUMNS = ("source", "repo", "commit", "path", "sha256", "size", "license")
GZIP_LEVEL = 6


@dataclass
class Corpus:
    """Totals over the documents that were packed into tokens."""

    splits: dict[str, Amount] = field(default_factory=dict)
    """Documents and bytes by split."""

    tokens: dict[str, int] = field(default_factory=dict)
    """Tokens by split, one EOS a document included."""

    licenses: dict[str, Amount] = field(default_factory=dict)
    languages: dict[str, Amount] = field(default_factory=dict)
    sources: dict[str, Amount] = field(default_factory=dict)
    """Documents and bytes of both splits, by licence, language and source."""

    repositories: set[str] = field(default_factory=set)

    @property
    def files(self) -> int:
        """Documents of both splits."""
        return sum(files for files, _ in self.splits.values())

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of both splits."""
        return sum(size for _, size in self.splits.values())

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes that one token of text stands for, over both splits; EOS left out."""
        return self.bytes / max(1, sum(self.tokens.values()) - self.files)


def read_corpus(tokens: Artifact) -> Corpus:
    """Add up where the tokens of both splits come from."""
    corpus = Corpus()
    for split in SPLITS:
        corpus.tokens[split] = sum(entry.rows for entry in tokens.part(f"{split}_ids"))
        corpus.splits[split] = (0, 0)
        for table in read_sources(tokens, split):
            size = pc.sum(table["size"]).as_py() or 0
            _add(corpus.splits, split, (table.num_rows, size))
            for column, totals in (
                ("license", corpus.licenses),
                ("language", corpus.languages),
                ("source", corpus.sources),
            ):
                for name, amount in _group(table, column):
                    _add(totals, name, amount)
            corpus.repositories.update(pc.unique(table["repo"]).to_pylist())
    return corpus


def draft_training_files(tokens: Artifact, part: str) -> Draft:
    """Spell the list of files as gzipped JSON lines; its digest is that of the lines."""
    buffer, hasher, rows = io.BytesIO(), hashlib.sha256(), 0
    # No file name and no time in gzip's header: equal lists are equal bytes.
    with gzip.GzipFile("", "wb", GZIP_LEVEL, buffer, mtime=0) as file:
        for split in SPLITS:
            for table in read_sources(tokens, split):
                for row in table.select(LISTED_COLUMNS).to_pylist():
                    line = (canonical_json({**row, "split": split}) + "\n").encode()
                    hasher.update(line)
                    file.write(line)
                    rows += 1
    return Draft(
        part=part,
        suffix=".jsonl.gz",
        data=buffer.getvalue(),
        rows=rows,
        digest=hasher.hexdigest(),
        name=f"{part}/{TRAINING_FILES_NAME}",
    )


def read_sources(tokens: Artifact, split: str) -> Iterator[pa.Table]:
    """The tables of where a split's documents are from, shard by shard."""
    for entry in tokens.part(f"{split}_sources"):
        yield pq.read_table(pa.BufferReader(tokens.read(entry)))


def _group(table: pa.Table, column: str) -> list[tuple[str, Amount]]:
    grouped = table.group_by(column).aggregate([("size", "count"), ("size", "sum")])
    return [(row[column], (row["size_count"], row["size_sum"])) for row in grouped.to_pylist()]


def _add(totals: dict[str, Amount], name: str, amount: Amount) -> None:
    files, size = totals.get(name, (0, 0))
    totals[name] = (files + amount[0], size + amount[1])
