"""Loss on the answers alone; a ramp of passes; shared batches; who is told of a run."""

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.artifacts.artifact import Artifact
from components.artifacts.errors import ArtifactError, ConfigError, MissingExtraError
from components.artifacts.rows import draft_text
from components.artifacts.tokens import Blocks, TokenShard, draft_tokens
from components.model.text import TextCodec
from components.training.answers import learned_tokens
from components.training.blocks import NOT_LEARNED, BlockStream
from components.training.config import ScheduleConfig, TrainingConfig
from components.training.schedule import passes_before, passes_of_step, tokens_before
from tests.test_training_step import SMALL, MakeStep, publish

MARKER = "\nANSWER:\n"
QUESTIONS = [
    f"\nQUESTION:\nadd {n} to x\nUse Standard Input format\n{MARKER}    print(x + {n})\n"
    for n in range(40)
]


@pytest.fixture(scope="module")
def codec() -> TextCodec:
    """A byte-level BPE that merges over the marker's ends."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(QUESTIONS, trainer)
    return TextCodec(tokenizer)


def stream_of(codec: TextCodec, texts: list[str]) -> TokenShard:
    rows = [[*codec.encode(text), codec.eos_id] for text in texts]
    ids = np.array([token for row in rows for token in row], np.uint16)
    sources = pa.table({"repo": ["r"] * len(rows)})
    return TokenShard(ids, np.cumsum([0, *map(len, rows)]), sources)


def learned_text(codec: TextCodec, shard: TokenShard, mask: Any) -> str:
    return codec.decode(shard.ids[mask].tolist(), keep_special=True)


def test_only_what_follows_the_marker_is_learned(codec: TextCodec) -> None:
    shard = stream_of(codec, [QUESTIONS[7], "no marker here\n", QUESTIONS[8]])
    (mask,) = learned_tokens([shard], codec, MARKER)
    text = learned_text(codec, shard, mask)
    assert text.count("<|endoftext|>") == 2, "the EOS of an answer is learned, no other"
    # The blanks that a token joins to the marker's newline are the question's.
    answers = "print(x + 7)\n<|endoftext|>print(x + 8)\n<|endoftext|>"
    assert text.replace(" print", "print") == answers


def test_answers_are_found_in_documents_that_were_cut_into_blocks(codec: TextCodec) -> None:
    whole = stream_of(codec, [QUESTIONS[7]])
    length = len(whole.ids) - 4
    packed = np.concatenate([whole.ids[4:], whole.ids[:4], whole.ids[:0]])
    blocks = Blocks(
        block_length=length,
        eos_id=codec.eos_id,
        documents=np.array([0, 0]),
        starts=np.array([4, 0]),
        offsets=np.array([0, length]),
        lengths=np.array([length, 4]),
    )
    shard = TokenShard(packed, np.array([]), whole.sources, blocks)
    (mask,), (wanted,) = (
        learned_tokens([shard], codec, MARKER),
        learned_tokens([whole], codec, MARKER),
    )
    assert np.array_equal(np.concatenate([mask[length:], mask[:length]]), wanted)


def test_a_corpus_without_answers_is_refused_in_one_line(codec: TextCodec) -> None:
    with pytest.raises(ArtifactError, match=r"documents with the answer_marker '\\nANSWER:\\n'"):
        learned_tokens([stream_of(codec, ["x = 1\n"])], codec, MARKER)


def test_questions_have_no_targets_and_the_step_learns_the_answers(
    make_step: MakeStep, codec: TextCodec, tmp_path: Path
) -> None:
    shard = stream_of(codec, QUESTIONS)
    masks = learned_tokens([shard], codec, MARKER)
    batch = BlockStream([shard], 16, masks, codec.vocabulary_size).batch(0, 0, 4)
    plain = BlockStream([shard], 16).batch(0, 0, 4)
    hidden = batch.targets == NOT_LEARNED
    assert 0 < batch.num_learned < plain.num_learned == 64
    assert np.array_equal(batch.targets[~hidden], plain.targets[~hidden])
    assert np.array_equal(batch.inputs, plain.inputs)

    inputs = artifacts_of(codec, tmp_path)
    shape = {"context_length": 32, "num_layers": 2, "num_heads": 2, "hidden_size": 32, "window": 8}
    config = {**SMALL, "model": shape, "optimizer": "adamw"}
    tuned = make_step("training", inputs, **config, answer_marker=MARKER).artifact
    usual = make_step("training", inputs, **config).artifact
    assert tuned.manifest.digest != usual.manifest.digest
    assert tuned.manifest.measures["loss_training"] < usual.manifest.measures["loss_training"]


def artifacts_of(codec: TextCodec, folder: Path) -> dict[str, Artifact]:
    spelt = draft_text(
        "tokenizer", ".json", codec.tokenizer.to_str(), name="tokenizer/tokenizer.json"
    )
    tokenizer = publish(folder / "tokenizer", "tokenizer", [spelt])
    drafts = []
    for split in ("training", "validation"):
        shard = stream_of(codec, QUESTIONS)
        sources = [
            dict.fromkeys(
                ("source", "repo", "commit", "path", "sha256", "language", "license"), "x"
            )
            | {"size": len(text)}
            for text in QUESTIONS
        ]
        index = {
            "eos_id": codec.eos_id,
            "tokenizer_digest": tokenizer.manifest.digest,
            "vocabulary_size": codec.vocabulary_size,
        }
        drafts += draft_tokens(split, shard.ids, shard.offsets.tolist(), sources, index)
    return {"tokens": publish(folder / "tokens", "tokens", drafts), "tokenizer": tokenizer}


def test_ids_that_the_vocabulary_lacks_or_that_are_too_wide_are_refused() -> None:
    shard = TokenShard(np.full(64, 9, np.uint16), np.array([0, 64]), pa.table({}))
    with pytest.raises(ArtifactError, match=r"ids below 9, .*got 9 in token shard 0"):
        BlockStream([shard], 8, vocabulary_size=9).batch(0, 0, 2)
    wide = TokenShard(np.full(64, 70_000, np.uint32), np.array([0, 64]), pa.table({}))
    with pytest.raises(ArtifactError, match=r"uint16 ids, got uint32 .*over 65,535"):
        BlockStream([wide], 8)


@given(st.integers(1, 9), st.integers(0, 20), st.integers(1, 9), st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_a_ramp_rises_to_all_passes_and_no_block_is_skipped(
    first: int, steps: int, more: int, step: int
) -> None:
    ramp = (first, steps) if steps else (0, 0)
    config = TrainingConfig(
        gradient_accumulation=first + more, ramp_from=ramp[0], ramp_steps=ramp[1]
    )
    passes = [passes_of_step(config, n) for n in range(step + 1)]
    assert passes == sorted(passes)
    assert passes[0] == (first if steps else first + more)
    assert passes_of_step(config, steps) == first + more
    assert passes_before(config, step) == sum(passes[:-1])
    assert tokens_before(config, step) == sum(passes[:-1]) * 16 * 1024


def test_a_ramp_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="ramp_from of 1 to gradient_accumulation"):
        TrainingConfig(gradient_accumulation=2, ramp_from=3, ramp_steps=10)
    with pytest.raises(ConfigError, match="or both 0"):
        TrainingConfig(gradient_accumulation=2, ramp_steps=10)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_pass_has_the_same_blocks_on_any_number_of_processes(size: int) -> None:
    shard = TokenShard(np.arange(500, dtype=np.uint16), np.array([0, 500]), pa.table({}))
    whole = BlockStream([shard], 8).batch(3, 5, 4)
    parts = [whole.share(rank, size) for rank in range(size)]
    assert np.array_equal(np.concatenate([part.inputs for part in parts]), whole.inputs)
    assert np.array_equal(np.concatenate([part.targets for part in parts]), whole.targets)


def test_the_cards_misspelt_decap_steps_is_decay_steps_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Defect R1: the parser of GPT-CC's script refuses the command on its own model card."""
    with caplog.at_level("WARNING", "codekiln.training"):
        read = ScheduleConfig.from_json({"kind": "cosine", "decap_steps": 25_000})
        typed = TrainingConfig().with_text("schedule.decap-steps", "25000")
    assert read.decay_steps == typed.schedule.decay_steps == 25_000
    assert caplog.text.count("decap_steps, as in GPT-Code-Clippy's card, is read") == 2
    with pytest.raises(ConfigError, match="one of decay_steps and decap_steps"):
        ScheduleConfig.from_json({"decap_steps": 1, "decay_steps": 1})


