"""The order of training: start, train, score, publish."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from components.artifacts.artifact import Artifact, ArtifactWriter, Draft
from components.artifacts.canonical import sha256_hex
from components.artifacts.rows import draft_rows
from components.artifacts.storage import Storage
from components.artifacts.tally import Tally
from components.artifacts.tokens import read_tokens
from components.model.config import ModelConfig
from components.model.exchange import spell_folder
from components.model.names import count_parameters
from components.model.tensors import Tensors
from components.model.text import TextCodec
from components.stage.engine import Engine
from components.stage.step import Report
from components.training.answers import learned_tokens
from components.training.blocks import BlockStream
from components.training.bucket_checkpoints import BucketCheckpoints
from components.training.checkpoints import Checkpoints, DiskCheckpoints
from components.training.config import TrainingConfig
from components.training.launch import Group
from components.training.learner import make_learner
from components.training.page import group_head, group_rows, report_page
from components.training.records import History, Tracker, trackers
from components.training.schedule import tokens_before
from components.training.start import Vocabulary, read_vocabulary, starting_weights
from components.training.trainer import Trainer
from components.training.validation import GROUPINGS, HeldOut, Score

MODEL = "model"
"""The part that holds the Hugging Face folder."""


@dataclass(frozen=True)
class Trained:
    """What came out of training, on every process."""

    shape: ModelConfig
    tensors: Tensors
    vocabulary: Vocabulary
    history: History
    score: Score
    groups: dict[str, dict[str, Score]]
    """Held-out scores by repository, source and language."""


def run(
    inputs: Mapping[str, Artifact], output: ArtifactWriter, config: TrainingConfig, engine: Engine
) -> Report:
    """Train a model, score it on the held-out documents, and write its folder.

    Raises:
        ArtifactError: tokens of another tokenizer, too few of them, or nothing held out.
        ConfigError: a model that does not fit the vocabulary, pretrained weights or devices.
        StepFailedError: the loss is not a number any more, or the memory is too small.
        TerminatedError: SIGTERM came; a checkpoint is saved.
    """
    trained = train(inputs, config, engine.threads, output.storage)
    if output.committed(0) is None:
        drafts = _model_drafts(trained, inputs["tokenizer"])
        drafts += [
            draft_rows("records", trained.history.records),
            draft_rows("validation", _validation_rows(trained.groups)),
            draft_rows("timings", trained.history.timings),
        ]
        output.commit(0, drafts, Tally())
    measures = _measures(config, trained)
    return Report(
        tally=Tally(),
        measures=measures,
        markdown="\n\n".join(_markdown(name, one) for name, one in trained.groups.items()),
        html=report_page(trained.history, measures, trained.groups),
    )


def follow(
    inputs: Mapping[str, Artifact], output: Storage, config: TrainingConfig, engine: Engine
) -> None:
    """Train beside rank 0, which alone publishes."""
    train(inputs, config, engine.threads, output)


def train(
    inputs: Mapping[str, Artifact], config: TrainingConfig, threads: int, output: Storage
) -> Trained:
    """Train and score, on every process of the launch alike.

    Args:
        inputs: tokens and their tokenizer.
        config: what is computed.
        threads: of this process.
        output: the folder of the artifact; checkpoints lie beside it.
    """
    tokens, tokenizer = inputs["tokens"], inputs["tokenizer"]
    vocabulary = read_vocabulary(tokens, tokenizer)
    stream = _stream(config, tokens, tokenizer, vocabulary)
    held_out = HeldOut.of(read_tokens(tokens, "validation"), vocabulary.eos_id)
    with _reproducible(config, threads):
        shape, tensors = starting_weights(config, vocabulary)
        learner = make_learner(config, shape, tensors)
        checkpoints = _checkpoints(output, learner.group, config.save_total_limit)
        with _told(learner.group, output, config) as told:
            trainer = Trainer(config, shape, learner, stream, held_out, checkpoints, told)
            trainer.train()
            nats = trainer.finish()
        return Trained(
            shape=shape,
            tensors=learner.tensors(),
            vocabulary=vocabulary,
            history=trainer.history,
            score=held_out.score(nats),
            groups={name: held_out.score_groups(nats, name) for name in GROUPINGS},
        )


def _checkpoints(output: Storage, group: Group, limit: int) -> Checkpoints:
    """Where a run goes on from: on this disk, or in the bucket, which outlives this machine."""
    unfinished = output.unfinished()
    if unfinished is None:
        return DiskCheckpoints(output.scratch(), group, limit)
    return BucketCheckpoints(output.scratch(), group, limit, unfinished.child("checkpoints"))


def _stream(
    config: TrainingConfig, tokens: Artifact, tokenizer: Artifact, vocabulary: Vocabulary
) -> BlockStream:
    shards = read_tokens(tokens, "training")
    learned = None
    if config.answer_marker:
        codec = TextCodec.from_artifact(tokenizer)
        learned = learned_tokens(shards, codec, config.answer_marker)
    return BlockStream(shards, config.model.context_length, learned, vocabulary.size)


def _told(
    group: Group, output: Storage, config: TrainingConfig
) -> contextlib.AbstractContextManager[list[Tracker]]:
    """Who is told of the run: by the first process alone."""
    if group.rank > 0:
        return contextlib.nullcontext([])
    return trackers(output.scratch(), PurePosixPath(output.uri).name, config.to_json())


@contextlib.contextmanager
def _reproducible(config: TrainingConfig, threads: int) -> Iterator[None]:
    """Let a backend compute the same in every run; XLA does so by itself on processors and TPUs."""
    if config.backend == "jax":
        yield
        return
    from components.training.determinism import deterministic

    with deterministic(threads):
        yield


def _model_drafts(trained: Trained, tokenizer: Artifact) -> list[Draft]:
    """The files of the folder: the model's own, and the tokenizer's."""
    eos_id = trained.vocabulary.eos_id
    files = spell_folder(trained.shape, trained.tensors, bos_id=eos_id, eos_id=eos_id)
    for entry in tokenizer.part("tokenizer"):
        files[PurePosixPath(entry.name).name] = tokenizer.read(entry)
    return [
        Draft(
            part=MODEL,
            suffix=PurePosixPath(name).suffix,
            data=data,
            rows=1,
            digest=sha256_hex(data),
            name=f"{MODEL}/{name}",
        )
        for name, data in sorted(files.items())
    ]


def _measures(config: TrainingConfig, trained: Trained) -> dict[str, float]:
    records, score = trained.history.records, trained.score
    untrained = next(row["bits_per_byte"] for row in records if "bits_per_byte" in row)
    losses = [row["training_loss"] for row in records if "training_loss" in row]
    norms = [row["gradient_norm"] for row in records if "gradient_norm" in row]
    measures = {
        "bits_per_byte": score.bits_per_byte,
        "bits_per_byte_untrained": untrained,
        "loss_validation": score.loss,
        "loss_training": losses[-1],
        "gradient_norm": norms[-1],
        "parameters": count_parameters(trained.shape),
        "tokens_trained": tokens_before(config, config.max_steps),
        "validation_bytes": score.bytes,
    }
    for language, part in trained.groups["language"].items():
        measures[f"bits_per_byte_{_metric_name(language)}"] = part.bits_per_byte
    return measures


def _metric_name(language: str) -> str:
    """A language as a part of a metric's name: `c_sharp`."""
    spelt = language.lower().replace("+", "p").replace("#", "_sharp")
    return "".join(letter if letter.isalnum() else "_" for letter in spelt)


def _validation_rows(groups: Mapping[str, Mapping[str, Score]]) -> list[dict[str, object]]:
    return [
        {
            "grouping": grouping,
            "name": name,
            "documents": score.documents,
            "bytes": score.bytes,
            "tokens": score.tokens,
            "nats": score.nats,
            "bits_per_byte": score.bits_per_byte,
        }
        for grouping, scores in groups.items()
        for name, score in scores.items()
    ]


def _markdown(grouping: str, scores: Mapping[str, Score]) -> str:
    head = group_head(grouping)
    lines = [head, ("---",) * len(head), *group_rows(scores)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
