"""Which tokens a step learns from: a pure function of the seed and the step, in numpy alone.

All training tokens, shard after shard, are one stream. Each epoch cuts the stream from a random
offset into blocks that do not overlap, and visits them in a random order. So the state of the data
is one integer, the step; a run that goes on reads what it would have read, at any batch size.

Tokens that were packed as blocks are cut where packing cut them. Nothing is predicted across two
blocks: an EOS stands before each, and every token of a block is a target.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from components.artifacts.errors import ArtifactError
from components.artifacts.tokens import TokenShard


class BlockStream:
    """The training tokens as blocks of `context_length` inputs and their targets."""

    def __init__(self, shards: Sequence[TokenShard], context_length: int) -> None:
        """Take the shards of the training split.

        Raises:
            ArtifactError: fewer tokens than two blocks, or blocks of another length.
        """
        self._eos_id = _packed_eos_id(shards, context_length)
        self._ids = [shard.ids for shard in shards]
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

    def batch(self, seed: int, step: int, size: int) -> npt.NDArray[np.int64]:
        """The blocks of one step, [size, context_length + 1]: inputs, and targets one further.

        Args:
            seed: of the run.
            step: from 0.
            size: blocks of a step.
        """
        starts = self.starts(seed, step, size)
        return np.stack([self._read(int(start)) for start in starts]).astype(np.int64)

    def starts(self, seed: int, step: int, size: int) -> npt.NDArray[np.int64]:
        """Where the blocks of one step begin in the stream, [size]."""
        visits = np.arange(step * size, (step + 1) * size, dtype=np.int64)
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

    def _read(self, start: int) -> npt.NDArray[np.uint16]:
        shard, place = self.locate(start)
        if self._eos_id is not None:
            block = self._ids[shard][place : place + self.context_length]
            return np.concatenate([np.array([self._eos_id], dtype=block.dtype), block])
        parts, missing = [], self.context_length + 1
        while missing:
            part = self._ids[shard][place : place + missing]
            parts.append(part)
            missing -= len(part)
            shard, place = shard + 1, 0
        return np.concatenate(parts)


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
