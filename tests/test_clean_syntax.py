"""Hostile text in the parser costs a disposable process, never the step."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.clean import syntax_worker
from components.clean.syntax import SyntaxChecker

MEGABYTES = 1_000_000


@pytest.fixture(scope="module")
def checker() -> Iterator[SyntaxChecker]:
    with SyntaxChecker("3.11", cpu_s=10, memory_bytes=1000 * MEGABYTES) as shared:
        yield shared


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("x = 1\n", None),
        ("def f(:\n", "syntax_error"),
        ("print 'two'\n", "syntax_error"),
        ("x = 1\r\nif x:\r\n    y = 2\r\n", None),
        ("\ufeffx = 1\n", None),
        ("# -*- coding: no-such-codec -*-\nx = 1\n", None),
        ("x = '\\d'\nif 1 is 1: pass\n", None),  # a SyntaxWarning
        ("x = 1\0\n", "syntax_error"),
        ("", None),
        ("x = " + "(" * 100_000, "syntax_error"),
        ("x = " + "-" * 100_000 + "1\n", "syntax_crash"),
        ("x = " + "+".join(["1"] * 100_000) + "\n", "syntax_crash"),
        ("x = a" + ".a" * 100_000 + "\n", "syntax_crash"),
        ("x = " + "lambda:" * 50_000 + "1\n", "syntax_crash"),
        ("x = " + "9" * 100_000 + "\n", "syntax_error"),
    ],
)
def test_every_text_gets_one_verdict(
    checker: SyntaxChecker, content: str, reason: str | None
) -> None:
    assert checker.reason(content) == reason
    assert checker.reason("fine = 1\n") is None


def test_warnings_of_a_text_do_not_leak(
    checker: SyntaxChecker, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    with SyntaxChecker("3.11", cpu_s=10, memory_bytes=1000 * MEGABYTES) as strict:
        assert strict.reason("x = '\\d'\nassert (1, 'true')\n") is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("version", "reason"), [("3.9", "syntax_error"), ("3.10", None), ("3.11", None)]
)
def test_a_text_must_parse_as_the_version_of_the_config(version: str, reason: str | None) -> None:
    with SyntaxChecker(version, cpu_s=10, memory_bytes=1000 * MEGABYTES) as old:
        assert old.reason("match x:\n    case 1:\n        pass\n") == reason


def test_a_text_that_takes_too_long_is_a_timeout_and_the_next_gets_its_answer() -> None:
    long = "a = (1, 2, 3)\n" * 400_000
    with SyntaxChecker("3.11", cpu_s=1, memory_bytes=16_000 * MEGABYTES) as short:
        assert short.reason(long) == "syntax_timeout"
        assert short.reason("x = 1\n") is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds to RLIMIT_AS")
def test_a_text_that_takes_too_much_memory_is_a_crash_and_the_next_gets_its_answer() -> None:
    with SyntaxChecker("3.11", cpu_s=60, memory_bytes=100 * MEGABYTES) as small:
        assert small.reason("a = (1, 2, 3)\n" * 60_000) == "syntax_crash"
        assert small.reason("x = 1\n") is None


def fake_parser(tmp_path: Path, body: str) -> list[str]:
    """A child that answers as `body` says for a text named `text`."""
    script = tmp_path / "parser.py"
    script.write_text(
        "import os, signal, sys\n"
        "answered = 0\n"
        "while head := sys.stdin.buffer.read(8):\n"
        "    text = sys.stdin.buffer.read(int.from_bytes(head, 'big'))\n"
        + textwrap.indent(textwrap.dedent(body), "    ")
        + "\n    answered += 1\n"
        "    sys.stdout.buffer.write(b'p')\n"
        "    sys.stdout.buffer.flush()\n"
    )
    return [sys.executable, "-I", "-S", str(script)]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("SIGSEGV", "syntax_crash"), ("SIGKILL", "syntax_crash"), ("SIGXCPU", "syntax_timeout")],
)
def test_the_document_that_kills_the_parser_is_named_and_no_other(
    tmp_path: Path, name: str, reason: str
) -> None:
    start = fake_parser(tmp_path, f"if text == b'kill': os.kill(os.getpid(), signal.{name})")
    with SyntaxChecker("3.11", cpu_s=1, memory_bytes=1, start=start) as checker:
        reasons = [checker.reason(text) for text in ("a", "kill", "b" * 100_000, "kill", "c")]
    assert reasons == [None, reason, None, reason, None]


def test_a_death_that_earlier_documents_caused_is_not_blamed_on_the_last(tmp_path: Path) -> None:
    start = fake_parser(tmp_path, "if answered == 2: os.kill(os.getpid(), signal.SIGKILL)")
    with SyntaxChecker("3.11", cpu_s=1, memory_bytes=1, start=start) as checker:
        assert [checker.reason(text) for text in "abcdef"] == [None] * 6


def test_the_parser_ends_with_the_checker_and_with_its_parent(
    tmp_path: Path, wait_until_gone: Any
) -> None:
    with SyntaxChecker("3.11", cpu_s=10, memory_bytes=1000 * MEGABYTES) as checker:
        checker.reason("x = 1\n")
        assert checker._child is not None
        ended = checker._child.pid
    wait_until_gone([ended])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_PARENT], stdout=subprocess.PIPE, check=False, timeout=60
    )
    assert killed.returncode == -signal.SIGKILL
    orphan, holder = map(int, killed.stdout.split())
    try:
        wait_until_gone([orphan])
    finally:
        os.kill(holder, signal.SIGKILL)


KILLED_PARENT = """
import os, signal, subprocess, sys
from components.clean.syntax import SyntaxChecker
checker = SyntaxChecker("3.11", cpu_s=10, memory_bytes=1_000_000_000)
checker.reason("x = 1")
holder = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(60)"],
    pass_fds=[checker._child.stdin.fileno()], stdout=subprocess.DEVNULL,
)
print(checker._child.pid, holder.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
"""A holder keeps the pipe open, so the end of stdin is not what ends the parser."""


def test_a_cut_off_request_ends_the_worker_without_an_answer() -> None:
    read, write = os.pipe()
    os.write(write, (10).to_bytes(8, "big") + b"short")
    os.close(write)
    with open(read, "rb") as stdin:
        assert syntax_worker._read(stdin) is None
