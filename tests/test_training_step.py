"""The step trains, scores and publishes; a killed run ends in the same weights, bit by bit."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers

from components.artifacts.artifact import Artifact, ArtifactWriter, Draft
from components.artifacts.errors import ArtifactError, ConfigError, StepFailedError
from components.artifacts.manifest import Manifest, digest_of_files
from components.artifacts.rows import draft_text, read_rows
from components.artifacts.storage import open_storage
from components.artifacts.tally import Tally
from components.artifacts.tokens import draft_tokens
from components.model.config import ModelConfig
from components.model.folder import export_model
from components.model.initialization import initialize
from components.model.tensors import Tensors, initial_tensors
from components.stage.execution import Outcome
from components.training import trainer
from components.training.checkpoints import DiskCheckpoints
from components.training.config import TrainingConfig
from components.training.launch import Alone
from components.training.optimizer import Optimizer
from components.training.torch_learner import TorchLearner

EOS, VOCABULARY = 0, 24
SHAPE = {"context_length": 16, "num_layers": 2, "num_heads": 2, "hidden_size": 32, "window": 8}
SMALL: dict[str, Any] = {
    "model": SHAPE,
    "max_steps": 24,
    "batch_size": 4,
    "log_every_steps": 4,
    "checkpoint_every_steps": 5,
}
Inputs = dict[str, Artifact]


def small_shape() -> ModelConfig:
    return ModelConfig(vocabulary_size=VOCABULARY, **SHAPE)


def small_tensors() -> Tensors:
    return initial_tensors(small_shape(), 0)


MakeStep = Callable[..., Outcome]


def publish(folder: Path, kind: str, drafts: Sequence[Draft]) -> Artifact:
    storage = open_storage(str(folder))
    writer = ArtifactWriter(storage)
    writer.commit(0, drafts, Tally())
    committed = writer.committed(0)
    assert committed is not None
    files = tuple(sorted(committed[0], key=lambda entry: (entry.part, entry.index, entry.name)))
    manifest = Manifest(
        step="test",
        version=1,
        kind=kind,
        key="0" * 32,
        digest=digest_of_files(files, frozenset()),
        files=files,
        tally=Tally(),
        measures={},
        config={},
        parents={},
        code_version="test",
    )
    storage.create("manifest.json", manifest.to_bytes())
    return Artifact.open(storage.uri)


def tokenizer_of(folder: Path, extension: dict[str, Any] | None = None) -> Artifact:
    files = {"tokenizer.json": {"model": str(folder.name)}, "extension.json": extension}
    return publish(
        folder,
        "tokenizer",
        [
            draft_text("tokenizer", ".json", json.dumps(value), name=f"tokenizer/{name}")
            for name, value in files.items()
            if value is not None
        ],
    )


def tokens_of(
    folder: Path, tokenizer: Artifact, *, shuffled: bool = False, held_out: int = 6
) -> Artifact:
    """Documents that count up from a random token: easy to learn, unless they are shuffled."""
    random = np.random.default_rng(1)
    drafts = []
    for split, documents in (("training", 60), ("validation", held_out)):
        ids: list[int] = []
        offsets, sources = [0], []
        for number in range(documents):
            content = (random.integers(1, 20) + np.arange(23)) % 19 + 1
            ids += [*(random.permutation(content) if shuffled else content).tolist(), EOS]
            offsets.append(len(ids))
            source = dict.fromkeys(("source", "commit", "sha256", "language", "license"), "x")
            repo = f"{split}-{number % 3}"
            sources.append({**source, "repo": repo, "path": f"{number}.py", "size": 40})
        index = {
            "eos_id": EOS,
            "tokenizer_digest": tokenizer.manifest.digest,
            "vocabulary_size": VOCABULARY,
        }
        drafts += draft_tokens(split, np.array(ids, np.uint16), offsets, sources, index)
    return publish(folder, "tokens", drafts)


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    tokenizer = tokenizer_of(tmp_path / "tokenizer")
    return {"tokens": tokens_of(tmp_path / "tokens", tokenizer), "tokenizer": tokenizer}


def weights(outcome: Outcome) -> bytes:
    artifact = outcome.artifact
    entries = {entry.name: entry for entry in artifact.part("model")}
    return artifact.read(entries["model/model.safetensors"])


def model_folder(outcome: Outcome) -> Path:
    entry = outcome.artifact.part("model")[0]
    return outcome.artifact.path(entry).parent


def test_a_model_learns_what_can_be_learnt_and_nothing_else(
    make_step: MakeStep, inputs: Inputs, tmp_path: Path
) -> None:
    config = {**SMALL, "max_steps": 120, "muon_weight_decay": 0.0}
    learnt = make_step("training", inputs, **config).artifact.manifest.measures
    assert learnt["bits_per_byte"] < 0.6 * learnt["bits_per_byte_untrained"]
    noise = tokens_of(tmp_path / "noise", inputs["tokenizer"], shuffled=True)
    control = make_step("training", {**inputs, "tokens": noise}, **config)
    assert control.artifact.manifest.measures["bits_per_byte"] > 1.5 * learnt["bits_per_byte"]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_same_config_gives_the_same_digest_and_another_seed_another(
    make_step: MakeStep, inputs: Inputs, tmp_path: Path, optimizer: str
) -> None:
    config = {**SMALL, "optimizer": optimizer, "gradient_clip": 1.0, "gradient_accumulation": 2}
    first = make_step("training", inputs, data_root=str(tmp_path / "a"), **config)
    again = make_step("training", inputs, data_root=str(tmp_path / "b"), **config)
    assert weights(first) == weights(again)
    assert first.artifact.manifest.digest == again.artifact.manifest.digest
    other = make_step("training", inputs, **config, seed=1)
    assert weights(first) != weights(other)


def test_accumulated_gradients_are_those_of_the_whole_batch(
    make_step: MakeStep, inputs: Inputs
) -> None:
    one = make_step("training", inputs, **SMALL)
    two = make_step("training", inputs, **{**SMALL, "batch_size": 2, "gradient_accumulation": 2})
    assert one.artifact.manifest.measures["bits_per_byte"] == pytest.approx(
        two.artifact.manifest.measures["bits_per_byte"], abs=1e-4
    )


def test_bfloat16_learns_about_as_well(make_step: MakeStep, inputs: Inputs) -> None:
    exact = make_step("training", inputs, **SMALL).artifact.manifest.measures
    rough = make_step("training", inputs, **SMALL, dtype="bfloat16").artifact.manifest.measures
    assert rough["bits_per_byte"] != exact["bits_per_byte"]
    assert rough["bits_per_byte"] == pytest.approx(exact["bits_per_byte"], rel=0.05)


def test_the_folder_loads_in_transformers_with_the_published_validation_loss(
    make_step: MakeStep, inputs: Inputs
) -> None:
    outcome = make_step("training", inputs, **SMALL)
    model = transformers.AutoModelForCausalLM.from_pretrained(model_folder(outcome)).eval()
    ids = np.load(inputs["tokens"].path(inputs["tokens"].only("validation_ids")))
    stream = torch.from_numpy(np.concatenate([[EOS], ids]).astype(np.int64))
    nats = 0.0
    with torch.no_grad():
        for start in range(0, len(ids), 16):
            targets = stream[start + 1 : start + 17]
            logits = model(stream[start : start + len(targets)][None]).logits[0]
            loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
            nats += float(loss)
    measures = outcome.artifact.manifest.measures
    assert nats / len(ids) == pytest.approx(measures["loss_validation"], abs=1e-4)
    bits = nats / np.log(2) / (6 * 40)
    assert bits == pytest.approx(measures["bits_per_byte"], abs=1e-4)
    names = {path.name for path in model_folder(outcome).iterdir()}
    assert names == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    }


def test_records_and_the_page_tell_the_whole_run(make_step: MakeStep, inputs: Inputs) -> None:
    outcome = make_step("training", inputs, **SMALL, validate_every_steps=8)
    rows = read_rows(outcome.artifact, "records")
    losses = [row for row in rows if "training_loss" in row]
    assert [row["step"] for row in losses] == [4, 8, 12, 16, 20, 24]
    assert [row["tokens"] for row in losses] == [step * 4 * 16 for step in (4, 8, 12, 16, 20, 24)]
    names = {"step", "tokens", "training_loss", "learning_rate", "gradient_norm"}
    assert all(set(row) == names for row in losses)
    assert all(row["gradient_norm"] > 0 for row in losses)
    validated = [row for row in rows if "bits_per_byte" in row]
    assert [row["step"] for row in validated] == [0, 8, 16, 24]
    measures = outcome.artifact.manifest.measures
    assert validated[0]["bits_per_byte"] == measures["bits_per_byte_untrained"]
    assert validated[-1]["bits_per_byte"] == measures["bits_per_byte"]
    groups = read_rows(outcome.artifact, "validation")
    named = [(row["grouping"], row["name"]) for row in groups]
    repositories = [("repo", f"validation-{n}") for n in range(3)]
    assert named == [*repositories, ("source", "x"), ("language", "x")]
    for grouping in ("repo", "source", "language"):
        mine = [row for row in groups if row["grouping"] == grouping]
        assert sum(row["bytes"] for row in mine) == measures["validation_bytes"] == 240
    assert measures["bits_per_byte_x"] == pytest.approx(measures["bits_per_byte"])
    timings = read_rows(outcome.artifact, "timings")
    assert all(row["peak_memory_bytes"] > 1e6 for row in timings)
    assert all(row["tokens_per_second"] > 0 for row in timings)
    page = (Path(outcome.artifact.storage.uri) / "page.html").read_text()
    assert page.count("<svg") == 3
    assert "validation-1" in page
    assert "http://" not in page
    assert "https://" not in page


KILLED_RUN = """
import os, signal, sys
from components.artifacts import manifest
from components.stage.command import run_step_command
from components.stage.step import find_step
from components.training import checkpoints, trainer

