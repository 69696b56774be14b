"""The order of the step: settle the prompts, plan batches, write them, count."""

import dataclasses
import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from components.artifacts.artifact import Artifact, ArtifactWriter
from components.artifacts.errors import ArtifactError, ConfigError
from components.artifacts.rows import draft_rows
from components.artifacts.tally import Tally
from components.artifacts.tokens import read_tokens
from components.generation.batches import Batch, plan_continuations, plan_samples
from components.generation.config import GenerationConfig
from components.generation.models import load_codec, model_config
from components.generation.passages import choose_passages
from components.generation.prompts import keeps_boundary
from components.generation.writing import Row, write_batch
from components.model.text import TextCodec
from components.problems.benchmark import Problem, load_benchmarks
from components.stage.engine import Engine
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
        codec,
        prefix=config.prefix_tokens,
        following=config.continuation_tokens,
        count=config.num_continuations,
        seed=config.seed,
    )
    batches += plan_continuations(passages, config)
    rows = write_batches(batches, model, output, engine)
    tally = commit_rows(rows, config, output)
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
    kept = keeps_boundary(codec, _problems(config))
    return dataclasses.replace(config, prompt="raw" if kept else "stripped")


def write_batches(
    batches: Sequence[Batch], model: Artifact, output: ArtifactWriter, engine: Engine
) -> Iterator[Row]:
    """The rows of all batches. What was written before a crash lies in the scratch folder."""
    folder = output.storage.scratch()
    paths = [folder / f"batch-{index:05d}.jsonl" for index in range(len(batches))]
    missing = [index for index, path in enumerate(paths) if not path.exists()]
    work = functools.partial(write_batch, model=model)
    written = engine.map_here(work, [batches[index] for index in missing], "batches")
    for index, rows in zip(missing, written, strict=True):
        unfinished = paths[index].with_suffix(".unfinished")
        unfinished.write_bytes(draft_rows("batch", rows).data)
        unfinished.replace(paths[index])
    for path in paths:
        yield from map(json.loads, path.read_bytes().splitlines())


def commit_rows(rows: Iterable[Row], config: GenerationConfig, output: ArtifactWriter) -> Tally:
    """Sort the rows, count them, and commit them as the one place of the output."""
    order = {
        (problem.benchmark, problem.task_id): place
        for place, problem in enumerate(_problems(config))
    }
    samples: list[Row] = []
    continuations: list[Row] = []
    tally = Tally()
    for row in rows:
        (continuations if "author" in row else samples).append(row)
        if "author" in row:
            tally.count(f"continuations_{row['author']}")
            continue
        tally.count("samples")
        tally.count("sample_tokens", row["num_tokens"])
        tally.count(f"finish_{row['finish']}")
        tally.count("prompts_cut", int(row["prompt_cut"]))
    samples.sort(key=lambda row: (order[row["benchmark"], row["task_id"]], row["sample"]))
    drafts = [draft_rows("samples", samples), draft_rows("continuations", continuations)]
    output.commit(0, drafts, tally)
    return tally


def _problems(config: GenerationConfig) -> list[Problem]:
    return [
        problem
        for benchmark in load_benchmarks(config.benchmarks)
        for problem in benchmark.problems
    ]


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
