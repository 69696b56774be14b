"""Best-fit packing cuts no document that fits a block, loses no token, and trains as packed."""

import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.artifacts.artifact import Artifact
from components.artifacts.errors import ArtifactError
from components.artifacts.tokens import TokenShard, read_tokens
from components.model.text import TextCodec
from components.packing.best_fit import pack_best_fit
from components.training.blocks import BlockStream

BLOCK = 64

lengths = st.lists(st.integers(1, 40), max_size=60)


@given(lengths, st.integers(2, 16))
def test_every_token_stands_once_and_only_long_documents_are_cut(sizes: list[int], block: int):
    packed = pack_best_fit(sizes, block)
    held = [[0] * size for size in sizes]
    for pieces in packed:
        assert pieces
        assert sum(piece.length for piece in pieces) <= block
        for piece in pieces:
            assert piece.length > 0
            for token in range(piece.start, piece.start + piece.length):
                held[piece.document][token] += 1
    assert all(count == 1 for document in held for count in document)
    pieces_of = [piece.document for pieces in packed for piece in pieces]
    for document, size in enumerate(sizes):
        assert pieces_of.count(document) == -(-size // block)


@given(lengths, st.integers(2, 16))
def test_a_new_block_is_opened_only_where_no_open_one_takes_the_piece(sizes: list[int], block: int):
    """So at most one block is half empty or less: 2 x the tokens bounds the padding."""
    fills = [sum(piece.length for piece in pieces) for pieces in pack_best_fit(sizes, block)]
    assert sum(2 * fill <= block for fill in fills) <= 1


def test_the_tightest_block_is_taken():
    for sizes, expected in (([7, 6, 3], [[0, 2], [1]]), ([7, 6, 3, 4], [[0, 2], [1, 3]])):
        packed = pack_best_fit(sizes, 10)
        assert [[piece.document for piece in pieces] for pieces in packed] == expected


def test_a_long_document_is_whole_blocks_in_order_and_a_rest():
    packed = pack_best_fit([2, 25, 4], 10)
    assert packed == [[(1, 0, 10)], [(1, 10, 10)], [(1, 20, 5), (2, 0, 4)], [(0, 0, 2)]]


@pytest.fixture
def rows(document: Any) -> list[dict[str, Any]]:
    """Documents of six repositories, from a line to some blocks."""
    text = (Path(sysconfig.get_path("stdlib")) / "textwrap.py").read_text(encoding="utf-8")
    return [
        document(f"{path}.py", text[97 * path : 97 * path + 40 + 150 * path], repo=f"me/r{repo}")
        for repo in range(6)
        for path in range(6)
    ]


@pytest.fixture
def tokenizer(make_step: Any, documents_of: Any, rows: Any) -> Artifact:
    artifact: Artifact = make_step(
        "tokenizer", {"documents": documents_of(rows)}, vocabulary_size=300
    ).artifact
    return artifact


def pack(make_step: Any, documents: Artifact, tokenizer: Artifact, **changes: Any) -> Artifact:
    config = {"packing": "best_fit", "block_length": BLOCK, "validation_fraction": 0.5, **changes}
    config |= {"validation_min_repositories": 1}
    inputs = {"documents": documents, "tokenizer": tokenizer}
    artifact: Artifact = make_step("packing", inputs, **config).artifact
    return artifact


def documents_in(shard: TokenShard) -> list[list[int]]:
    """The tokens of every document, put together again."""
    assert shard.blocks is not None
    parts: list[dict[int, list[int]]] = [{} for _ in range(shard.sources.num_rows)]
    blocks = shard.blocks
    for document, start, offset, length in zip(
        blocks.documents, blocks.starts, blocks.offsets, blocks.lengths, strict=True
    ):
        assert offset // BLOCK == (offset + length - 1) // BLOCK
        parts[document][int(start)] = shard.ids[offset : offset + length].tolist()
    return [[token for start in sorted(part) for token in part[start]] for part in parts]


def test_packed_documents_come_back_and_the_rest_is_counted_padding(
    make_step: Any, documents_of: Any, rows: Any, tokenizer: Artifact
) -> None:
    packed = pack(make_step, documents_of(rows[:17], rows[17:]), tokenizer)
    codec = TextCodec.from_artifact(tokenizer)
    by_path = {(row["repo"], row["path"]): row["content"] for row in rows}
    counts, covered, tokens, cut = packed.manifest.tally.counts, 0, 0, 0
    for shard in read_tokens(packed, "training"):
        assert len(shard.ids) % BLOCK == 0
        sources = shard.sources.to_pylist()
        for source, ids in zip(sources, documents_in(shard), strict=True):
            assert ids[-1] == codec.eos_id
            assert codec.decode(ids[:-1]) == by_path[source["repo"], source["path"]]
            cut += len(ids) > BLOCK
        assert shard.blocks is not None
        free = np.ones(len(shard.ids), dtype=bool)
        for offset, length in zip(shard.blocks.offsets, shard.blocks.lengths, strict=True):
            free[offset : offset + length] = False
        assert (shard.ids[free] == codec.eos_id).all()
        covered += int(shard.blocks.lengths.sum())
        tokens += len(shard.ids)
    assert counts["tokens_training"] == tokens
    assert counts["tokens_padding"] == tokens - covered > 0
    assert counts["documents_cut"] == cut > 0
    stream = pack(make_step, documents_of(rows[:17], rows[17:]), tokenizer, packing="stream")
    assert stream.manifest.tally.counts["tokens_training"] == covered
    assert (
        stream.manifest.measures["bytes_per_token"] == packed.manifest.measures["bytes_per_token"]
    )
    assert [shard.blocks for shard in read_tokens(packed, "validation")] == [None, None]


def test_workers_do_not_change_the_blocks(
    make_step: Any, documents_of: Any, rows: Any, tokenizer: Artifact, tmp_path: Path
) -> None:
    digests = {
        pack(
            make_step,
            documents_of(rows[:9], rows[9:20], rows[20:]),
            tokenizer,
            workers=workers,
            data_root=str(tmp_path / str(workers)),
            star_weight=1.0,
            function_share=0.3,
        ).manifest.digest
        for workers in (1, 2)
    }
    assert len(digests) == 1


def test_training_reads_every_block_once_behind_an_eos(
    make_step: Any, documents_of: Any, rows: Any, tokenizer: Artifact
) -> None:
    packed = pack(make_step, documents_of(rows[:17], rows[17:]), tokenizer)
    shards = read_tokens(packed, "training")
    whole = np.concatenate([shard.ids for shard in shards]).reshape(-1, BLOCK)
    stream = BlockStream(shards, BLOCK)
    assert stream.blocks == len(whole)
    for epoch in (0, 1):
        batches = [stream.batch(7, epoch * stream.blocks + n, 1) for n in range(stream.blocks)]
        read = np.concatenate([batch.targets for batch in batches])
        first = {int(batch.inputs[0, 0]) for batch in batches}
        assert first == {TextCodec.from_artifact(tokenizer).eos_id}
        assert sorted(map(tuple, read)) == sorted(map(tuple, whole))


def test_training_refuses_another_context_length_in_one_line(
    make_step: Any, documents_of: Any, rows: Any, tokenizer: Artifact
) -> None:
    packed = pack(make_step, documents_of(rows), tokenizer)
    model = {"num_layers": 2, "num_heads": 2, "hidden_size": 32, "context_length": 32}
    inputs = {"tokens": packed, "tokenizer": tokenizer}
    with pytest.raises(ArtifactError, match=r"model.context_length 64, .* got 32") as caught:
        make_step("training", inputs, max_steps=2, batch_size=2, model=model)
    assert "\n" not in str(caught.value)
    model["context_length"] = BLOCK
    made = make_step("training", inputs, max_steps=2, batch_size=2, model=model)
    assert made.artifact.manifest.measures["tokens_trained"] == 2 * 2 * BLOCK
