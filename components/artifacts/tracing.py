"""From a token back to the document that it is of: repository, commit, path, licence."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.artifacts.errors import ArtifactError
from components.artifacts.tokens import Places, TokenShard


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A run of tokens that are of one document, or padding."""

    start: int
    """The first token, counted over all shards of the split."""

    stop: int
    """Behind the last token."""

    source: Mapping[str, Any] | None
    """The document's row of SOURCE_COLUMNS; None for padding."""

    document_start: int = 0
    """The first token of the run within its document."""

    document_tokens: int = 0
    """Tokens of the whole document, its EOS included."""


def trace_tokens(shards: Sequence[TokenShard], start: int, stop: int) -> list[Span]:
    """The documents that some tokens of a split are of, in order; every token is in one span.

    Args:
        shards: of the split.
        start: the first token, counted over all shards.
        stop: behind the last one; cut at the end of the split.

    Raises:
        ArtifactError: the split has no such token.
    """
    tokens = sum(len(shard.ids) for shard in shards)
    if not 0 <= start < min(stop, tokens):
        raise ArtifactError(
            f"expected a token from 0 to {tokens - 1:,}, the last of the split, got {start:,}: "
            "give another number"
        )
    spans: list[Span] = []
    begin = 0
    for shard in shards:
        low, high = max(start, begin), min(stop, begin + len(shard.ids))
        if low < high:
            spans += _trace_shard(shard, begin, low - begin, high - begin)
        begin += len(shard.ids)
    return spans


def _trace_shard(shard: TokenShard, begin: int, low: int, high: int) -> Iterator[Span]:
    documents, starts, offsets, lengths = _pieces(shard)
    sizes = np.bincount(documents, weights=lengths).astype(np.int64)
    piece = int(np.searchsorted(offsets, low, side="right")) - 1
    while low < high:
        end = int(offsets[piece] + lengths[piece])
        if low < end:
            document = int(documents[piece])
            yield Span(
                start=begin + low,
                stop=begin + min(end, high),
                source=shard.sources.slice(document, 1).to_pylist()[0],
                document_start=int(starts[piece] + low - offsets[piece]),
                document_tokens=int(sizes[document]),
            )
            low = end
        piece += 1
        following = int(offsets[piece]) if piece < len(offsets) else len(shard.ids)
        if low < min(following, high):
            yield Span(start=begin + low, stop=begin + min(following, high), source=None)
            low = following


def _pieces(shard: TokenShard) -> tuple[Places, Places, Places, Places]:
    """Documents, starts, offsets and lengths of a shard's pieces; whole documents in a stream."""
    if shard.blocks:
        blocks = shard.blocks
        return blocks.documents, blocks.starts, blocks.offsets, blocks.lengths
    lengths = np.diff(shard.offsets)
    return np.arange(len(lengths)), np.zeros_like(lengths), shard.offsets[:-1], lengths
