"""The plan: batches of rows to write together."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from components.generation.completion import Prompt, Sampling
from components.generation.config import GenerationConfig
from components.generation.passages import Passage
from components.generation.prompts import ProblemPrompt, prompt_of
from components.generation.sampling import SampledModel
from components.problems.benchmark import Benchmark, Problem

Author = Literal["trained", "untrained", "real"]
Item = TypeVar("Item")


@dataclass(frozen=True)
class SampleRow:
    """One sample to write."""

    problem: Problem
    given: ProblemPrompt
    temperature: float
    number: int
    """Which sample of its problem and temperature it is."""

    @property
    def prompt(self) -> Prompt:
        """What is completed; its name names the random stream."""
        problem = self.problem
        name = f"{problem.benchmark}/{problem.task_id}/{self.temperature!r}/{self.number}"
        return Prompt(name, self.given.ids, self.temperature)


@dataclass(frozen=True)
class SampleBatch:
    """Samples of some problems of one benchmark."""

    rows: tuple[SampleRow, ...]
    sampling: Sampling
    trims: bool
    """Whether lines that the limit cut are taken off."""

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class ContinuationBatch:
    """Continuations of some passages by one author."""

    author: Author
    first: int
    """Index of the first passage."""

    passages: tuple[Passage, ...]
    temperature: float
    sampling: Sampling

    def __len__(self) -> int:
        return len(self.passages)


Batch = SampleBatch | ContinuationBatch


def name_of(batch: Batch, *settings: object) -> str:
    """A name for a batch's scratch file: another plan, model or arithmetic gives another name.

    Args:
        batch: what is written; its text decides.
        settings: whatever else does, such as the model's digest.
    """
    return hashlib.sha256(repr((batch, *settings)).encode(errors="backslashreplace")).hexdigest()


def plan_samples(
    benchmark: Benchmark, index: int, model: SampledModel, config: GenerationConfig
) -> list[SampleBatch]:
    """Cut a benchmark's rows into batches, the longest prompts first.

    Rows of one batch hold about equally long prompts: a row costs what the longest one does. The
    samples of a problem stay neighbours, of all temperatures: equal prompts are read once.

    Args:
        benchmark: its problems.
        index: the benchmark's place in the config.
        model: the model with its tokenizer.
        config: with `prompt` settled to raw or stripped.
    """
    num_samples, new_tokens = config.for_benchmark(index)
    sampling = Sampling(
        top_p=config.top_p,
        top_k=config.top_k,
        max_new_tokens=new_tokens,
        stop_strings=config.stop_strings,
        ends_at_eos=True,
        seed=config.seed,
    )
    limit, stripped = model.context_length - new_tokens, config.prompt == "stripped"
    given = [
        (problem, prompt_of(model, problem, stripped=stripped, limit=limit))
        for problem in benchmark.problems
    ]
    given.sort(key=lambda pair: -len(pair[1].ids))
    rows = [
        SampleRow(problem, prompt, temperature, number)
        for problem, prompt in given
        for temperature in config.temperatures
        for number in range(num_samples if temperature else 1)
    ]
    return [
        SampleBatch(tuple(batch), sampling, config.trim_incomplete)
        for batch in _cut(rows, config.batch_size)
    ]


def plan_continuations(
    passages: Sequence[Passage], config: GenerationConfig
) -> list[ContinuationBatch]:
    """Batches of continuations, author by author; what is real needs no model."""
    sampling = Sampling(
        top_p=config.top_p,
        top_k=config.top_k,
        max_new_tokens=config.continuation_tokens,
        stop_strings=(),
        ends_at_eos=False,
        seed=config.seed,
    )
    authors: tuple[Author, ...] = ("trained", "untrained", "real")
    temperature = config.continuation_temperature
    return [
        ContinuationBatch(author, number * config.batch_size, tuple(batch), temperature, sampling)
        for author in authors
        for number, batch in enumerate(_cut(passages, config.batch_size))
    ]


def _cut(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
