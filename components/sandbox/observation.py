"""What the step sees of its problems: their hashes, because tests decide verdicts."""

from typing import Any

from components.problems.benchmark import observe_benchmarks
from components.sandbox.config import SandboxConfig


def observe(config: SandboxConfig) -> dict[str, Any]:
    """The sha256 of each benchmark's rows by name.

    Raises:
        ConfigError: there is no such benchmark.
    """
    return {"benchmarks": observe_benchmarks(config.benchmarks)}