def die(*arguments, **keywords):
    os.kill(os.getpid(), signal.SIGKILL)

moment, *argv = sys.argv[1:]
if moment == "in a step":
    gradients = trainer.Trainer._gradients
    trainer.Trainer._gradients = lambda self: die() if self._step == 13 else gradients(self)
if moment == "while a checkpoint is written":
    hashes = checkpoints._hashes
    checkpoints._hashes = lambda folder, group: (
        die() if list(folder.parent.glob("0*")) else hashes(folder, group)
    )
if moment == "before the manifest":
    manifest.Manifest.to_bytes = die
sys.exit(run_step_command(find_step("training"), argv))
"""


@pytest.mark.parametrize(
    "moment", ["in a step", "while a checkpoint is written", "before the manifest"]
)
def test_a_run_killed_at_any_moment_ends_in_the_same_weights_bit_by_bit(
    make_step: MakeStep, inputs: Inputs, tmp_path: Path, moment: str
) -> None:
    """Defect R4 too: a resumed run that read the data from its beginning would differ."""
    undisturbed = make_step("training", inputs, data_root=str(tmp_path / "whole"), **SMALL)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(SMALL))
    arguments = [f"--{name}={artifact.storage.uri}" for name, artifact in inputs.items()]
    arguments += [f"--output={tmp_path / 'out'}", f"--data-root={tmp_path / 'killed'}"]
    arguments += [f"--config={config}", "--threads=1"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_RUN, moment, *arguments],
        check=False,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
    )
    assert killed.returncode == -9, killed.stderr.decode()
    held = list((tmp_path / "killed").rglob("0000*/checkpoint.json"))
    assert held, "it was killed before any checkpoint"
    if moment == "while a checkpoint is written":
        assert list((tmp_path / "killed").rglob("unfinished/state/*")), "nothing was being written"
    resumed = make_step("training", inputs, data_root=str(tmp_path / "killed"), **SMALL)
    assert weights(resumed) == weights(undisturbed)
    assert resumed.artifact.manifest.digest == undisturbed.artifact.manifest.digest
    assert resumed.artifact.manifest.measures == undisturbed.artifact.manifest.measures


def test_a_damaged_checkpoint_is_passed_over_and_the_last_and_the_best_are_kept(
    tmp_path: Path,
) -> None:
    held = DiskCheckpoints(tmp_path, Alone(), limit=2)
    for step, bits in ((5, 2.0), (10, 1.0), (15, None), (20, 3.0), (25, 4.0)):
        held.save(step, lambda path: (path / "x").write_bytes(b"state"), {"losses": [step]}, bits)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [f"{n:08d}" for n in (10, 20, 25)]
    (tmp_path / "unfinished").mkdir()
    best, last = held.best(), held.last()
    assert (best and best.step, last and last.step) == (10, 25)
    assert last is not None
    assert last.history == {"losses": [25]}
    (last.state / "x").write_bytes(b"stale")
    again = held.last()
    assert again is not None
    assert again.step == 20
    assert not last.folder.exists()
    (again.folder / "checkpoint.json").write_bytes(b"{")
    (tmp_path / "00000010" / "state" / "x").unlink()
    assert held.last() is None


def fail_from(step: int, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """Make the loss, or the weights after an update, NaN in one step."""
    calls = iter(range(1_000_000))
    gradients, update = trainer.Trainer._gradients, Optimizer.step

    def broken_loss(self: trainer.Trainer) -> float:
        if self._step == step:
            with torch.no_grad():
                self._learner.model.output_weight.mul_(torch.nan)  # type: ignore[attr-defined]
        return gradients(self)

    def broken_update(self: Optimizer, factor: float, *, measure: bool) -> float | None:
        return update(self, torch.nan if next(calls) == step else factor, measure=measure)

    if broken == "loss":
        monkeypatch.setattr(trainer.Trainer, "_gradients", broken_loss)
    else:
        monkeypatch.setattr(Optimizer, "step", broken_update)


@pytest.mark.parametrize(
    ("broken", "step", "message"),
    [("loss", 12, "a finite loss, got nan after 12 steps"), ("weights", 9, "finite weights")],
)
def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_good_checkpoint(
    make_step: MakeStep,
    inputs: Inputs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    step: int,
    message: str,
) -> None:
    fail_from(step, monkeypatch, broken)
    with pytest.raises(StepFailedError, match=message) as caught:
        make_step("training", inputs, **SMALL)
    assert "\n" not in str(caught.value)
    assert "in the batch whose first block begins at training token" in str(caught.value)
    (scratch,) = (path.parent.parent for path in (tmp_path / "data").rglob("0*5/checkpoint.json"))
    last = DiskCheckpoints(scratch, Alone()).last()
    assert last is not None
    assert last.step == (10 if broken == "loss" else 5)
    learner = TorchLearner(TrainingConfig(batch_size=4), small_shape(), small_tensors())
    learner.read(last.state)
    assert learner.is_finite()


def test_tokens_of_another_tokenizer_are_refused(
    make_step: MakeStep, inputs: Inputs, tmp_path: Path
) -> None:
    other = tokenizer_of(tmp_path / "other")
    with pytest.raises(ArtifactError, match="give the tokenizer that the tokens were packed with"):
        make_step("training", {**inputs, "tokenizer": other}, **SMALL)


def test_a_vocabulary_larger_than_the_embedding_is_refused(
    make_step: MakeStep, inputs: Inputs
) -> None:
    shape = {**SHAPE, "vocabulary_size": VOCABULARY - 1}
    with pytest.raises(
        ConfigError, match="vocabulary_size of at least 24, the tokenizer's, got 23"
    ):
        make_step("training", inputs, **{**SMALL, "model": shape})


def test_nothing_held_out_is_refused_before_training(
    make_step: MakeStep, inputs: Inputs, tmp_path: Path
) -> None:
    tokens = tokens_of(tmp_path / "all", inputs["tokenizer"], held_out=0)
    with pytest.raises(ArtifactError, match="held-out documents"):
        make_step("training", {**inputs, "tokens": tokens}, **SMALL)


def embedding(outcome: Outcome) -> torch.Tensor:
    held: torch.Tensor = safetensors.torch.load(weights(outcome))["transformer.wte.weight"]
    return held


def pretrained_folder(folder: Path, rows: int) -> Path:
    model = initialize(ModelConfig(vocabulary_size=rows, **SHAPE), 77)
    folder.mkdir(exist_ok=True)
    for name, data in export_model(model, bos_id=EOS, eos_id=EOS).items():
        (folder / name).write_bytes(data)
    return folder


STILL = {**SMALL, "max_steps": 1, "learning_rate": 0.0, "muon_learning_rate": 0.0}
"""One step that changes nothing: what comes out is what training starts from."""


@pytest.mark.parametrize("rows", [0, VOCABULARY - 4, VOCABULARY])
def test_added_tokens_start_as_copies_and_the_eos_row_is_untouched(
    make_step: MakeStep, tmp_path: Path, rows: int
) -> None:
    """Defect T1, from random weights and from a pretrained model of either size."""
    new = list(range(VOCABULARY - 4, VOCABULARY))
    base = {"new_token_ids": new, "copy_from_id": 7, "base_vocabulary_size": VOCABULARY - 4}
    tokenizer = tokenizer_of(tmp_path / "extended", base)
    tokens = tokens_of(tmp_path / "tokens", tokenizer)
    config, start = dict(STILL), initialize(ModelConfig(vocabulary_size=VOCABULARY, **SHAPE), 0)
    if rows:
        folder = pretrained_folder(tmp_path / "pretrained", rows)
        config["pretrained_folder"] = str(folder)
        start = initialize(ModelConfig(vocabulary_size=rows, **SHAPE), 77)
    outcome = make_step("training", {"tokens": tokens, "tokenizer": tokenizer}, **config)
    held = embedding(outcome)
    assert torch.equal(held[: new[0]], start.output_weight[: new[0]])
    assert torch.equal(held[EOS], start.output_weight[EOS])
    assert all(torch.equal(held[token], start.output_weight[7]) for token in new)


def test_from_scratch_is_random_and_pretrained_is_not(
    make_step: MakeStep, inputs: Inputs, tmp_path: Path
) -> None:
    """Defect R2: GPT-CC's command for a model from scratch loaded pretrained weights."""
    scratch = make_step("training", inputs, **STILL)
    random = initialize(ModelConfig(vocabulary_size=VOCABULARY, **SHAPE), 0)
    assert torch.equal(embedding(scratch), random.output_weight)
    folder = pretrained_folder(tmp_path / "pretrained", VOCABULARY)
    tuned = make_step("training", inputs, **STILL, pretrained_folder=str(folder))
    assert weights(tuned) == (folder / "model.safetensors").read_bytes()