def test_tensorboard_and_wandb_are_told_where_the_environment_says_so(
    make_step: MakeStep, codec: TextCodec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, float]] = []
    fake = types.ModuleType("wandb")
    run = types.SimpleNamespace(log=told.append, finish=lambda: told.append({}))
    fake.init = lambda **given: (told.append({"given": len(given["config"])}), run)[1]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setenv("CODEKILN_WANDB_PROJECT", "kiln")
    monkeypatch.setenv("CODEKILN_TENSORBOARD", str(tmp_path / "board"))
    inputs = artifacts_of(codec, tmp_path)
    outcome = make_step("training", inputs, **SMALL)
    assert list((tmp_path / "board" / outcome.artifact.manifest.key).glob("events*"))
    assert told[-1] == {}
    losses = [row for row in told if "training_loss" in row]
    assert [row["training_step"] for row in losses] == [4, 8, 12, 16, 20, 24]
    assert any("tokens_per_second" in row for row in told)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match="CODEKILN_WANDB_PROJECT is set"):
        make_step("training", inputs, **SMALL, seed=5)


def test_a_device_without_memory_ends_the_run_with_one_line(
    make_step: MakeStep, codec: TextCodec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.artifacts.errors import StepFailedError
    from components.training import torch_learner

    def short(*_arguments: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8 GiB.\nmore lines")

    monkeypatch.setattr(torch_learner, "next_token_loss", short)
    with pytest.raises(StepFailedError, match=r"halve batch_size") as caught:
        make_step("training", artifacts_of(codec, tmp_path), **SMALL)
    assert "\n" not in str(caught.value)


def test_live_records_are_json_lines(codec: TextCodec, tmp_path: Path) -> None:
    from components.training.records import RECORDS_NAME, trackers

    with trackers(tmp_path, "name", {}) as (tracker,):
        tracker.tell(3, {"training_loss": 1.5})
        line = json.loads((tmp_path / RECORDS_NAME).read_text())
    assert line == {"step": 3, "training_loss": 1.5}
