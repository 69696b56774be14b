"""Keep a worker process at work: hand it programs, outlive its death, end it with this process."""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from components.artifacts.errors import StepFailedError
from components.sandbox.config import SandboxConfig
from components.sandbox.gvisor import gvisor_command, runsc_path

WORKER = "components.sandbox.worker"
ROOT = Path(__file__).parents[2]
"""What holds the worker's package."""

DEFAULT_FLOOR = "L2"
"""Below it the step refuses. Under gVisor a worker says L4 once its filter holds."""

UNSAFE_FLOOR = "L0"

ISOLATION_VARIABLE = "CODEKILN_ISOLATION"
"""`gvisor` starts every worker inside gVisor; unset, only where the machine needs it."""

START_S = 120.0
EXIT_BELOW_FLOOR = 3
GRACE_S = 20.0
"""How long past a program's wall-clock limit its verdict may take: start and cleaning included."""

ATTEMPTS = 2
"""A program that the worker died with is tried once more, in a new worker."""

MAX_LINE_BYTES = 2**14
MAX_COMPLETION_CHARACTERS = 2**20
"""The worker refuses a completion whose JSON is longer than this, too."""


@dataclass(frozen=True)
class Verdict:
    """What became of a program."""

    verdict: str
    """passed, failed, timeout, crashed, memory, output or infra_error."""

    detail: str
    """An exception's type, a signal or a limit."""


@dataclass(frozen=True, slots=True)
class Program:
    """A model's code and what it is tested with."""

    prompt: str
    completion: str
    test: str
    entry_point: str


class WorkerDiedError(RuntimeError):
    """The worker ended, hung, or answered something else than a verdict."""


@dataclass
class WorkerProcess:
    """One worker, started when first asked and replaced when it dies. Use as a context manager."""

    config: SandboxConfig
    floor: str = DEFAULT_FLOOR
    """The lowest level of isolation, L0 to L4, that programs may run at."""

    flags: Sequence[str] = ()
    """Further flags of the worker."""

    gvisor: bool = False
    """Whether the worker runs inside gVisor: `runsc` must be on the PATH."""

    python: str = sys.executable
    root: Path = ROOT
    level: str = field(default="", init=False)
    """What the last worker that started has reached."""

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

    def probe(self) -> str:
        """Start the worker and say which level it reached.

        Raises:
            StepFailedError: below the floor, or it does not start; says what to do.
        """
        for attempt in range(ATTEMPTS):
            try:
                self._started()
            except WorkerDiedError as error:
                self.stop(kill=True)
                if attempt + 1 == ATTEMPTS:
                    raise StepFailedError(
                        f"expected the sandbox's worker to start, got {error}: run "
                        f"`python -P -m {WORKER} --floor L0` by hand and read what it says"
                    ) from None
        return self.level

    def run(self, program: Program) -> Verdict:
        """The verdict of one program; `infra_error` where the worker died with it each time.

        Raises:
            StepFailedError: the machine does not reach the floor.
        """
        for _ in range(ATTEMPTS):
            try:
                return self._ask(program)
            except (WorkerDiedError, BrokenPipeError):
                self.stop(kill=True)
        return Verdict("infra_error", "the worker died")

    def stop(self, kill: bool = False) -> None:
        """End the worker: it leaves when its input ends, and is killed where it must."""
        if self.process is None:
            return
        process, self.process = self.process, None
        if kill:
            self._kill(process)
        try:
            process.communicate(timeout=GRACE_S)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._kill(process)
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
            "--floor": self.floor,
        }
        if not self.gvisor:  # inside it neither the folder nor this process can be seen
            limits |= {"--folder": self.folder, "--parent-pid": os.getpid()}
        flags = [str(part) for pair in limits.items() for part in pair]
        command = ["-P", "-s", "-S", "-B", "-m", WORKER, *flags, *self.flags]
        return subprocess.Popen(
            gvisor_command(command, self.root, Path(self.folder))
            if self.gvisor
            else [self.python, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PYTHONHASHSEED": "0", "PYTHONPATH": str(self.root)},
            bufsize=0,
            start_new_session=self.gvisor,
        )

    def _kill(self, process: "subprocess.Popen[bytes]") -> None:
        """End it at once; gVisor is several processes of one group."""
        if self.gvisor:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()

    def _started(self) -> "subprocess.Popen[bytes]":
        """The worker, started where there is none, after its first line."""
        if self.process is None:
            self.process = self._start()
            assert self.process.stdout is not None
            line = _read_line(self.process.stdout.fileno(), time.monotonic() + START_S)
            try:
                said = json.loads(line)
                self.level = said["level"]
            except (ValueError, TypeError, KeyError) as error:
                raise WorkerDiedError("something else than a level") from error
            if self.level < self.floor:
                self.stop(kill=True)
                raise StepFailedError(refusal(self.level, self.floor, said.get("refused", {})))
        return self.process

    def _ask(self, program: Program) -> Verdict:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        line = json.dumps({"id": 0, **asdict(program)}).encode() + b"\n"
        while line:
            line = line[process.stdin.write(line) :]
        wall_s = self.config.timeout_s * self.config.wall_factor
        answer = _read_line(process.stdout.fileno(), time.monotonic() + wall_s + GRACE_S)
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


def refusal(level: str, floor: str, refused: Mapping[str, str]) -> str:
    """What is said, in one line, where a machine does not reach the floor."""
    if sys.platform != "linux":
        advice = "run this step in a Linux container"
    else:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        advice = (
            f"({reasons}) allow user namespaces (Ubuntu: sysctl -w "
            "kernel.apparmor_restrict_unprivileged_userns=0), use a kernel with Landlock "
            "(5.13 or later), or run in a gVisor pod"
        )
    return (
        f"expected isolation level {floor} or higher for code of a model, got {level}: {advice}; "
        "--allow-unsafe true runs programs as they are, only for ones that you trust"
    )


def needs_gvisor(config: SandboxConfig, floor: str) -> bool:
    """Whether workers must start inside gVisor here: the machine itself does not reach the floor.

    The variable ISOLATION_VARIABLE asks for it where the machine would do, too.

    Raises:
        StepFailedError: neither the machine nor gVisor reaches the floor; says what to do.
    """
    inside = os.environ.get(ISOLATION_VARIABLE) == "gvisor"
    if not inside and runsc_path() is not None:
        with WorkerProcess(config, UNSAFE_FLOOR) as worker:
            inside = worker.probe() < floor
    with WorkerProcess(config, floor, gvisor=inside) as worker:
        worker.probe()
    return inside


class Judge(Protocol):
    """Who runs programs: a worker process here, or Jobs of a cluster."""

    def run(self, program: Program) -> Verdict:
        """The verdict of one program; `infra_error` where there is none."""


def run_programs(worker: Judge, programs: Iterable[Program]) -> Iterator[Verdict]:
    """The verdicts of programs in their order; equal programs run once."""
    known: dict[Program, Verdict] = {}
    for program in programs:
        if program not in known:
            known[program] = judge_program(worker, program)
        yield known[program]


def judge_program(worker: Judge, program: Program) -> Verdict:
    """The verdict of one program; one too large to be sent is none that anybody meant to pass."""
    if len(program.completion) > MAX_COMPLETION_CHARACTERS:
        return Verdict("output", "completion size")
    return worker.run(program)
