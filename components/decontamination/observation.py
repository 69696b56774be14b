"""What the step sees beside its inputs: the benchmarks' files."""

from components.decontamination.config import DecontaminationConfig
from components.problems.benchmark import observe_benchmarks


def observe(config: DecontaminationConfig) -> dict[str, str]:
    """The sha256 of every benchmark's file by the benchmark's name."""
    return observe_benchmarks(config.benchmarks)
