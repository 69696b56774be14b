"""Held-out passages to continue: chosen by seed, spread over documents.

A passage begins with a definition or an import at the left margin, and its prefix ends where a line
ends. A reader of the prefix, model or person, then knows whether it stands in a docstring or in a
call; a window cut anywhere would not say.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.artifacts.tokens import TokenShard
from components.model.text import TextCodec

LANGUAGE = "Python"
OPENING = re.compile(r"(?:def|class|import|from|async)\b|@")
"""What a passage begins with. Prose inside a docstring hardly ever does at the left margin."""

OPENING_TOKENS = 6
"""Tokens that surely hold it: its longest word has six letters."""

MIN_PREFIX_SHARE = 0.5
"""The prefix's line end lies in the last part of the room for it, from this share on."""


@dataclass(frozen=True)
class Passage:
    """A piece of a held-out document."""

    repo: str
    path: str
    prefix: tuple[int, ...]
    following: tuple[int, ...]
    """The tokens that really follow the prefix."""


def choose_passages(
    shards: Sequence[TokenShard],
    codec: TextCodec,
    *,
    prefix: int,
    following: int,
    count: int,
    seed: int,
) -> list[Passage]:
    """Choose passages of Python documents.

    The places of every document come in a random order, passages that overlap left out. Each
    document gives one before any gives a second, so that long documents do not fill the choice.

    Args:
        shards: the validation split.
        codec: the tokenizer of the shards.
        prefix: tokens given, at most; at least MIN_PREFIX_SHARE of them.
        following: tokens compared.
        count: passages wanted; fewer come back where the split holds fewer.
        seed: of the choice.
    """
    stream = np.random.Generator(np.random.Philox(seed))
    texts = [codec.decode([token]) for token in range(codec.vocabulary_size)]
    ends_line = np.array([text.endswith("\n") for text in texts])
    found: list[tuple[int, float, Passage]] = []
    for shard in shards:
        for document, source in enumerate(shard.sources.to_pylist()):
            if source["language"] != LANGUAGE:
                continue
            start, end = shard.offsets[document], shard.offsets[document + 1] - 1  # without its EOS
            ids = np.asarray(shard.ids[start:end])
            after_end = np.concatenate(([True], ends_line[ids]))  # [tokens + 1]
            places = _places(ids, after_end, codec, prefix, following, stream)
            found += [
                (
                    turn,
                    float(stream.random()),
                    Passage(
                        source["repo"],
                        source["path"],
                        tuple(ids[first:last].tolist()),
                        tuple(ids[last : last + following].tolist()),
                    ),
                )
                for turn, (first, last) in enumerate(places)
            ]
    return [passage for _, _, passage in sorted(found, key=lambda one: one[:2])[:count]]


def _places(
    ids: npt.NDArray[np.uint16],
    after_end: npt.NDArray[np.bool_],
    codec: TextCodec,
    prefix: int,
    following: int,
    stream: np.random.Generator,
) -> Iterator[tuple[int, int]]:
    """First token of a prefix and the one after its last, without overlap, in a random order.

    Args:
        ids: [tokens] of a document.
        after_end: [tokens + 1], whether a line begins there.
        codec: the tokenizer.
        prefix: tokens given, at most.
        following: tokens compared.
        stream: of the order.
    """
    line_starts = np.flatnonzero(after_end)
    taken = np.zeros(len(ids), dtype=bool)
    for first in stream.permutation(line_starts[line_starts < len(ids)]).tolist():
        last = int(line_starts[np.searchsorted(line_starts, first + prefix, side="right") - 1])
        end = last + following
        fits = last - first >= prefix * MIN_PREFIX_SHARE and end <= len(ids)
        if fits and not taken[first:end].any() and _opens(ids[first:last], codec):
            taken[first:end] = True
            yield first, last


def _opens(ids: npt.NDArray[np.uint16], codec: TextCodec) -> bool:
    return OPENING.match(codec.decode(ids[:OPENING_TOKENS].tolist())) is not None
