"""Check syntax with ruff's parser in a disposable process: no text can crash or fill the step.

Ruff parses whole batches of files about ten times as fast as `ast.parse`, at a fixed target version
whatever Python runs. Deep nesting can still exhaust its stack or memory, so it runs under limits,
and a batch that it dies of is halved until the document that killed it stands alone. Only what a
document does alone, in a fresh process, decides that it is `syntax_crash` or `syntax_timeout`.
"""

import errno
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import components
from components.artifacts.errors import StepFailedError
from components.clean.scratch_folder import scratch_folder

SYNTAX_ERROR = "syntax_error"
SYNTAX_CRASH = "syntax_crash"
SYNTAX_TIMEOUT = "syntax_timeout"

LANGUAGES = frozenset({"Python"})
"""The languages that are parsed; documents of others pass."""

BATCH_DOCUMENTS = 1024
BATCH_BYTES = 16_000_000
"""One start of the process (about 0.03 CPU seconds) for so many documents."""

MEMORY_BATCHES = 8
"""Files go through memory where there is room for so many batches: a disk takes longer to write and
remove them than ruff to parse them."""

BATCH_CPU_S, BATCH_BYTES_PER_CPU_S = 2, 4_000_000
"""A batch may take so long, and a second more for so many bytes: ruff takes about 60 MB a CPU
second, so a batch past it holds a document that deserves to stand alone."""

_START = """
import sys
sys.path.append(sys.argv[1])
from components.stage.lifeline import die_with_parent
die_with_parent(int(sys.argv[2]))
from components.clean.syntax_worker import become_parser
become_parser(int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
"""

_LINE = re.compile(rb"(\d+)\.py:(?:\d+:\d+:)? (invalid-syntax|panic):")
_CLEAN, _FOUND, _FAILED = 0, 1, 2
"""Ruff's exit codes: nothing found, something found, it did not do its work."""


def ruff_command(version: str) -> list[str]:
    """Ruff as a parser: no user's configuration, no cache, no suppression by comments, one rule.

    Errors of syntax are reported whatever is selected; E902 (unreadable file) can never be found in
    what we wrote ourselves.

    Args:
        version: the target, such as `3.11`.
    """
    from ruff import find_ruff_bin

    target = "py" + version.replace(".", "")
    options = "--isolated --no-cache --quiet --ignore-noqa --output-format concise --select E902"
    return [find_ruff_bin(), "check", *options.split(), "--target-version", target, "--"]


@dataclass(frozen=True)
class _Outcome:
    """What a run of the parser said."""

    broken: set[int] = field(default_factory=set)
    panicked: set[int] = field(default_factory=set)
    death: str | None = None
    """Why there is no answer for any document: the reason that one alone would get."""


