"""What problems need that is not in the standard library: the sandbox has nothing else."""

import re
import sys
from collections.abc import Sequence

from components.artifacts.errors import ConfigError
from components.problems.benchmark import Benchmark, Problem

IMPORT = re.compile(
    r"^\s*(?:from\s+(?P<origin>[A-Za-z_]\w*)[\w.]*\s+import\s"
    r"|import\s+(?P<names>[A-Za-z_][\w.]*(?:\s+as\s+\w+)?(?:\s*,\s*[A-Za-z_][\w.]*(?:\s+as\s+\w+)?)*)"
    r"\s*(?:#.*)?$)",
    flags=re.MULTILINE,
)
"""A line that imports: found without parsing, because a prompt alone may not parse."""


def needed_packages(problems: Sequence[Problem]) -> list[str]:
    """Packages outside the standard library that prompts or tests import, sorted."""
    found = set()
    for text in {text for problem in problems for text in (_whole_lines(problem), problem.test)}:
        for match in IMPORT.finditer(text):
            names = match["origin"] or match["names"]
            found |= {name.split()[0].split(".")[0] for name in names.split(",") if name.strip()}
    return sorted(found - sys.stdlib_module_names)


def _whole_lines(problem: Problem) -> str:
    """The prompt, of an infilling problem without the line that breaks off (`import h`)."""
    end = problem.prompt.rfind("\n") + 1 if problem.suffix else len(problem.prompt)
    return problem.prompt[:end]


def check_runnable(benchmark: Benchmark) -> None:
    """Refuse a benchmark that the sandbox cannot judge, rather than score 0.

    Raises:
        ConfigError: it needs packages, or tests variables instead of a function.
    """
    packages = needed_packages(benchmark.problems)
    if packages:
        raise ConfigError(
            f"expected problems of the standard library alone, got {benchmark.name!r}, which "
            f"imports {', '.join(packages)}: the sandbox has no packages, leave it out of "
            "--benchmarks"
        )
    variables = [problem.task_id for problem in benchmark.problems if not problem.entry_point]
    if variables:
        raise ConfigError(
            f"expected problems that test a function, got {variables[0]!r} of {benchmark.name!r} "
            f"({len(variables)} such), which tests variables: the sandbox calls functions only, "
            "leave it out of --benchmarks"
        )
