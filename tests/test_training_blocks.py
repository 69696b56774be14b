"""Which tokens a step learns from is a pure function; an epoch visits each block once."""

import itertools
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.artifacts.errors import ArtifactError
from components.artifacts.tokens import TokenShard
from components.training.blocks import BlockStream


def shards_of(*lengths: int) -> list[TokenShard]:
    """Shards whose tokens count up, so that a token is its own place in the stream."""
    ends = np.cumsum([0, *lengths])
    return [
        TokenShard(np.arange(start, end, dtype=np.uint16), np.array([0, end - start]), pa.table({}))
        for start, end in itertools.pairwise(ends)
    ]


lengths = st.lists(st.integers(0, 60), min_size=1, max_size=5).filter(lambda x: sum(x) >= 24)


@given(lengths, st.integers(0, 3), st.integers(0, 40), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_a_batch_is_a_function_of_seed_and_step_alone(
    cut: list[int], seed: int, step: int, size: int
) -> None:
    fresh, used = BlockStream(shards_of(*cut), 8), BlockStream(shards_of(sum(cut)), 8)
    for earlier in range(3):
        used.batch(seed + 1, earlier, size)
    batch = fresh.batch(seed, step, size)
    again = used.batch(seed, step, size)
    assert np.array_equal(batch.inputs, again.inputs)
    assert np.array_equal(batch.targets, again.targets)
    assert batch.inputs.shape == (size, 8)
    assert (batch.targets == batch.inputs + 1).all(), "a target is the token that follows"
    assert (np.diff(batch.inputs, axis=1) == 1).all(), "blocks are consecutive tokens over shards"


@given(lengths, st.integers(0, 5), st.integers(0, 3), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_an_epoch_predicts_no_token_twice_and_misses_less_than_two_blocks(
    cut: list[int], seed: int, epoch: int, size: int
) -> None:
    stream = BlockStream(shards_of(*cut), 8)
    visits = range(epoch * stream.blocks, (epoch + 1) * stream.blocks)
    blocks = [stream.batch(seed, visit, 1).targets[0] for visit in visits]
    targets = Counter(int(token) for block in blocks for token in block)
    assert max(targets.values()) == 1
    assert len(targets) > sum(cut) - 2 * 8
    grouped = [
        stream.batch(seed, step, size).targets for step in range((max(visits) + size) // size)
    ]
    assert np.array_equal(np.concatenate(grouped)[visits.start : visits.stop], blocks)


def test_epochs_and_seeds_differ_in_order_and_offset() -> None:
    stream = BlockStream(shards_of(500), 8)
    first = stream.starts(0, 0, stream.blocks)
    assert first.tolist() != stream.starts(0, 1, stream.blocks).tolist()
    assert first.tolist() != stream.starts(1, 0, stream.blocks).tolist()
    offsets = {int(stream.starts(0, epoch, stream.blocks).min()) for epoch in range(20)}
    assert len(offsets) > 3
    assert offsets <= set(range(8))


def test_too_few_tokens_are_refused_in_one_line() -> None:
    with pytest.raises(ArtifactError, match="two blocks of 8 training tokens, got 15 tokens"):
        BlockStream(shards_of(7, 8), 8)
    assert BlockStream(shards_of(16), 8).batch(0, 0, 3).inputs.shape == (3, 8)
