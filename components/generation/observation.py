"""What the step sees of its problems: their hashes."""

from typing import Any

from components.generation.config import GenerationConfig
from components.problems.benchmark import observe_benchmarks


def observe(config: GenerationConfig) -> dict[str, Any]:
    """The sha256 of each benchmark's file by name.

    Raises:
        ConfigError: there is no such benchmark.
    """
    return {"benchmarks": observe_benchmarks(config.benchmarks)}
