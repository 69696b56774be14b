"""Every token traces back to the document that it is of."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.artifacts.errors import ArtifactError
from components.artifacts.tokens import TokenShard
from components.artifacts.tracing import trace_tokens
from components.packing.layout import Encoded, lay_out_blocks, lay_out_stream

EOS = 0


def encoded(lengths: list[int], first: int) -> list[Encoded]:
    """Documents whose tokens are their own number, EOS behind."""
    return [
        Encoded.of([first + number] * (length - 1), EOS, {"path": str(first + number)})
        for number, length in enumerate(lengths)
    ]


def shard_of(lengths: list[int], first: int, block_length: int) -> TokenShard:
    documents = encoded(lengths, first)
    sources = pa.Table.from_pylist([dict(one.source) for one in documents])
    if block_length:
        ids, blocks = lay_out_blocks(documents, block_length, EOS)
        return TokenShard(ids, np.empty(0, np.int64), sources, blocks)
    ids, offsets = lay_out_stream(documents)
    return TokenShard(ids, np.array(offsets), sources)


@given(
    st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=8), min_size=1, max_size=3),
    st.sampled_from([0, 5, 16]),
    st.data(),
)
def test_spans_cover_what_was_asked_for_and_name_the_right_document(
    plan: list[list[int]], block_length: int, data: Any
) -> None:
    shards, lengths, first = [], {}, 1
    for sizes in plan:
        shards.append(shard_of(sizes, first, block_length))
        lengths |= {str(first + number): size for number, size in enumerate(sizes)}
        first += len(sizes)
    ids = np.concatenate([shard.ids for shard in shards])
    start = data.draw(st.integers(0, len(ids) - 1))
    stop = data.draw(st.integers(start + 1, len(ids) + 3))
    place = start
    for span in trace_tokens(shards, start, stop):
        assert span.start == place < span.stop
        place = span.stop
        tokens = ids[span.start : span.stop].tolist()
        if span.source is None:
            assert block_length
            assert {*tokens} == {EOS}
            continue
        path = span.source["path"]
        assert span.document_tokens == lengths[path]
        whole = [int(path)] * (lengths[path] - 1) + [EOS]
        assert tokens == whole[span.document_start : span.document_start + len(tokens)]
    assert place == min(stop, len(ids))


@pytest.mark.parametrize("start", [-1, 12, 10**9])
def test_a_token_that_is_not_there_is_one_line(start: int) -> None:
    with pytest.raises(ArtifactError, match=r"a token from 0 to 11, .* got") as caught:
        trace_tokens([shard_of([5, 7], 1, 0)], start, start + 5)
    assert "\n" not in str(caught.value)
