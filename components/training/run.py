"""The order of training: start, train, score, publish."""

from collections.abc import Mapping
from pathlib import PurePosixPath

from components.artifacts.artifact import Artifact, ArtifactWriter, Draft
from components.artifacts.canonical import sha256_hex
from components.artifacts.rows import draft_rows
from components.artifacts.tally import Tally
from components.artifacts.tokens import read_tokens
from components.model.folder import export_model
from components.model.names import count_parameters
from components.stage.engine import Engine
from components.stage.step import Report
from components.training.blocks import BlockStream
from components.training.config import TrainingConfig
from components.training.determinism import deterministic
from components.training.page import REPOSITORY_HEAD, report_page, repository_rows
from components.training.start import Vocabulary, read_vocabulary, starting_model
from components.training.trainer import Trainer
from components.training.validation import HeldOut, Score

MODEL = "model"
"""The part that holds the Hugging Face folder."""


def run(
    inputs: Mapping[str, Artifact], output: ArtifactWriter, config: TrainingConfig, engine: Engine
) -> Report:
    """Train a model, score it on the held-out documents, and write its folder.

    Raises:
        ArtifactError: tokens of another tokenizer, too few of them, or nothing held out.
        ConfigError: a model that does not fit the vocabulary or the pretrained weights.
        StepFailedError: the loss is not a number any more.
    """
    tokens, tokenizer = inputs["tokens"], inputs["tokenizer"]
    vocabulary = read_vocabulary(tokens, tokenizer)
    stream = BlockStream(read_tokens(tokens, "training"), config.model.context_length)
    held_out = HeldOut.of(read_tokens(tokens, "validation"), vocabulary.eos_id)
    with deterministic(engine.threads):
        model = starting_model(config, vocabulary)
        trainer = Trainer(config, model, stream, held_out, output.storage.scratch())
        trainer.train()
        nats = trainer.finish()
    score, repositories = held_out.score(nats), held_out.score_repositories(nats)
    if output.committed(0) is None:
        drafts = _model_drafts(trainer, tokenizer, vocabulary)
        drafts += [
            draft_rows("records", trainer.history.records),
            draft_rows("validation", [_row(name, one) for name, one in repositories.items()]),
            draft_rows("timings", trainer.history.timings),
        ]
        output.commit(0, drafts, Tally())
    measures = _measures(config, trainer, score)
    return Report(
        tally=Tally(),
        measures=measures,
        markdown=_markdown(repositories),
        html=report_page(trainer.history, measures, repositories),
    )


def _model_drafts(trainer: Trainer, tokenizer: Artifact, vocabulary: Vocabulary) -> list[Draft]:
    """The files of the folder: the model's own, and the tokenizer's."""
    files = export_model(trainer.model, bos_id=vocabulary.eos_id, eos_id=vocabulary.eos_id)
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


def _measures(config: TrainingConfig, trainer: Trainer, score: Score) -> dict[str, float]:
    records = trainer.history.records
    untrained = next(row["bits_per_byte"] for row in records if "bits_per_byte" in row)
    losses = [row["training_loss"] for row in records if "training_loss" in row]
    return {
        "bits_per_byte": score.bits_per_byte,
        "bits_per_byte_untrained": untrained,
        "loss_validation": score.loss,
        "loss_training": losses[-1],
        "parameters": count_parameters(trainer.model.config),
        "tokens_trained": config.max_steps * config.tokens_per_step,
        "validation_bytes": score.bytes,
    }


def _row(repository: str, score: Score) -> dict[str, str | int | float]:
    return {
        "repo": repository,
        "documents": score.documents,
        "bytes": score.bytes,
        "tokens": score.tokens,
        "nats": score.nats,
        "bits_per_byte": score.bits_per_byte,
    }


def _markdown(repositories: Mapping[str, Score]) -> str:
    lines = [REPOSITORY_HEAD, ("---",) * len(REPOSITORY_HEAD), *repository_rows(repositories)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
