"""Bits per byte of the held-out documents: what the model is judged by.

Every token of every held-out document, its EOS included, is predicted once: the documents are one
stream behind an EOS, cut into windows of the context's length. The nats are summed and divided by
ln 2 and by the documents' UTF-8 bytes, so tokenizers of any vocabulary compare. The first tokens
of a window see little before them: a stride of one context is cheap and slightly pessimistic.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.artifacts.errors import ArtifactError
from components.artifacts.tokens import TokenShard
from components.training.blocks import Tokens
from components.training.learner import Nats

WINDOW_TOKENS = 4096
"""Tokens of one forward pass of a device."""

Predict = Callable[[Tokens, Tokens], Nats]
"""Inputs and targets, [R, T] each, to the nats of each target, [R * T]."""

GROUPINGS = ("repo", "source", "language")
"""By what held-out documents are summed up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """How well some documents were predicted."""

    documents: int
    tokens: int
    """EOS of each document included."""

    bytes: int
    """UTF-8 bytes."""

    nats: float

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nats / self.tokens

    @property
    def bits_per_byte(self) -> float:
        """Bits per UTF-8 byte."""
        return self.nats / math.log(2) / self.bytes


@dataclass(frozen=True)
class HeldOut:
    """The held-out documents as one stream."""

    ids: npt.NDArray[np.int64]
    """[tokens + 1], an EOS before the first document."""

    offsets: npt.NDArray[np.int64]
    """[documents + 1]: document i is predicted at offsets[i] to offsets[i + 1]."""

    groups: dict[str, list[str]]
    """For each of GROUPINGS, [documents]: the document's repository, source or language."""

    sizes: npt.NDArray[np.int64]
    """[documents], UTF-8 bytes."""

    @classmethod
    def of(cls, shards: Sequence[TokenShard], eos_id: int) -> "HeldOut":
        """Join the shards of the validation split.

        Raises:
            ArtifactError: nothing was held out.
        """
        if not sum(len(shard.ids) for shard in shards):
            raise ArtifactError(
                "expected held-out documents in the tokens, got none: raise "
                "packing.validation_fraction, or crawl more repositories"
            )
        lengths = np.concatenate([np.diff(shard.offsets) for shard in shards])
        ids = np.concatenate([[eos_id], *(shard.ids for shard in shards)])
        return cls(
            ids.astype(np.int64),
            np.concatenate([[0], np.cumsum(lengths)]),
            {
                grouping: [
                    str(value) for shard in shards for value in shard.sources[grouping].to_pylist()
                ]
                for grouping in GROUPINGS
            },
            np.concatenate([shard.sources["size"].to_numpy() for shard in shards]),
        )

    @property
    def tokens(self) -> int:
        """Tokens that are predicted."""
        return len(self.ids) - 1

    def sample(self, tokens: int) -> "HeldOut":
        """About so many tokens: every n-th document, so that all repositories have a part."""
        stride = max(1, round(self.tokens / tokens))
        chosen = range(0, len(self.sizes), stride)
        parts = [self.ids[self.offsets[i] + 1 : self.offsets[i + 1] + 1] for i in chosen]
        return HeldOut(
            np.concatenate([self.ids[:1], *parts]),
            np.concatenate([[0], np.cumsum([len(part) for part in parts])]),
            {name: [values[i] for i in chosen] for name, values in self.groups.items()},
            self.sizes[::stride],
        )

    def score(self, nats: Nats) -> Score:
        """Sum up what `token_nats` found for all tokens."""
        assert len(nats) == self.tokens, (len(nats), self.tokens)
        return Score(
            documents=len(self.sizes),
            tokens=self.tokens,
            bytes=int(self.sizes.sum()),
            nats=float(nats.sum()),
        )

    def score_groups(self, nats: Nats, grouping: str = "repo") -> dict[str, Score]:
        """Sum up by repository, source or language, in the order of their names."""
        by_document = np.add.reduceat(nats, self.offsets[:-1])
        lengths = np.diff(self.offsets)
        values = np.array(self.groups[grouping])
        scores = {}
        for name in sorted(set(self.groups[grouping])):
            mine = values == name
            scores[name] = Score(
                documents=int(mine.sum()),
                tokens=int(lengths[mine].sum()),
                bytes=int(self.sizes[mine].sum()),
                nats=float(by_document[mine].sum()),
            )
        return scores


def token_nats(predict: Predict, ids: Tokens, context_length: int, num_devices: int = 1) -> Nats:
    """The nats of each token of a stream but the first, each predicted once.

    Args:
        predict: a model.
        ids: [tokens + 1]; the first is only read.
        context_length: tokens of a window.
        num_devices: that share the windows of a call.
    """
    windows = _windows(ids, context_length, WINDOW_TOKENS * num_devices)
    return np.concatenate([predict(inputs, targets) for inputs, targets in windows])


def _windows(
    ids: npt.NDArray[np.int64], length: int, batch_tokens: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Batches of whole windows, then what is left as a shorter one."""
    inputs, targets = ids[:-1], ids[1:]
    whole = len(inputs) // length * length
    size = max(1, batch_tokens // length) * length
    for start in range(0, whole, size):
        part = slice(start, min(start + size, whole))
        yield inputs[part].reshape(-1, length), targets[part].reshape(-1, length)
    if whole < len(inputs):
        yield inputs[None, whole:], targets[None, whole:]
