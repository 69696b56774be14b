"""The rows of one batch, as a worker process writes them."""

from typing import Any

from components.generation.arithmetic import Arithmetic
from components.generation.batches import Batch, ContinuationBatch, SampleBatch
from components.generation.completion import Completion, Prompt, write_completions
from components.generation.models import ModelSource, load_model
from components.generation.trimming import Candidate, trim_completions

Row = dict[str, Any]


def write_batch(batch: Batch, source: ModelSource, arithmetic: Arithmetic) -> list[Row]:
    """Write one batch of rows, in its order."""
    if isinstance(batch, SampleBatch):
        return _write_samples(batch, source, arithmetic)
    return _write_continuations(batch, source, arithmetic)


def _write_samples(batch: SampleBatch, source: ModelSource, arithmetic: Arithmetic) -> list[Row]:
    model = load_model(source, "trained", arithmetic)
    completions = write_completions(model, [row.prompt for row in batch.rows], batch.sampling)
    texts = _texts(batch, completions)
    return [
        {
            "benchmark": row.problem.benchmark,
            "task_id": row.problem.task_id,
            "temperature": row.temperature,
            "sample": row.number,
            "prompt": row.problem.prompt,
            "prompt_cut": row.given.was_cut,
            "prompt_form": row.given.form,
            "completion": text,
            "trimmed_lines": num_trimmed,
            "num_tokens": completion.num_tokens,
            "finish": completion.finish,
        }
        for row, completion, (text, num_trimmed) in zip(batch.rows, completions, texts, strict=True)
    ]


def _texts(batch: SampleBatch, completions: list[Completion]) -> list[tuple[str, int]]:
    """The texts of a batch, and how many lines each has lost."""
    if not batch.trims:
        return [(completion.text, 0) for completion in completions]
    return trim_completions(
        [
            Candidate(row.problem.prompt, completion, row.problem.suffix)
            for row, completion in zip(batch.rows, completions, strict=True)
        ]
    )


def _write_continuations(
    batch: ContinuationBatch, source: ModelSource, arithmetic: Arithmetic
) -> list[Row]:
    author = "trained" if batch.author == "real" else batch.author
    model = load_model(source, author, arithmetic)
    codec = model.codec
    if batch.author == "real":
        texts = [codec.decode(passage.following) for passage in batch.passages]
    else:
        prompts = [
            # Both models get the same random numbers for a passage.
            Prompt(f"continuation/{batch.first + place}", passage.prefix, batch.temperature)
            for place, passage in enumerate(batch.passages)
        ]
        texts = [row.text for row in write_completions(model, prompts, batch.sampling)]
    return [
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
