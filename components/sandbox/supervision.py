"""Keep a worker process at work: hand it programs, outlive its death, end it with this process."""

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from components.sandbox.config import SandboxConfig

WORKER = Path(__file__).with_name("worker.py")
GRACE_S = 20.0
"""How long past a program's wall-clock limit its verdict may take: start and cleaning included."""

ATTEMPTS = 2
"""A program that the worker died with is tried once more, in a new worker."""

MAX_LINE_BYTES = 2**14


@dataclass(frozen=True)
class Verdict:
    """What became of a program."""

    verdict: str
    """passed, failed, timeout, crashed, memory, output or infra_error."""

    detail: str
    """An exception's type, a signal or a limit."""


class WorkerDiedError(RuntimeError):
    """The worker ended, hung, or answered something else than a verdict."""


@dataclass
class WorkerProcess:
    """One worker, started when first asked and replaced when it dies. Use as a context manager."""

    config: SandboxConfig
    flags: Sequence[str] = ()
    """Further flags of the worker."""

    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)
    folder: str = field(default="", init=False)
    """Where the worker's programs write; removed with it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def run(self, source: str) -> Verdict:
        """The verdict of one program; `infra_error` where the worker died with it each time."""
        for _ in range(ATTEMPTS):
            try:
                return self._ask(source)
            except (WorkerDiedError, BrokenPipeError):
                self.stop(kill=True)
        return Verdict("infra_error", "the worker died")

    def stop(self, kill: bool = False) -> None:
        """End the worker: it leaves when its input ends, and is killed where it must."""
        if self.process is None:
            return
        process, self.process = self.process, None
        if kill:
            process.kill()
        try:
            process.communicate(timeout=GRACE_S)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            process.kill()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> "subprocess.Popen[bytes]":
        """Start the worker with an environment of one variable: a fixed seed of `hash()`.

        A test that depends on the order of a set must read the same in every worker.
        """
        config = self.config
        self.folder = tempfile.mkdtemp(prefix="codekiln-sandbox-")
        limits = {
            "--cpu-s": config.timeout_s,
            "--wall-s": config.timeout_s * config.wall_factor,
            "--memory-bytes": config.max_memory_bytes,
            "--file-bytes": config.max_file_bytes,
            "--folder": self.folder,
            "--parent-pid": os.getpid(),
        }
        flags = [str(part) for pair in limits.items() for part in pair]
        return subprocess.Popen(
            [sys.executable, "-P", "-s", "-S", "-B", str(WORKER), *flags, *self.flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PYTHONHASHSEED": "0"},
            bufsize=0,
        )

    def _ask(self, source: str) -> Verdict:
        if self.process is None:
            self.process = self._start()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = json.dumps({"id": 0, "source": source}).encode() + b"\n"
        while line:
            line = line[self.process.stdin.write(line) :]
        wall_s = self.config.timeout_s * self.config.wall_factor
        answer = _read_line(self.process.stdout.fileno(), time.monotonic() + wall_s + GRACE_S)
        try:
            value = json.loads(answer)
            return Verdict(value["verdict"], value["detail"])
        except (ValueError, TypeError, KeyError) as error:
            raise WorkerDiedError("expected a verdict") from error


def _read_line(descriptor: int, deadline: float) -> bytes:
    """One line from a pipe, before a deadline."""
    line = b""
    while not line.endswith(b"\n"):
        if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise WorkerDiedError("no verdict in time")
        chunk = os.read(descriptor, MAX_LINE_BYTES)
        if not chunk or len(line) > MAX_LINE_BYTES:
            raise WorkerDiedError("no verdict")
        line += chunk
    return line


def run_programs(sources: Iterable[str], config: SandboxConfig) -> Iterator[Verdict]:
    """The verdicts of programs in their order; equal programs run once."""
    known: dict[str, Verdict] = {}
    with WorkerProcess(config) as worker:
        for source in sources:
            if source not in known:
                known[source] = worker.run(source)
            yield known[source]
