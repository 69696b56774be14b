"""The order of the step: settle the prompts, plan batches, write them, count."""

import dataclasses
import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from components.artifacts.artifact import Artifact, ArtifactWriter
from components.artifacts.errors import ArtifactError, ConfigError
from components.artifacts.rows import draft_rows
from components.artifacts.tally import Tally
from components.artifacts.tokens import read_tokens
from components.generation.arithmetic import Arithmetic, settle_arithmetic
from components.generation.batches import (
    Batch,
    SampleBatch,
    name_of,
    plan_continuations,
    plan_samples,
)
from components.generation.config import GenerationConfig
from components.generation.models import ModelSource, load_model
from components.generation.passages import choose_passages
from components.generation.prompts import keeps_boundary
from components.generation.sampling import SampledModel
from components.generation.writing import Row, write_batch
from components.model.text import TextCodec
from components.problems.benchmark import Benchmark, load_benchmarks
from components.stage.engine import Engine
from components.stage.step import Report


def run(
    inputs: Mapping[str, Artifact],
    output: ArtifactWriter,
    config: GenerationConfig,
    engine: Engine,
) -> Report:
    """Write samples and continuations."""
    source = ModelSource.of_artifact(inputs["model"])
    arithmetic = settle_arithmetic(config.dtype)
    model = load_model(source, "trained", arithmetic)
    config = settle_lengths(config, model.context_length)
    tokens = inputs.get("tokens")
    if tokens is not None:
        check_tokenizer(tokens, model.codec)
    benchmarks = load_benchmarks(config.benchmarks)
    config = settle_prompt(config, model.codec, benchmarks)
    batches: list[Batch] = [*plan(benchmarks, model, config)]
    passages = choose_passages(
        read_tokens(tokens, "validation") if tokens is not None else (),
        model.codec,
        prefix=config.prefix_tokens,
        following=config.continuation_tokens,
        count=config.num_continuations,
        seed=config.seed,
    )
    batches += plan_continuations(passages, config)
    rows = write_batches(batches, source, arithmetic, output.storage.scratch(), engine)
    tally = commit_rows(rows, benchmarks, output)
    return Report(
        tally=tally,
        measures=measures_of(tally, config),
        markdown=describe(tally, config, model, arithmetic),
    )


def sample_problems(
    source: ModelSource, config: GenerationConfig, scratch: Path, engine: Engine
) -> tuple[list[Row], str]:
    """The samples of any model's folder for the config's benchmarks, without a pipeline around it.

    Args:
        source: `ModelSource.of_folder(folder)`.
        config: what is sampled; nothing is continued, so the fields of continuations do nothing.
        scratch: a folder that exists; what was written before a crash is taken up from it.
        engine: who does the work.

    Returns:
        The rows in the order of benchmark, problem, temperature and sample, and a few lines about
        how they were made.

    Raises:
        ConfigError: a benchmark is unknown, or more tokens are asked for than the model has room.
        ArtifactError: the folder holds no model that can be sampled.
        MissingExtraError: the model needs transformers, which is not installed.
    """
    arithmetic = settle_arithmetic(config.dtype)
    model = load_model(source, "trained", arithmetic)
    config = dataclasses.replace(config, num_continuations=0)
    config = settle_lengths(config, model.context_length)
    benchmarks = load_benchmarks(config.benchmarks)
    config = settle_prompt(config, model.codec, benchmarks)
    batches = plan(benchmarks, model, config)
    rows = [*write_batches(batches, source, arithmetic, scratch, engine)]
    tally = count_rows(rows)
    return in_order(rows, benchmarks), describe(tally, config, model, arithmetic)


def plan(
    benchmarks: Sequence[Benchmark], model: SampledModel, config: GenerationConfig
) -> list[SampleBatch]:
    """The batches of all benchmarks."""
    return [
        batch
        for index, benchmark in enumerate(benchmarks)
        for batch in plan_samples(benchmark, index, model, config)
    ]


def settle_lengths(config: GenerationConfig, context: int) -> GenerationConfig:
    """Replace the new tokens that are 0 by what fits, and refuse more than the model has room for.

    Raises:
        ConfigError: a length does not fit.
    """
    config = config.settled(context)
    total = config.prefix_tokens + config.continuation_tokens if config.num_continuations else 0
    lengths = (
        ("max_new_tokens", max(config.max_new_tokens), context - 1, ", or give 0 for what fits"),
        ("prefix_tokens + continuation_tokens", total, context, ""),
    )
    for name, length, largest, advice in lengths:
        if length > largest:
            raise ConfigError(
                f"expected {name} of at most {largest}, as the model's context is {context} "
                f"tokens, got {length} in GenerationConfig: lower it{advice}"
            )
    return config


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


def settle_prompt(
    config: GenerationConfig, codec: TextCodec, benchmarks: Sequence[Benchmark]
) -> GenerationConfig:
    """Replace `auto` by what the tokenizer asks for."""
    if config.prompt != "auto":
        return config
    problems = [problem for benchmark in benchmarks for problem in benchmark.problems]
    kept = keeps_boundary(codec, problems)
    return dataclasses.replace(config, prompt="raw" if kept else "stripped")


