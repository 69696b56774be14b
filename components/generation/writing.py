"""The rows of one batch, as a worker process writes them."""

from typing import Any

from components.artifacts.artifact import Artifact
from components.generation.batches import Batch, ContinuationBatch, SampleBatch
from components.generation.completion import Completion, Prompt, write_completions
from components.generation.models import load_codec, load_model
from components.model.text import TextCodec

Row = dict[str, Any]


def write_batch(batch: Batch, model: Artifact) -> list[Row]:
    """Write one batch of rows, in its order."""
    if isinstance(batch, SampleBatch):
        return _write_samples(batch, model)
    return _write_continuations(batch, model)


def _write_samples(batch: SampleBatch, model: Artifact) -> list[Row]:
    completions = write_completions(
        load_model(model, "trained"), load_codec(model), batch.prompts, batch.sampling
    )
    return [
        {
            "benchmark": problem.benchmark,
            "task_id": problem.task_id,
            "temperature": batch.sampling.temperature,
            "sample": number,
            "prompt": problem.prompt,
            "prompt_cut": was_cut,
            "completion": completion.text,
            "num_tokens": completion.num_tokens,
            "finish": completion.finish,
        }
        for problem, number, was_cut, completion in zip(
            batch.problems, batch.numbers, batch.were_cut, completions, strict=True
        )
    ]


def _write_continuations(batch: ContinuationBatch, model: Artifact) -> list[Row]:
    codec = load_codec(model)
    if batch.author == "real":
        texts = [codec.decode(passage.following) for passage in batch.passages]
    else:
        texts = [completion.text for completion in _continue(batch, model, codec)]
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


def _continue(batch: ContinuationBatch, model: Artifact, codec: TextCodec) -> list[Completion]:
    """Both models get the same random numbers for a passage."""
    prompts = [
        Prompt(f"continuation/{batch.first + place}", passage.prefix)
        for place, passage in enumerate(batch.passages)
    ]
    return write_completions(load_model(model, batch.author), codec, prompts, batch.sampling)
