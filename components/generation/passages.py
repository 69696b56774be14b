"""Held-out passages to continue: chosen by seed, spread over documents."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.artifacts.tokens import TokenShard

LANGUAGE = "Python"


@dataclass(frozen=True)
class Passage:
    """A piece of a held-out document."""

    repo: str
    path: str
    prefix: tuple[int, ...]
    following: tuple[int, ...]
    """The tokens that really follow the prefix."""


def choose_passages(
    shards: Sequence[TokenShard], *, prefix: int, following: int, count: int, seed: int
) -> list[Passage]:
    """Choose passages of Python documents.

    Every document is laid out in windows without overlap, from a random start. Each gives one
    window before any gives a second, so that long documents do not fill the choice.

    Args:
        shards: the validation split.
        prefix: tokens given.
        following: tokens compared.
        count: passages wanted; fewer come back where the split holds fewer.
        seed: of the choice.
    """
    stream = np.random.Generator(np.random.Philox(seed))
    size = prefix + following
    places: list[tuple[int, float, int, int, int]] = []
    for index, shard in enumerate(shards):
        languages = shard.sources.column("language").to_pylist()
        for document, language in enumerate(languages):
            start, end = shard.offsets[document], shard.offsets[document + 1] - 1  # without its EOS
            windows = int(end - start) // size
            if language != LANGUAGE or not windows:
                continue
            shift = int(stream.integers(0, int(end - start) - windows * size + 1))
            for turn, window in enumerate(stream.permutation(windows).tolist()):
                place = int(start) + shift + window * size
                places.append((turn, float(stream.random()), index, document, place))
    return [
        _passage(shards[index], document, place, prefix, size)
        for _, _, index, document, place in sorted(places)[:count]
    ]


def _passage(shard: TokenShard, document: int, place: int, prefix: int, size: int) -> Passage:
    ids = tuple(shard.ids[place : place + size].tolist())
    source = shard.sources.slice(document, 1).to_pylist()[0]
    return Passage(source["repo"], source["path"], ids[:prefix], ids[prefix:])
