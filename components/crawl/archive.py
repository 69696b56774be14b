"""The source `archive`: files that others crawled, as documents with the provenance they kept.

Read are GPT-Code-Clippy's JSON lines in zstd, Parquet with codekiln's columns, The Stack's or
CodeParrot's, and data sets of these columns streamed by `datasets`. What an archive does not say
stays empty or `unknown`; nothing is guessed.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.artifacts.archives import ARCHIVE_SUFFIX, read_archive
from components.artifacts.artifact import ArtifactWriter, Draft
from components.artifacts.documents import documents_table, draft_document_tables
from components.artifacts.errors import ConfigError, CorruptArtifactError, MissingExtraError
from components.artifacts.rows import draft_rows
from components.artifacts.tally import Tally
from components.crawl.archived import Archived, Keeper, read_row
from components.crawl.config import CrawlConfig
from components.crawl.harvest import Rules
from components.crawl.journal import REPOSITORIES
from components.crawl.rules import observe_opt_out, rules_of
from components.crawl.source import Discovery, Packed

PARQUET_SUFFIX = ".parquet"
BATCH_ROWS = 256


@dataclass(frozen=True, slots=True)
class ArchiveUnit:
    """One file, or one part of a streamed data set."""

    index: int
    path: str
    """Empty for a data set."""

    sha256: str = ""
    num_parts: int = 1


@dataclass(frozen=True)
class ArchiveSource:
    """Files, each a unit; a data set is a unit a file of its own."""

    config: CrawlConfig
    rules: Rules

    def observe(self) -> dict[str, Any]:
        """Name, length and sha256 of every file; a data set is named by its commit."""
        files = {name: {"bytes": size, "sha256": sha} for name, _, size, sha in self._files}
        return {"files": files, **observe_opt_out(self.config, self.rules.opt_out)}

    def discover(self, output: ArtifactWriter, tally: Tally) -> Discovery:  # noqa: ARG002
        """A unit a file, in the order of their names."""
        units = [
            ArchiveUnit(number, path, sha) for number, (_, path, _, sha) in enumerate(self._files)
        ]
        if self.config.archive.dataset:
            capped = self.config.archive.max_documents
            parts = 1 if capped else max(1, _stream(self.config).n_shards)
            first = len(units)
            units += [ArchiveUnit(first + n, "", num_parts=parts) for n in range(parts)]
        return Discovery(units=units)

    def fetch(self, output: ArtifactWriter, num_sharing: int, unit: ArchiveUnit) -> Packed:  # noqa: ARG002
        """Read a file into shards of about `shard_bytes`."""
        keeper = Keeper(self.rules)
        drafts: list[Draft] = []
        for rows in _in_shards(keeper.rows(self._rows(unit)), self.config.shard_bytes):
            name = f"documents/{unit.index:05d}-{len(drafts):04d}{PARQUET_SUFFIX}"
            ordered = sorted(rows, key=lambda row: (row["repo_id"], row["path"]))
            drafts.append(draft_document_tables([documents_table(ordered)], name))
        return [*drafts, draft_rows(REPOSITORIES, keeper.records())], keeper.tally

    def attest(self, output: ArtifactWriter, discovery: Discovery) -> None:
        """Nothing is left to do."""

    @cached_property
    def _files(self) -> Sequence[tuple[str, str, int, str]]:
        """Name, path, bytes and sha256 of every file, by name."""
        found: dict[str, Path] = {}
        for name, path in _list(self.config.archive.paths):
            if found.setdefault(name, path) != path:
                raise ConfigError(
                    f"expected files of different names in archive.paths, got two called {name!r}: "
                    "give the folder that holds both"
                )
        return [
            (name, str(path), path.stat().st_size, _sha256(path))
            for name, path in sorted(found.items())
        ]

    def _rows(self, unit: ArchiveUnit) -> Iterator[Iterable[Archived]]:
        """The rows of a unit, those of a repository that follow each other together."""
        if not unit.path:
            rows = _stream_rows(self.config, unit, len(self._files))
        elif unit.path.endswith(ARCHIVE_SUFFIX):
            rows = (Archived.of_gpt_cc(one) for one in read_archive(Path(unit.path)))
        else:
            rows = _parquet_rows(Path(unit.path))
        for _, group in groupby(rows, key=lambda one: one.repo):
            yield group


def archive_source(config: CrawlConfig) -> ArchiveSource:
    """The source of a config."""
    return ArchiveSource(config, rules_of(config))


def _list(paths: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Name and path of every archive: a file by its name, those of a folder by their way in it."""
    endings = (ARCHIVE_SUFFIX, PARQUET_SUFFIX)
    for one in paths:
        root = Path(one)
        if root.is_file() and root.name.endswith(endings):
            yield root.name, root
            continue
        found = (
            sorted(p for p in root.rglob("*") if p.name.endswith(endings)) if root.is_dir() else []
        )
        if not found:
            raise ConfigError(
                f"expected {' or '.join(endings)} files in archive.paths, got none in {one!r}: "
                "give a file or a folder that holds some"
            )
        for path in found:
            yield path.relative_to(root).as_posix(), path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parquet_rows(path: Path) -> Iterator[Archived]:
    where = repr(str(path))
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS, use_threads=False):
                for row in batch.to_pylist():
                    yield read_row(row, where)
    except pa.ArrowException as error:
        raise CorruptArtifactError(
            f"expected a Parquet file of documents, got {error} in {where}: fetch it again"
        ) from None


def _stream(config: CrawlConfig) -> Any:
    """The data set, streamed."""
    try:
        from datasets import load_dataset
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "source archive needs the package 'datasets' for archive.dataset, which is not "
            "installed: pip install 'codekiln[datasets]'"
        ) from error
    chosen = config.archive
    return load_dataset(
        chosen.dataset,
        data_dir=chosen.dataset_data_dir or None,
        revision=chosen.dataset_revision,
        split="train",
        streaming=True,
    )


def _stream_rows(config: CrawlConfig, unit: ArchiveUnit, first: int) -> Iterator[Archived]:
    stream = _stream(config)
    if unit.num_parts > 1:
        stream = stream.shard(num_shards=unit.num_parts, index=unit.index - first)
    rows: Iterable[Mapping[str, Any]] = islice(stream, config.archive.max_documents or None)
    for row in rows:
        yield read_row(row, repr(config.archive.dataset))


def _in_shards(rows: Iterable[Any], shard_bytes: int) -> Iterator[list[Any]]:
    shard: list[Any] = []
    held = 0
    for row in rows:
        if shard and held + row["size"] > shard_bytes:
            yield shard
            shard, held = [], 0
        shard.append(row)
        held += row["size"]
    if shard:
        yield shard
