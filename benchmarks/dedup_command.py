"""The command `codekiln dedup` in a process of its own, with a clock around each of its kernels.

    python -m benchmarks.dedup_command SECONDS.json --documents DIR --output DIR ...

writes how many CPU seconds each kernel took in that very run; `benchmarks.dedup` reads them.
"""

import functools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.measuring import Cost, measure
from components.artifacts.artifact import Artifact


@dataclass(frozen=True)
class CommandCost:
    """What one run of the command cost, and how much of it its kernels took."""

    whole: Cost
    kernels_cpu_s: dict[str, float]


def run_command(documents: Artifact, folder: Path) -> CommandCost:
    """The whole command, reading and writing Parquet, with one worker."""
    folder.mkdir(parents=True, exist_ok=True)
    seconds = folder / "seconds.json"
    command = [sys.executable, "-m", "benchmarks.dedup_command", str(seconds)]
    command += ["--documents", documents.storage.uri, "--output", str(folder / "out")]
    command += ["--data-root", str(folder / "data"), "--workers", "1"]
    whole = measure(lambda: subprocess.run(command, check=True, capture_output=True))
    return CommandCost(whole, json.loads(seconds.read_text()))


def main() -> None:
    """Put the clocks on, run the command, write what they say."""
    from components.dedup import clusters, removal, shingles, spill
    from pipelines.cli import main as run_cli

    seconds: dict[str, float] = {}
    for module, name in (
        (shingles, "hash_documents"),
        (spill, "sign_documents"),
        (spill, "band_documents"),
        (spill, "buckets_of"),
        (clusters, "join_band"),
        (removal, "jaccard"),
    ):
        _put_clock(module, name, seconds)
    code = run_cli(["dedup", *sys.argv[2:]])
    Path(sys.argv[1]).write_text(json.dumps(seconds))
    sys.exit(code)


def _put_clock(module: ModuleType, name: str, seconds: dict[str, float]) -> None:
    """Count the CPU seconds of a function."""
    function: Callable[..., Any] = getattr(module, name)
    seconds[name] = 0.0

    @functools.wraps(function)
    def timed(*arguments: Any, **named: Any) -> Any:
        start = time.process_time()
        try:
            return function(*arguments, **named)
        finally:
            seconds[name] += time.process_time() - start

    setattr(module, name, timed)


if __name__ == "__main__":
    main()
