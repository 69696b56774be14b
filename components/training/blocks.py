"""Which tokens a pass learns from: a pure function of the seed and the pass, in numpy alone.

All training tokens, shard after shard, are one stream. Each epoch cuts the stream from a random
offset into blocks that do not overlap, and visits them in a random order. So the state of the data
is one integer, the pass; a run that goes on reads what it would have read, on any number of
processes: they share the blocks of a pass.

Tokens that were packed as blocks are cut where packing cut them. Nothing is predicted across two
blocks: an EOS stands before each, and every token of a block is a target.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.artifacts.errors import ArtifactError
from components.artifacts.tokens import MAX_VOCABULARY, TokenShard

NOT_LEARNED = -1
"""A target that no loss is taken of."""

Mask = npt.NDArray[np.bool_]
Tokens = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """What one pass reads: B blocks of T tokens, and the token that follows each."""

    inputs: Tokens
    """[B, T]"""

    targets: Tokens
    """[B, T]; NOT_LEARNED where nothing is learned."""

    @property
    def num_learned(self) -> int:
        """Targets that count."""
        return int((self.targets != NOT_LEARNED).sum())

    def share(self, rank: int, size: int) -> "Batch":
        """The blocks of one of several processes; they divide evenly."""
        rows = len(self.inputs) // size
        part = slice(rank * rows, (rank + 1) * rows)
        return Batch(self.inputs[part], self.targets[part])


class BlockStream:
    """The training tokens as blocks of `context_length` inputs and their targets."""

    def __init__(
        self,
        shards: Sequence[TokenShard],
        context_length: int,
        learned: Sequence[Mask] | None = None,
        vocabulary_size: int = MAX_VOCABULARY,
    ) -> None:
        """Take the shards of the training split.

        Args:
            shards: the tokens.
            context_length: T.
            learned: for each shard, [tokens], which tokens are learned; None learns all.
            vocabulary_size: ids are below it.

        Raises:
            ArtifactError: fewer tokens than two blocks, blocks of another length, or ids that are
                not uint16.
        """
        for number, shard in enumerate(shards):
            if shard.ids.dtype != np.uint16:
                raise ArtifactError(
                    f"expected uint16 ids, got {shard.ids.dtype} in token shard {number}: ids over "
                    f"65,535 are not supported, pack with a vocabulary of at most {MAX_VOCABULARY}"
                )
        self._eos_id = _packed_eos_id(shards, context_length)
        self._ids = [shard.ids for shard in shards]
        self._learned = learned
        self._vocabulary_size = vocabulary_size
        self._ends = np.cumsum([len(ids) for ids in self._ids], dtype=np.int64)
        self.context_length = context_length
        self.tokens = int(self._ends[-1]) if len(self._ends) else 0
        if self.tokens < 2 * context_length:
            raise ArtifactError(
                f"expected at least two blocks of {context_length} training tokens, got "
                f"{self.tokens} tokens: crawl more, or shorten model.context_length"
            )
        lost = 0 if self._is_packed else context_length
        self.blocks = (self.tokens - lost) // context_length
        """Blocks of one epoch, whatever its offset."""
        self._drawn: tuple[int, int] | None = None
        self._starts: npt.NDArray[np.int64] = np.empty(0, np.int64)

    def batch(self, seed: int, index: int, size: int) -> Batch:
        """The blocks of one pass, over all processes.

        Args:
            seed: of the run.
            index: of the pass, from 0.
            size: blocks of a pass.

        Raises:
            ArtifactError: an id that the vocabulary does not have.
        """
        starts = self.starts(seed, index, size)
        rows = np.stack([self._read(self._ids, int(start), self._eos_id) for start in starts])
        self._check(rows, starts)
        blocks = rows.astype(np.int64)
        targets = blocks[:, 1:]
        if self._learned is not None:
            masks = [self._read(self._learned, int(start), False) for start in starts]
            targets = np.where(np.stack(masks)[:, 1:], targets, NOT_LEARNED)
        return Batch(blocks[:, :-1], targets)

    def starts(self, seed: int, index: int, size: int) -> npt.NDArray[np.int64]:
        """Where the blocks of one pass begin in the stream, [size]."""
        visits = np.arange(index * size, (index + 1) * size, dtype=np.int64)
        epochs, places = np.divmod(visits, self.blocks)
        return np.array(
            [
                self._epoch_starts(seed, int(epoch))[place]
                for epoch, place in zip(epochs, places, strict=True)
            ],
            dtype=np.int64,
        )

    def locate(self, start: int) -> tuple[int, int]:
        """Shard and place inside it of a token of the stream."""
        shard = int(np.searchsorted(self._ends, start, side="right"))
        return shard, start - (int(self._ends[shard - 1]) if shard else 0)

    def _epoch_starts(self, seed: int, epoch: int) -> npt.NDArray[np.int64]:
        """Where the blocks of an epoch begin, in the order of their visits; the last is kept."""
        if self._drawn != (seed, epoch):
            random = np.random.Generator(np.random.Philox(key=[seed, epoch]))
            offset = 0 if self._is_packed else random.integers(self.context_length)
            self._starts = offset + random.permutation(self.blocks) * self.context_length
            self._drawn = (seed, epoch)
        return self._starts

    @property
    def _is_packed(self) -> bool:
        return self._eos_id is not None

    def _read(
        self, shards: Sequence[npt.NDArray[Any]], start: int, before: int | None
    ) -> npt.NDArray[Any]:
        """One value more than a block from what stands in the stream; `before` starts a packed."""
        shard, place = self.locate(start)
        if self._is_packed:
            block = shards[shard][place : place + self.context_length]
            return np.concatenate([np.array([before], dtype=block.dtype), block])
        parts, missing = [], self.context_length + 1
        while missing:
            part = shards[shard][place : place + missing]
            parts.append(part)
            missing -= len(part)
            shard, place = shard + 1, 0
        return np.concatenate(parts)

    def _check(self, rows: npt.NDArray[Any], starts: npt.NDArray[np.int64]) -> None:
        if rows.max() < self._vocabulary_size:
            return
        row = int(rows.max(axis=1).argmax())
        shard, place = self.locate(int(starts[row]))
        raise ArtifactError(
            f"expected ids below {self._vocabulary_size}, the vocabulary's size, got {rows.max()} "
            f"in token shard {shard}, in the block from token {place}: pack the documents again"
        )


def _packed_eos_id(shards: Sequence[TokenShard], context_length: int) -> int | None:
    """The EOS to put before each block of packed shards; None for a stream."""
    packed = [shard.blocks for shard in shards if shard.blocks]
    if not packed:
        return None
    assert len(packed) == len(shards), "one config packs all shards alike"
    block_length = packed[0].block_length
    if block_length != context_length:
        raise ArtifactError(
            f"expected model.context_length {block_length}, the length of the blocks that the "
            f"tokens were packed in, got {context_length}: set it so, or pack again with "
            f"packing.block_length {context_length}"
        )
    return packed[0].eos_id
