"""Learn from answers alone: which tokens of a document stand behind a marker.

As in GPT-Code-Clippy's fine-tuning on APPS (Hendrycks et al. 2021): a document is a question, the
line `ANSWER:`, and an answer. The question is read and no loss is taken of it.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from components.artifacts.errors import ArtifactError
from components.artifacts.tokens import TokenShard
from components.model.text import TextCodec
from components.training.blocks import Mask

Positions = npt.NDArray[np.int64]


def learned_tokens(shards: Sequence[TokenShard], codec: TextCodec, marker: str) -> list[Mask]:
    """For each shard, which of its tokens are learned: those that begin behind the marker.

    The marker is looked for in the bytes that tokens spell, however it is cut into tokens. A token
    that spells the marker's end and more belongs to the question. A document's EOS is learned where
    its answer is; a document without a marker is not learned at all.

    Raises:
        ArtifactError: a tokenizer that is not byte-level, or no document with a marker.
    """
    table = codec.token_bytes
    if table is None:
        raise ArtifactError(
            "expected a byte-level tokenizer for answer_marker, got another decoder: leave "
            "answer_marker empty"
        )
    masks = []
    for shard in shards:
        mask = np.zeros(len(shard.ids), dtype=np.bool_)
        for positions in _documents(shard):
            pieces: list[bytes] = table[shard.ids[positions]].tolist()
            mask[positions[_first_behind(pieces, marker.encode()) :]] = True
        masks.append(mask)
    if not any(mask.any() for mask in masks):
        raise ArtifactError(
            f"expected documents with the answer_marker {marker!r}, got none in {len(shards)} "
            "token shards: give the text that stands before the answers, or leave it empty"
        )
    return masks


def _first_behind(pieces: Sequence[bytes], marker: bytes) -> int:
    """The first token that begins at the marker's end or later; the number of tokens for none."""
    place = b"".join(pieces).find(marker)
    if place < 0:
        return len(pieces)
    begins = np.cumsum([0, *map(len, pieces[:-1])])
    return int(np.searchsorted(begins, place + len(marker)))


def _documents(shard: TokenShard) -> Iterator[Positions]:
    """Where the tokens of each document stand, in their order."""
    if shard.blocks is None:
        for start, end in zip(shard.offsets[:-1], shard.offsets[1:], strict=True):
            yield np.arange(start, end)
        return
    blocks = shard.blocks
    order = np.lexsort((blocks.starts, blocks.documents))
    for document in range(shard.sources.num_rows):
        pieces = order[blocks.documents[order] == document]
        if len(pieces):
            yield np.concatenate(
                [
                    np.arange(o, o + n)
                    for o, n in zip(blocks.offsets[pieces], blocks.lengths[pieces], strict=True)
                ]
            )
