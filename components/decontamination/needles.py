"""What to look for: the docstring and the solution of every problem, and their word n-grams.

A needle that is empty or short stands in any file, so it is refused and counted. The trap is real:
`ast.get_docstring` finds none in HumanEval/115, where an import stands before the docstring, and
an empty needle is a substring of every document.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import compress

from components.decontamination.config import DecontaminationConfig
from components.decontamination.folding import collapse, fold_case, tokens_of, words_of
from components.problems.benchmark import Benchmark, Problem

DOCSTRING = "benchmark_docstring"
SOLUTION = "benchmark_solution"
NGRAMS = "benchmark_ngrams"
RULES = (DOCSTRING, SOLUTION, NGRAMS)
"""The rules, which are the reasons of drops; a document's reason is the first that holds."""

MIN_NEEDLE_WORDS = 3
"""The search is led by the words inside a needle: without one it cannot find it."""

Gram = tuple[str, ...]

_DOCTEST = re.compile(r"^[ \t]*>>>.*(?:\n[ \t]*\S.*)*", re.MULTILINE)
"""A doctest's prompt and all up to the next blank line, as doctest reads it."""


@dataclass(frozen=True, slots=True)
class Needle:
    """A text whose copy in a document means that the document holds the problem."""

    rule: str
    text: str
    """Collapsed, as `folding.collapse` does it."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is looked for of one problem."""

    benchmark: str
    task_id: str
    needles: tuple[Needle, ...]
    refused: tuple[Needle, ...]
    """Docstrings and solutions that are empty or too short to be looked for."""

    grams: frozenset[Gram]
    """Word n-grams of docstring and solution; none where both have fewer words."""

    @property
    def name(self) -> str:
        """Benchmark and problem."""
        return f"{self.benchmark} {self.task_id}"

    @property
    def guarded(self) -> bool:
        """Whether any rule can find the problem."""
        return bool(self.needles or self.grams)


def targets_of(
    benchmarks: Iterable[Benchmark], config: DecontaminationConfig
) -> tuple[Target, ...]:
    """What to look for of every problem, in the benchmarks' order."""
    return tuple(
        _target(problem, config) for benchmark in benchmarks for problem in benchmark.problems
    )


def docstring_of(problem: Problem) -> str:
    """The text that asks for the function.

    The first string that stands as a statement in the body of the entry point, even behind other
    statements; the whole prompt where there is none.
    """
    try:
        tree = ast.parse(problem.prompt)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return problem.prompt
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name != problem.entry_point:
                continue
            for statement in node.body:
                match statement:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        return text
    return problem.prompt


def without_doctests(docstring: str) -> list[str]:
    """The prose before, between and after the doctests of a docstring."""
    return [piece for piece in _DOCTEST.split(docstring) if piece.strip()]


def grams_of(folded: str, ngram_words: int) -> Iterator[Gram]:
    """The word n-grams of a folded text, in order."""
    words = words_of(folded)
    for start in range(len(words) - ngram_words + 1):
        yield tuple(words[start : start + ngram_words])


def _target(problem: Problem, config: DecontaminationConfig) -> Target:
    pieces = without_doctests(docstring_of(problem))
    candidates = [Needle(DOCSTRING, collapse(piece)) for piece in pieces or [""]]
    candidates.append(Needle(SOLUTION, collapse(problem.canonical_solution)))
    telling = [_is_telling(needle.text, config) for needle in candidates]
    texts = [*pieces, problem.canonical_solution]
    grams = frozenset(
        gram for text in texts for gram in grams_of(fold_case(text), config.ngram_words)
    )
    return Target(
        benchmark=problem.benchmark,
        task_id=problem.task_id,
        needles=tuple(compress(candidates, telling)),
        refused=tuple(needle for needle, good in zip(candidates, telling, strict=True) if not good),
        grams=grams,
    )


def _is_telling(text: str, config: DecontaminationConfig) -> bool:
    return (
        len(text) >= config.min_needle_characters
        and len(tokens_of(text)) >= config.min_needle_tokens
        and len(words_of(text)) >= MIN_NEEDLE_WORDS
    )