def write_batches(
    batches: Sequence[Batch],
    source: ModelSource,
    arithmetic: Arithmetic,
    scratch: Path,
    engine: Engine,
) -> Iterator[Row]:
    """The rows of all batches. What was written before a crash lies in the scratch folder.

    A batch's file is named by all that decides its rows, so another plan never reads it.
    """
    names = [name_of(batch, source.digest, arithmetic) for batch in batches]
    paths = [scratch / f"batch-{name}.jsonl" for name in names]
    missing = [
        index
        for index, (path, batch) in enumerate(zip(paths, batches, strict=True))
        if not _holds(path, len(batch))
    ]
    work = functools.partial(write_batch, source=source, arithmetic=arithmetic)
    todo = [batches[index] for index in missing]
    # One process feeds a GPU; a processor's cores get one each.
    on_gpu = arithmetic.device == "cuda"
    written = map(work, todo) if on_gpu else engine.map_here(work, todo, "batches")
    for index, rows in zip(missing, written, strict=True):
        unfinished = paths[index].with_suffix(".unfinished")
        unfinished.write_bytes(draft_rows("batch", rows).data)
        unfinished.replace(paths[index])
    for path in paths:
        yield from map(json.loads, path.read_bytes().splitlines())


def _holds(path: Path, num_rows: int) -> bool:
    """Whether a file of the scratch folder is whole."""
    if not path.exists():
        return False
    data = path.read_bytes()
    return data.count(b"\n") == num_rows and data.endswith(b"\n")


def commit_rows(
    rows: Iterable[Row], benchmarks: Sequence[Benchmark], output: ArtifactWriter
) -> Tally:
    """Sort the rows, count them, and commit them as the one place of the output."""
    samples: list[Row] = []
    continuations: list[Row] = []
    for row in rows:
        (continuations if "author" in row else samples).append(row)
    tally = count_rows([*samples, *continuations])
    samples = in_order(samples, benchmarks)
    drafts = [draft_rows("samples", samples), draft_rows("continuations", continuations)]
    output.commit(0, drafts, tally)
    return tally


def in_order(samples: Iterable[Row], benchmarks: Sequence[Benchmark]) -> list[Row]:
    """Samples by benchmark, problem, temperature and number."""
    problems = [problem for benchmark in benchmarks for problem in benchmark.problems]
    order = {(one.benchmark, one.task_id): place for place, one in enumerate(problems)}
    return sorted(
        samples,
        key=lambda row: (
            order[row["benchmark"], row["task_id"]],
            row["temperature"],
            row["sample"],
        ),
    )


def count_rows(rows: Iterable[Row]) -> Tally:
    """The counts of the step."""
    tally = Tally()
    for row in rows:
        if "author" in row:
            tally.count(f"continuations_{row['author']}")
            continue
        tally.count("samples")
        tally.count("sample_tokens", row["num_tokens"])
        tally.count(f"finish_{row['finish']}")
        tally.count("prompts_cut", int(row["prompt_cut"]))
        tally.count("prompts_infilling", int(row["prompt_form"] == "prefix_suffix_middle"))
        tally.count("samples_trimmed", int(row["trimmed_lines"] > 0))
        tally.count("lines_trimmed", row["trimmed_lines"])
        tally.count("samples_blank", int(not row["completion"].strip()))
    return tally


def measures_of(tally: Tally, config: GenerationConfig) -> dict[str, float]:
    """The numbers of the step."""
    counts = tally.counts
    samples = counts.get("samples", 0)
    return {
        "num_samples": float(samples),
        "max_new_tokens": float(max(config.max_new_tokens)),
        "num_continuations": float(counts.get("continuations_trained", 0)),
        "tokens_generated": float(counts.get("sample_tokens", 0)),
        "finished_by_stop": counts.get("finish_stop", 0) / samples if samples else 0.0,
        "finished_by_eos": counts.get("finish_eos", 0) / samples if samples else 0.0,
        "prompts_cut": float(counts.get("prompts_cut", 0)),
        "prompts_infilling": float(counts.get("prompts_infilling", 0)),
        "samples_trimmed": float(counts.get("samples_trimmed", 0)),
        "lines_trimmed": float(counts.get("lines_trimmed", 0)),
        "samples_blank": float(counts.get("samples_blank", 0)),
    }


def describe(
    tally: Tally, config: GenerationConfig, model: SampledModel, arithmetic: Arithmetic
) -> str:
    """How the samples were made, in a few lines."""
    text = (
        f"Prompts were given {config.prompt}. The model is a {model.architecture}, computed in "
        f"{arithmetic.dtype} on {arithmetic.device}. Samples have at most "
        f"{' or '.join(map(str, config.max_new_tokens))} tokens, of a context of "
        f"{model.context_length}."
    )
    trimmed = tally.counts.get("samples_trimmed", 0)
    if trimmed:
        lines = tally.counts["lines_trimmed"]
        text += f" Incomplete lines were taken off the end of {trimmed} samples, {lines} in all."
    infilling = tally.counts.get("prompts_infilling", 0)
    if infilling:
        text += f" {infilling} samples saw the code that follows, by prefix, suffix and middle."
    held_out = tally.counts.get("continuations_trained", 0)
    if held_out < config.num_continuations:
        text += (
            f" The held-out split has {held_out} Python passages of "
            f"{config.prefix_tokens + config.continuation_tokens} tokens, "
            f"{config.num_continuations} were asked for."
        )
    return text
