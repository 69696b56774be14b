"""The order of the step: settle the prompts, plan batches, write them, count."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Literal

from components.artifacts.artifact import Artifact, ArtifactWriter, Draft
from components.artifacts.errors import ArtifactError, ConfigError
from components.artifacts.rows import draft_rows
from components.artifacts.tally import Tally
from components.artifacts.tokens import read_tokens
from components.generation.batches import (
    Batch,
    ContinuationBatch,
    SampleBatch,
    plan_continuations,
    plan_samples,
)
from components.generation.completion import Completion, Prompt, write_completions
from components.generation.config import GenerationConfig
from components.generation.models import load_codec, load_model, model_config
from components.generation.passages import choose_passages
from components.generation.prompts import keeps_boundary
from components.model.text import TextCodec
from components.problems.benchmark import load_benchmarks
from components.stage.engine import Engine, map_shards
from components.stage.step import Report


def run(
    inputs: Mapping[str, Artifact],
    output: ArtifactWriter,
    config: GenerationConfig,
    engine: Engine,
) -> Report:
    """Write samples and continuations."""
    model = inputs["model"]
    codec = load_codec(model)
    context = model_config(model).context_length
    check_lengths(config, context)
    check_tokenizer(inputs["tokens"], codec)
    config = settle_prompt(config, codec)
    batches: list[Batch] = []
    for index, benchmark in enumerate(load_benchmarks(config.benchmarks)):
        batches += plan_samples(benchmark, index, codec, config, context)
    passages = choose_passages(
        read_tokens(inputs["tokens"], "validation"),
        prefix=config.prefix_tokens,
        following=config.continuation_tokens,
        count=config.num_continuations,
        seed=config.seed,
    )
    batches += plan_continuations(passages, config)
    work = functools.partial(write_batch, model=model)
    tally = map_shards(engine, output, work, batches, "batches")
    return Report(tally=tally, measures=measures_of(tally), markdown=_markdown(tally, config))


def check_lengths(config: GenerationConfig, context: int) -> None:
    """Refuse more new tokens than the model has positions for.

    Raises:
        ConfigError: a length does not fit.
    """
    lengths = {"max_new_tokens": max(config.max_new_tokens)}
    if config.num_continuations:
        total = config.prefix_tokens + config.continuation_tokens
        lengths["prefix_tokens + continuation_tokens"] = total - 1
    for name, length in lengths.items():
        if length >= context:
            raise ConfigError(
                f"expected {name} below the model's context of {context} tokens, got "
                f"{length} in GenerationConfig: lower it"
            )


def check_tokenizer(tokens: Artifact, codec: TextCodec) -> None:
    """Refuse token shards of another vocabulary than the model's.

    Raises:
        ArtifactError: an id lies past the vocabulary.
    """
    for shard in read_tokens(tokens, "validation"):
        largest = int(shard.ids.max()) if len(shard.ids) else 0
        if largest >= codec.vocabulary_size:
            raise ArtifactError(
                f"expected ids below {codec.vocabulary_size}, got {largest} in "
                f"{tokens.storage.uri}: give the tokens that the model was trained on"
            )


def settle_prompt(config: GenerationConfig, codec: TextCodec) -> GenerationConfig:
    """Replace `auto` by what the tokenizer asks for."""
    if config.prompt != "auto":
        return config
    benchmarks = load_benchmarks(config.benchmarks)
    problems = [problem for benchmark in benchmarks for problem in benchmark.problems]
    choice: Literal["raw", "stripped"] = "raw" if keeps_boundary(codec, problems) else "stripped"
    return dataclasses.replace(config, prompt=choice)


def write_batch(batch: Batch, model: Artifact) -> tuple[list[Draft], Tally]:
    """Write one batch of rows."""
    if isinstance(batch, SampleBatch):
        return _write_samples(batch, model)
    return _write_continuations(batch, model)


def _write_samples(batch: SampleBatch, model: Artifact) -> tuple[list[Draft], Tally]:
    codec = load_codec(model)
    completions = write_completions(
        load_model(model, "trained"), codec, batch.prompts, batch.sampling
    )
    rows = [
        {
            "benchmark": problem.benchmark,
            "task_id": problem.task_id,
            "sample": number,
            "prompt": problem.prompt,
            "completion": completion.text,
            "num_tokens": completion.num_tokens,
            "finish": completion.finish,
        }
        for problem, number, completion in zip(
            batch.problems, batch.numbers, completions, strict=True
        )
    ]
    tally = Tally(counts={"samples": len(rows), "prompts_cut": batch.num_cut})
    for completion in completions:
        tally.count("sample_tokens", completion.num_tokens)
        tally.count(f"finish_{completion.finish}")
    return [draft_rows("samples", rows)], tally


def _write_continuations(batch: ContinuationBatch, model: Artifact) -> tuple[list[Draft], Tally]:
    codec = load_codec(model)
    if batch.author == "real":
        texts = [codec.decode(passage.following) for passage in batch.passages]
    else:
        texts = [completion.text for completion in _continue(batch, model, codec)]
    rows = [
        {
            "author": batch.author,
            "index": batch.first + place,
            "repo": passage.repo,
            "path": passage.path,
            "prefix": codec.decode(passage.prefix),
            "text": text,
        }
        for place, (passage, text) in enumerate(zip(batch.passages, texts, strict=True))
    ]
    return [draft_rows("continuations", rows)], Tally(
        counts={f"continuations_{batch.author}": len(rows)}
    )


def _continue(batch: ContinuationBatch, model: Artifact, codec: TextCodec) -> list[Completion]:
    """Both models get the same random numbers for a passage."""
    prompts = [
        Prompt(f"continuation/{batch.first + place}", passage.prefix)
        for place, passage in enumerate(batch.passages)
    ]
    return write_completions(load_model(model, batch.author), codec, prompts, batch.sampling)


def measures_of(tally: Tally) -> dict[str, float]:
    """The numbers of the step."""
    counts = tally.counts
    samples = counts.get("samples", 0)
    return {
        "num_samples": float(samples),
        "num_continuations": float(counts.get("continuations_trained", 0)),
        "tokens_generated": float(counts.get("sample_tokens", 0)),
        "finished_by_stop": counts.get("finish_stop", 0) / samples if samples else 0.0,
        "finished_by_eos": counts.get("finish_eos", 0) / samples if samples else 0.0,
        "prompts_cut": float(counts.get("prompts_cut", 0)),
    }


def _markdown(tally: Tally, config: GenerationConfig) -> str:
    text = f"Prompts were given {config.prompt}."
    held_out = tally.counts.get("continuations_trained", 0)
    if held_out < config.num_continuations:
        text += (
            f" The held-out split has {held_out} Python passages of "
            f"{config.prefix_tokens + config.continuation_tokens} tokens, "
            f"{config.num_continuations} were asked for."
        )
    return text
