"""What the step sees of its surroundings: the problems' hashes, and how this machine computes."""

from typing import Any

from components.generation.arithmetic import settle_arithmetic
from components.generation.config import GenerationConfig
from components.problems.benchmark import observe_benchmarks


def observe(config: GenerationConfig) -> dict[str, Any]:
    """The sha256 of each benchmark's file by name; the device and the type of numbers.

    Raises:
        ConfigError: there is no such benchmark.
    """
    return {
        "benchmarks": observe_benchmarks(config.benchmarks),
        "arithmetic": settle_arithmetic(config.dtype).to_json(),
    }