class SyntaxChecker:
    """Parses documents in batches, in processes that may die; use it as a context manager."""

    def __init__(
        self, version: str, cpu_s: int, memory_bytes: int, parser: Sequence[str] | None = None
    ) -> None:
        """Set up.

        Args:
            version: the Python version that texts must parse as, such as `3.11`.
            cpu_s: CPU seconds for one document.
            memory_bytes: memory of the parser's process.
            parser: the command that the names of files are appended to; by default ruff.
        """
        self._cpu_s = cpu_s
        self._memory_bytes = memory_bytes
        self._parser = list(parser or ruff_command(version))
        self._resources = ExitStack()
        self._folder: Path | None = None

    def __enter__(self) -> Self:
        memory = Path("/dev/shm")
        roomy = os.access(memory, os.W_OK) and _free_bytes(memory) > MEMORY_BATCHES * BATCH_BYTES
        self._use_folder(memory if roomy else Path(tempfile.gettempdir()))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._resources.close()

    def reasons(self, texts: Sequence[bytes]) -> list[str | None]:
        """Why each text is no source text of the version; None where it parses.

        Args:
            texts: UTF-8.

        Raises:
            StepFailedError: ruff did not do its work, for a reason that lies in no text.
        """
        found: dict[int, str] = {}
        for batch in _batches(texts):
            # CPython refuses NUL anywhere in a source text; ruff takes it in strings and comments.
            with_nul = [place for place in batch if b"\0" in texts[place]]
            found.update(dict.fromkeys(with_nul, SYNTAX_ERROR))
            self._check(sorted({*batch} - {*with_nul}), texts, found)
        return [found.get(place) for place in range(len(texts))]

    def _check(self, places: list[int], texts: Sequence[bytes], found: dict[int, str]) -> None:
        """Parse the texts of some places, and write the reasons down."""
        if not places:
            return
        alone = len(places) == 1
        size = sum(len(texts[place]) for place in places)
        batch_cpu_s = BATCH_CPU_S + size // BATCH_BYTES_PER_CPU_S
        outcome = self._run(
            {number: texts[place] for number, place in enumerate(places)},
            self._cpu_s if alone else min(self._cpu_s, batch_cpu_s),
        )
        if outcome.death and alone:
            found[places[0]] = outcome.death
        elif outcome.death:
            middle = len(places) // 2
            self._check(places[:middle], texts, found)
            self._check(places[middle:], texts, found)
        else:
            found.update({places[number]: SYNTAX_ERROR for number in outcome.broken})
            for number in sorted(outcome.panicked):
                if alone:
                    found[places[number]] = SYNTAX_CRASH
                else:
                    self._check([places[number]], texts, found)

    def _use_folder(self, parent: Path) -> None:
        """Write files to a new folder from now on."""
        self._folder = self._resources.enter_context(scratch_folder(parent))

    def _write(self, texts: Mapping[int, bytes]) -> Path:
        """Write texts to files named by their numbers; where memory is full, on disk."""
        assert self._folder is not None, "used outside its context"
        try:
            for number, text in texts.items():
                (self._folder / f"{number}.py").write_bytes(text)
        except OSError as error:
            disk = Path(tempfile.gettempdir())
            if error.errno != errno.ENOSPC or self._folder.parent == disk:
                raise
            self._resources.close()
            self._use_folder(disk)
            return self._write(texts)
        return self._folder

    def _run(self, texts: Mapping[int, bytes], cpu_s: int) -> _Outcome:
        """Parse texts in a fresh process."""
        folder = self._write(texts)
        root = str(Path(components.__path__[0]).parent)
        start = [sys.executable, "-I", "-S", "-c", _START, root, str(os.getpid())]
        limits = [str(cpu_s), str(self._memory_bytes)]
        command = [*start, *limits, *self._parser, *(f"{number}.py" for number in texts)]
        with tempfile.TemporaryFile() as complaints:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                cwd=folder,
                # One thread: workers share the cores. Nothing of the user's environment gets in.
                env={"RAYON_NUM_THREADS": "1"},
            )
            return _read_outcome(child, complaints)


def _free_bytes(folder: Path) -> int:
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize


def _batches(texts: Sequence[bytes]) -> Iterator[list[int]]:
    """The places of texts, in runs that one process parses."""
    batch: list[int] = []
    size = 0
    for place, text in enumerate(texts):
        full = len(batch) == BATCH_DOCUMENTS or size + len(text) > BATCH_BYTES
        if batch and full:
            yield batch
            batch, size = [], 0
        batch.append(place)
        size += len(text)
    if batch:
        yield batch


def _read_outcome(child: subprocess.Popen[bytes], complaints: IO[bytes]) -> _Outcome:
    """Read ruff's lines as they come: a text of errors has as many as bytes."""
    outcome = _Outcome()
    assert child.stdout is not None
    with child.stdout:
        for line in child.stdout:
            if match := _LINE.match(line):
                found = outcome.broken if match[2] == b"invalid-syntax" else outcome.panicked
                found.add(int(match[1]))
    code = child.wait()
    if code < 0:
        timed_out = -code == signal.SIGXCPU
        return _Outcome(death=SYNTAX_TIMEOUT if timed_out else SYNTAX_CRASH)
    expected = _CLEAN if not outcome.broken else _FOUND
    if code == expected or (code == _FAILED and outcome.panicked):
        return outcome
    complaints.seek(0)
    said = complaints.read(10_000).decode(errors="replace").strip() or "nothing"
    raise StepFailedError(
        f"expected ruff to end with {expected}, got {code}; it said {said.splitlines()[-1]!r}: "
        "run `ruff check --isolated` on any file to see what is wrong with the installation"
    )