def test_other_pretrained_weights_are_another_key(
    make_step: MakeStep, inputs: Inputs, tmp_path: Path
) -> None:
    folder = pretrained_folder(tmp_path / "pretrained", VOCABULARY)
    config = {**STILL, "pretrained_folder": str(folder)}
    first = make_step("training", inputs, **config)
    assert make_step("training", inputs, **config).reused
    other = initialize(ModelConfig(vocabulary_size=VOCABULARY, **SHAPE), 78)
    (folder / "model.safetensors").write_bytes(
        export_model(other, bos_id=EOS, eos_id=EOS)["model.safetensors"]
    )
    second = make_step("training", inputs, **config)
    assert second.artifact.manifest.key != first.artifact.manifest.key
    assert weights(second) != weights(first)


def test_a_pretrained_model_that_is_missing_or_of_another_shape_is_refused(
    make_step: MakeStep, inputs: Inputs, tmp_path: Path
) -> None:
    folder = pretrained_folder(tmp_path / "pretrained", VOCABULARY)
    config = {**SMALL, "pretrained_folder": str(folder)}
    with pytest.raises(ConfigError, match=r"expected model.num_layers 2, .*got 3"):
        make_step("training", inputs, **{**config, "model": {**SHAPE, "num_layers": 3}})
    shutil.rmtree(folder)
    with pytest.raises(ConfigError, match=r"pretrained_folder .* leave it empty"):
        make_step("training", inputs, **config)
