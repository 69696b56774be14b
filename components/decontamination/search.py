"""Find the targets in a document: cheap arrays first, exact comparison where they point.

Every word of a document becomes the number that it has in the targets' vocabulary, 0 for most.
Windows of known words are hashed and looked up; only what they point to is compared as text.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import numpy.typing as npt

from components.decontamination.config import DecontaminationConfig
from components.decontamination.folding import (
    WORD,
    CollapsedText,
    encoded_words_of,
    fold_case,
    words_of,
)
from components.decontamination.needles import NGRAMS, RULES, Gram, Needle, Target

MAX_PROBE_WORDS = 8
"""Words in the window that announces a needle; rare enough in code, and most needles have them."""

HASH_BASE = 0x9E3779B97F4A7C15

Numbers = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Hit:
    """A trace of one problem in a document, by one rule."""

    target: Target
    rule: str
    start: int
    """Offset of its first character in the document's content."""

    end: int
    """Offset behind its last character."""


class Searcher:
    """Looks for all targets at once."""

    def __init__(self, targets: Sequence[Target], config: DecontaminationConfig) -> None:
        """Index the targets."""
        self._config = config
        self._targets = targets
        self._needles: dict[Gram, list[tuple[int, Needle]]] = defaultdict(list)
        self._grams: dict[Gram, list[int]] = defaultdict(list)
        for number, target in enumerate(targets):
            for needle in target.needles:
                self._needles[_probe(needle)].append((number, needle))
            for gram in target.grams:
                self._grams[gram].append(number)
        self._words = ["", *sorted({w for gram in [*self._needles, *self._grams] for w in gram})]
        self._numbers = {word: number for number, word in enumerate(self._words) if word}
        self._encoded = {word.encode(): number for word, number in self._numbers.items()}
        self._probe_hashes = {
            length: self._hash_grams(probe for probe in self._needles if len(probe) == length)
            for length in sorted({len(probe) for probe in self._needles})
        }
        self._gram_hashes = self._hash_grams(self._grams)

    def find(self, content: str) -> list[Hit]:
        """The traces of all targets in one document.

        Returns:
            One hit for each problem and rule, in the order of RULES, then of the benchmarks.
        """
        folded = fold_case(content)
        words = encoded_words_of(folded)
        numbers = np.fromiter(
            map(self._encoded.get, words, repeat(0)), dtype=np.uint64, count=len(words)
        )
        known = _known_before(numbers)
        found = self._find_needles(folded, numbers, known)
        found |= self._find_grams(folded, numbers, known)
        order = sorted(found, key=lambda name: (RULES.index(name[1]), name[0]))
        return [Hit(self._targets[number], rule, *found[number, rule]) for number, rule in order]

    def _find_needles(
        self, folded: str, numbers: Numbers, known: Places
    ) -> dict[tuple[int, str], tuple[int, int]]:
        """The first place of every problem's needles, by problem and rule."""
        announced: dict[Gram, None] = {}
        for length, hashes in self._probe_hashes.items():
            for place in _matches(numbers, known, length, hashes).tolist():
                announced[self._gram(numbers[place : place + length])] = None
        pairs = [pair for probe in announced for pair in self._needles.get(probe, ())]
        if not pairs:
            return {}
        collapsed = CollapsedText.of(folded)
        found: dict[tuple[int, str], tuple[int, int]] = {}
        for number, needle in pairs:
            start = collapsed.text.find(needle.text)
            if start >= 0:
                last = start + len(needle.text) - 1
                span = collapsed.origin(start), collapsed.origin(last) + 1
                name = number, needle.rule
                found[name] = min(span, found.get(name, span))
        return found

    def _find_grams(
        self, folded: str, numbers: Numbers, known: Places
    ) -> dict[tuple[int, str], tuple[int, int]]:
        """From the first to the last n-gram of every problem of which enough are here."""
        length = self._config.ngram_words
        grams: dict[int, set[Gram]] = defaultdict(set)
        places: dict[int, list[int]] = defaultdict(list)
        for place in _matches(numbers, known, length, self._gram_hashes).tolist():
            gram = self._gram(numbers[place : place + length])
            for number in self._grams.get(gram, ()):
                grams[number].add(gram)
                places[number].append(place)
        enough = [
            number
            for number, held in grams.items()
            if len(held) >= self._config.ngram_share * len(self._targets[number].grams)
        ]
        if not enough:
            return {}
        spans = [match.span() for match in WORD.finditer(folded)]
        return {
            (number, NGRAMS): (
                spans[places[number][0]][0],
                spans[places[number][-1] + length - 1][1],
            )
            for number in enough
        }

    def _gram(self, numbers: Numbers) -> Gram:
        return tuple(self._words[number] for number in numbers.tolist())

    def _hash_grams(self, grams: Iterable[Gram]) -> Numbers:
        """The sorted hashes of n-grams of known words, all of one length."""
        rows = [[self._numbers[word] for word in gram] for gram in grams]
        if not rows:
            return np.empty(0, dtype=np.uint64)
        columns = np.array(rows, dtype=np.uint64).T
        return np.unique(_hash_columns(columns))


def _probe(needle: Needle) -> Gram:
    """The words that announce a needle.

    A document may hold the needle's first and last word inside longer ones; those between them
    stand in it as they are.
    """
    return tuple(words_of(needle.text)[1:-1][:MAX_PROBE_WORDS])


def _known_before(numbers: Numbers) -> Places:
    """How many known words stand before each of [W] words and behind the last, [W + 1]."""
    known = np.zeros(len(numbers) + 1, dtype=np.int64)
    np.cumsum(numbers != 0, out=known[1:])
    return known


def _matches(numbers: Numbers, known: Places, length: int, hashes: Numbers) -> Places:
    """Where windows of known words begin whose hash is looked for.

    Args:
        numbers: [W] the document's words, 0 for unknown ones.
        known: what `_known_before` makes of them.
        length: words in a window.
        hashes: sorted hashes that are looked for.
    """
    begins = np.flatnonzero(known[length:] - known[:-length] == length)
    if not len(hashes) or not len(begins):
        return begins[:0]
    windows = _hash_columns(np.stack([numbers[begins + place] for place in range(length)]))
    found = np.searchsorted(hashes, windows)
    found[found == len(hashes)] = 0
    matching: Places = begins[hashes[found] == windows]
    return matching


def _hash_columns(columns: Numbers) -> Numbers:
    """Hash each column of [length, N] word numbers."""
    hashes = np.zeros(columns.shape[1], dtype=np.uint64)
    for numbers in columns:
        hashes = (hashes + numbers) * np.uint64(HASH_BASE)
        hashes ^= hashes >> np.uint64(32)
    return hashes
