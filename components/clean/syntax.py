"""Check syntax in a disposable process: no document can crash, hang or fill the step.

`ast.parse` on hostile nesting can end the interpreter, or take memory without bound. So it runs in
a child with limits on CPU time and memory, one answer for one document: when the child dies, the
document that it died of is known, and the next goes to a fresh child.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import components
from components.clean.syntax_worker import BROKEN, GAVE_UP, LENGTH_BYTES, PARSES

SYNTAX_ERROR = "syntax_error"
SYNTAX_CRASH = "syntax_crash"
SYNTAX_TIMEOUT = "syntax_timeout"

LANGUAGES = frozenset({"Python"})
"""The languages that are parsed; documents of others pass."""

_REASONS = {PARSES: None, BROKEN: SYNTAX_ERROR, GAVE_UP: SYNTAX_CRASH}

_START = """
import sys
sys.path.append(sys.argv[1])
from components.stage.lifeline import die_with_parent
die_with_parent(int(sys.argv[2]))
from components.clean.syntax_worker import serve
serve(*map(int, sys.argv[3:]))
"""


class SyntaxChecker:
    """Parses documents one by one in a child process that may die; use it as a context manager."""

    def __init__(
        self, version: str, cpu_s: int, memory_bytes: int, start: Sequence[str] | None = None
    ) -> None:
        """Set up; the child starts with the first document.

        Args:
            version: the Python version that texts must parse as, such as `3.11`.
            cpu_s: CPU seconds for one document.
            memory_bytes: memory of the child.
            start: the command of the child; by default this interpreter and the worker file.
        """
        limits = (version.partition(".")[2], str(cpu_s), str(memory_bytes))
        self._command = [*(start or _default_start()), *limits]
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def reason(self, content: str) -> str | None:
        """Why a document is no source text of the version, None where it parses.

        A child that gives up or dies may suffer from what it parsed before, so the document then
        gets a fresh child, and that one's answer counts.
        """
        text = content.encode()
        reason = self._ask(text)
        if reason in (SYNTAX_CRASH, SYNTAX_TIMEOUT):
            self._stop()
            reason = self._ask(text)
        return reason

    def _ask(self, text: bytes) -> str | None:
        child = self._child or self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        answer = b""
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(len(text).to_bytes(LENGTH_BYTES, "big"))
            child.stdin.write(text)
            child.stdin.flush()
            answer = child.stdout.read(1)
        if answer in _REASONS:
            return _REASONS[answer]
        ended_by = -child.wait()
        self._stop()
        return SYNTAX_TIMEOUT if ended_by == signal.SIGXCPU else SYNTAX_CRASH

    def _start(self) -> subprocess.Popen[bytes]:
        self._child = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return self._child

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        with contextlib.suppress(BrokenPipeError):
            child.communicate()


def _default_start() -> list[str]:
    """The interpreter alone: no site, no environment, no current folder; ours is appended last."""
    root = Path(components.__path__[0]).parent
    return [sys.executable, "-I", "-S", "-c", _START, str(root), str(os.getpid())]
