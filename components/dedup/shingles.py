"""Documents as sets of hashed word n-grams: bytes in, arrays out.

The hash of a word is the polynomial `sum(byte[k] * WORD_BASE**k)` modulo 2**64, finalised; that
of an n-gram is the same over its words' hashes with `GRAM_BASE`. Both are prefix sums over a slab
of many documents, so that no word becomes a Python object. Equal words have equal hashes whatever
the slab, the process or the machine.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]

SLAB_BYTES = 1 << 20
"""Documents are hashed together up to this size: large enough for numpy, small enough for cache."""

WORD_BASE = 0x9E3779B97F4A7C15
GRAM_BASE = 0xD1342543DE82EF95
WORD_OFFSET = 0x2545F4914F6CDD1D
"""Odd constants, so that they have inverses modulo 2**64; the offset tells no word from hash 0."""

_IS_WORD = np.zeros(256, dtype=np.bool_)
_IS_WORD[
    np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz", "u1")
] = 1


@dataclass(frozen=True, slots=True)
class GramSets:
    """The n-gram sets of D documents, one after another."""

    offsets: Indices
    """[D + 1] where each document's hashes begin; the last is where all end."""

    hashes: Hashes
    """[offsets[D]] sorted and distinct within a document."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, document: int) -> Hashes:
        return self.hashes[self.offsets[document] : self.offsets[document + 1]]


def gram_sets(contents: Sequence[bytes], ngram_words: int, splitter: str) -> GramSets:
    """Hash the word n-grams of every document.

    Args:
        contents: UTF-8 bytes of D documents.
        ngram_words: words in an n-gram; a document with fewer has the empty set.
        splitter: `runs` or `bigcode`, see DedupConfig.

    Returns:
        D sets, in the order given.
    """
    sets: list[Hashes] = []
    for slab in _slabs(contents):
        if splitter == "bigcode":
            slab = [_one_byte_a_character(content) for content in slab]
        text = np.frombuffer(b"\n".join([*slab, b""]), dtype=np.uint8)
        words, ends = _hash_words(text, splitter)
        document_ends = np.cumsum([len(content) + 1 for content in slab]) - 1
        bounds = np.searchsorted(ends, document_ends, side="right")
        grams = _hash_grams(words, ngram_words)
        start = 0
        for end in bounds.tolist():
            sets.append(_distinct(grams[start : max(start, end - ngram_words + 1)]))
            start = end
    offsets = np.zeros(len(sets) + 1, dtype=np.int64)
    np.cumsum([len(grams) for grams in sets], out=offsets[1:])
    return GramSets(offsets, np.concatenate([np.empty(0, np.uint64), *sets]))


def mix(values: Hashes) -> Hashes:
    """Finalise hashes, so that every bit depends on every bit (MurmurHash3's fmix64)."""
    values = values ^ (values >> np.uint64(33))
    values *= np.uint64(0xFF51AFD7ED558CCD)
    values ^= values >> np.uint64(33)
    values *= np.uint64(0xC4CEB9FE1A85EC53)
    values ^= values >> np.uint64(33)
    return values


def _slabs(contents: Sequence[bytes]) -> Iterator[list[bytes]]:
    slab: list[bytes] = []
    size = 0
    for content in contents:
        if slab and size + len(content) > SLAB_BYTES:
            yield slab
            slab, size = [], 0
        slab.append(content)
        size += len(content)
    if slab:
        yield slab


def _one_byte_a_character(content: bytes) -> bytes:
    """Drop UTF-8's continuation bytes: a character outside ASCII separates words once."""
    if content.isascii():
        return content
    data = np.frombuffer(content, dtype=np.uint8)
    return bytes(data[(data & 0xC0) != 0x80])


def _hash_words(text: npt.NDArray[np.uint8], splitter: str) -> tuple[Hashes, Indices]:
    """The hashes of a slab's words, and the positions where they end.

    Every document of the slab is followed by one newline, which no word crosses.
    """
    inside = _IS_WORD[text]
    if splitter == "runs":
        edges = np.flatnonzero(np.diff(inside, prepend=np.False_))
        starts, ends = edges[0::2], edges[1::2]
    else:
        ends = np.flatnonzero(~inside)
        starts = np.concatenate([np.zeros(1, np.int64), ends + 1])[:-1]
    powers, inverses = _powers(1 << max(20, len(text).bit_length()))
    sums = np.zeros(len(text) + 1, dtype=np.uint64)
    np.cumsum(powers[: len(text)] * text, out=sums[1:])
    hashes = (sums[ends] - sums[starts]) * inverses[starts]
    return mix(hashes + np.uint64(WORD_OFFSET)), ends


@lru_cache(maxsize=1)
def _powers(size: int) -> tuple[Hashes, Hashes]:
    """The powers of WORD_BASE from 0 to size - 1 modulo 2**64, and their inverses."""
    powers = np.full((2, size), WORD_BASE, dtype=np.uint64)
    powers[1] = pow(WORD_BASE, -1, 1 << 64)
    powers[:, 0] = 1
    np.cumprod(powers, axis=1, out=powers)
    return powers[0], powers[1]


def _hash_grams(words: Hashes, ngram_words: int) -> Hashes:
    """The hash of the n-gram that begins at each word, [max(0, words - ngram_words + 1)]."""
    count = max(0, len(words) - ngram_words + 1)
    hashes = np.zeros(count, dtype=np.uint64)
    for place in range(ngram_words):
        factor = np.uint64(pow(GRAM_BASE, place, 1 << 64))
        hashes += words[place : place + count] * factor
    return mix(hashes)


def _distinct(hashes: Hashes) -> Hashes:
    """Sort and drop repeats."""
    if len(hashes) < 2:
        return hashes
    hashes = np.sort(hashes)
    keep = np.empty(len(hashes), dtype=np.bool_)
    keep[0] = True
    np.not_equal(hashes[1:], hashes[:-1], out=keep[1:])
    return hashes[keep]
