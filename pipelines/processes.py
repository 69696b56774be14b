"""Start a step's process and see it to its end: its own process group, no orphan, no zombie."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

from components.stage.lifeline import SUPERVISOR_VARIABLE

GRACE_S = 10.0
"""What a step is given to end by itself after Ctrl-C before it is killed."""


def run_process(arguments: Sequence[str]) -> int:
    """Run `codekiln ARGUMENTS` as a child; the exit code, negative for a signal.

    The child leads a process group of its own and inherits the terminal. It ends when this
    process ends, whatever ends it. Ctrl-C and SIGTERM reach it through here.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "pipelines.cli", *arguments],
        env=step_environment(),
        process_group=0,
    )
    try:
        with _termination_as_interrupt():
            return process.wait()
    except KeyboardInterrupt:
        _signal_group(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
        raise
    finally:
        if process.poll() is None:
            process.kill()
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()


def step_environment() -> dict[str, str]:
    """The environment of a step: this one, tied to this process, with a safe import path."""
    return {**os.environ, "PYTHONSAFEPATH": "1", SUPERVISOR_VARIABLE: str(os.getpid())}


@contextlib.contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C, so that a stopped run stops its step too."""

    def interrupt(_signum: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
