"""Ask a finished corpus for copies of a file: datasketch's LSH proposes, exact Jaccard decides."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasketch import MinHash, MinHashLSH

from components.artifacts.artifact import Artifact
from components.artifacts.documents import DOCUMENTS, read_documents
from components.artifacts.errors import ConfigError
from components.artifacts.manifest import FileEntry
from components.dedup.config import DedupConfig
from components.dedup.shingles import GramSets, Indices, Texts, gram_sets, hash_slabs
from components.dedup.signatures import Signatures, sign
from components.dedup.verification import HeldSets, jaccard

NAMES = ("repo", "path", "license", "commit")


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """A document of the corpus that is like the file asked for."""

    similarity: float
    """Exact Jaccard similarity of the sets of word n-grams."""

    repo: str
    path: str
    license: str
    commit: str


class Corpus:
    """The documents of an artifact behind datasketch's index, with the dedup step's own bands."""

    def __init__(self, documents: Artifact, config: DedupConfig) -> None:
        """Sign all documents; about a second for 500 MB, and more to fill the index.

        Args:
            documents: any artifact of documents.
            config: splitter, n-grams, bands and seed.
        """
        self._documents = documents
        self._config = config
        self._entries: Sequence[FileEntry] = documents.part(DOCUMENTS)
        self._index = MinHashLSH(
            num_perm=config.num_permutations, params=(config.bands, config.rows)
        )
        self._places: dict[str, tuple[int, int]] = {}
        for shard, entry in enumerate(self._entries):
            table = read_documents(documents, entry, ["content", "sha256"])
            for row, sha256 in enumerate(table["sha256"].to_pylist()):
                self._places.setdefault(sha256, (shard, row))
            texts = Texts.of_column(table["content"])
            rows, signatures = _sign_rows(texts, config)
            for row, signature in zip(rows.tolist(), signatures, strict=True):
                self._index.insert((shard, row), self._minhash(signature), check_duplication=False)

    def find_matches(self, content: bytes, threshold: float) -> list[Match]:
        """The documents that reach a similarity, the most similar first.

        A text with fewer words than an n-gram has only an exact copy, as in the dedup step.

        Args:
            content: UTF-8 text.
            threshold: exact Jaccard similarity. Below the one that the bands were made for, more
                and more documents are missed.
        """
        config = self._config
        asked = gram_sets([content], config.ngram_words, config.splitter)
        if not len(asked.hashes):
            place = self._places.get(hashlib.sha256(content).hexdigest())
            if place is None:
                return []
            table = read_documents(self._documents, self._entries[place[0]], NAMES)
            return [_match(table, place[1], 1.0)]
        (signature,) = sign(asked, config.num_permutations, config.seed)
        found = self._index.query(self._minhash(signature))
        matches = []
        for shard in sorted({shard for shard, _ in found}):
            rows = np.array(sorted(row for other, row in found if other == shard))
            table = read_documents(self._documents, self._entries[shard], [*NAMES, "content"])
            rivals = _hash_rows(Texts.of_column(table["content"]), rows, config)
            similarities = _similarities(asked, rivals)
            for row, similarity in zip(rows.tolist(), similarities, strict=True):
                if similarity >= threshold:
                    matches.append(_match(table, row, similarity))
        return sorted(matches, key=lambda match: (-match.similarity, match.repo, match.path))

    def _minhash(self, signature: Signatures) -> MinHash:
        return MinHash(
            num_perm=self._config.num_permutations,
            seed=self._config.seed,
            hashvalues=signature,
            scheme="affine32",
        )


def _match(table: pa.Table, row: int, similarity: float) -> Match:
    names = {name: table[name][row].as_py() for name in NAMES}
    return Match(similarity=similarity, **names)


def config_of(documents: Artifact) -> DedupConfig:
    """The config that an artifact of the dedup step was made with; the defaults for another one."""
    if documents.manifest.step != "dedup":
        return DedupConfig()
    return DedupConfig.from_json(documents.manifest.config["config"])


def read_text(path: Path) -> bytes:
    """A file to ask for.

    Raises:
        ConfigError: it cannot be read, or is no UTF-8.
    """
    try:
        data = path.read_bytes()
        data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"expected a UTF-8 text file to ask for, got {str(path)!r} ({type(error).__name__}): "
            "give one that exists and holds source code"
        ) from None
    return data


def _hash_rows(texts: Texts, rows: Indices, config: DedupConfig) -> GramSets:
    contents = [
        texts.data[texts.offsets[row] : texts.offsets[row + 1]].tobytes() for row in rows.tolist()
    ]
    return gram_sets(contents, config.ngram_words, config.splitter)


def _sign_rows(texts: Texts, config: DedupConfig) -> tuple[Indices, Signatures]:
    """The rows that have n-grams, and their signatures."""
    everyone = np.arange(len(texts.offsets) - 1)
    sizes, signatures = [np.empty(0, np.int64)], []
    for sets in hash_slabs(texts, everyone, config.ngram_words, config.splitter):
        sizes.append(np.diff(sets.offsets))
        signatures.append(sign(sets, config.num_permutations, config.seed))
    rows = np.flatnonzero(np.concatenate(sizes))
    none = np.empty((0, config.num_permutations), np.uint32)
    return rows, np.concatenate([none, *signatures])[rows]


def _similarities(asked: GramSets, rivals: GramSets) -> list[float]:
    together = GramSets(
        np.concatenate([asked.offsets, asked.offsets[-1] + rivals.offsets[1:]]),
        np.concatenate([asked.hashes, rivals.hashes]),
    )
    others = np.arange(1, len(rivals) + 1)
    return [float(s) for s in jaccard(HeldSets(together), np.zeros_like(others), others)]
