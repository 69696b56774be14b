"""The plan: batches of rows to write together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from components.generation.completion import Prompt, Sampling
from components.generation.config import GenerationConfig
from components.generation.passages import Passage
from components.generation.prompts import prompt_ids
from components.model.text import TextCodec
from components.problems.benchmark import Benchmark, Problem

Author = Literal["trained", "untrained", "real"]
Item = TypeVar("Item")


@dataclass(frozen=True)
class SampleBatch:
    """Samples of some problems of one benchmark."""

    problems: tuple[Problem, ...]
    """[rows] the problem of each row."""

    numbers: tuple[int, ...]
    """[rows] which sample of its problem each row is."""

    prompts: tuple[Prompt, ...]
    sampling: Sampling
    were_cut: tuple[bool, ...]
    """[rows] whether a prompt lost its beginning."""


@dataclass(frozen=True)
class ContinuationBatch:
    """Continuations of some passages by one author."""

    author: Author
    first: int
    """Index of the first passage."""

    passages: tuple[Passage, ...]
    sampling: Sampling


Batch = SampleBatch | ContinuationBatch


def plan_samples(
    benchmark: Benchmark, index: int, codec: TextCodec, config: GenerationConfig, context: int
) -> list[SampleBatch]:
    """Cut a benchmark's rows into batches, the longest prompts first.

    Rows of one batch hold about equally long prompts: a row costs what the longest one does. The
    samples of a problem stay neighbours, because equal prompts are read once.

    Args:
        benchmark: its problems.
        index: the benchmark's place in the config.
        codec: the model's tokenizer.
        config: with `prompt` settled to raw or stripped.
        context: the model's context length.
    """
    num_samples, new_tokens = config.for_benchmark(index)
    limit = context - new_tokens
    rows: list[tuple[Problem, int, Prompt, bool]] = []
    for problem in benchmark.problems:
        text = problem.prompt.rstrip() if config.prompt == "stripped" else problem.prompt
        ids = prompt_ids(codec, text, limit)
        was_cut = len(codec.encode(text)) + 1 > limit
        for number in range(num_samples):
            name = f"{problem.benchmark}/{problem.task_id}/{number}"
            rows.append((problem, number, Prompt(name, ids), was_cut))
    rows.sort(key=lambda row: -len(row[2].ids))
    batches = []
    for temperature in config.temperatures:
        sampling = Sampling(
            temperature=temperature,
            top_p=config.top_p,
            top_k=config.top_k,
            max_new_tokens=new_tokens,
            stop_strings=config.stop_strings,
            ends_at_eos=True,
            seed=config.seed,
        )
        for batch in _cut(rows, config.batch_size):
            problems, numbers, prompts, were_cut = zip(*batch, strict=True)
            batches.append(SampleBatch(problems, numbers, prompts, sampling, were_cut))
    return batches


def plan_continuations(
    passages: Sequence[Passage], config: GenerationConfig
) -> list[ContinuationBatch]:
    """Batches of continuations, author by author; what is real needs no model."""
    sampling = Sampling(
        temperature=config.continuation_temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        max_new_tokens=config.continuation_tokens,
        stop_strings=(),
        ends_at_eos=False,
        seed=config.seed,
    )
    authors: tuple[Author, ...] = ("trained", "untrained", "real")
    return [
        ContinuationBatch(author, number * config.batch_size, tuple(batch), sampling)
        for author in authors
        for number, batch in enumerate(_cut(passages, config.batch_size))
    ]


def _cut(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
