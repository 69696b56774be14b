"""Hostile text in the parser costs a disposable process, never the step."""

import ast
import errno
import os
import signal
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.artifacts.errors import StepFailedError
from components.clean import syntax
from components.clean.scratch_folder import scratch_folder
from components.clean.syntax import SyntaxChecker

MEGABYTES = 1_000_000


@pytest.fixture(scope="module")
def checker() -> Iterator[SyntaxChecker]:
    with SyntaxChecker("3.11", cpu_s=10, memory_bytes=1000 * MEGABYTES) as shared:
        yield shared


FINE = "fine = 1\n"

TEXTS: list[tuple[str, str | None]] = [
    ("x = 1\n", None),
    ("x = 1", None),
    ("", None),
    ("def f(:\n", "syntax_error"),
    ("print 'two'\n", "syntax_error"),
    ("x = 1\r\nif x:\r\n    y = 2\r\n", None),
    ("x = 1\rif x:\r    y = 2\r", None),
    ("\ufeffx = 1\n", None),
    ("\fx = 1\n\f\ndef f():\n\f    return 1\n", None),
    ("# -*- coding: no-such-codec -*-\nx = 1\n", None),
    ("x = '\\d'\nif 1 is 1: pass\n", None),  # a SyntaxWarning
    ("x = '\\ud800'\n", None),
    ("\u00e9 = '\u4e2d'\n", None),
    ("x\u00a0= 1\n", "syntax_error"),
    ("x = 1\0\n", "syntax_error"),
    ("x = '\0'\n", "syntax_error"),
    ("# \0\n", "syntax_error"),
    ("x = '''open\n", "syntax_error"),
    ("%matplotlib inline\n", "syntax_error"),
    ("match x:\n    case 1: pass\n", None),
    ("try: pass\nexcept* A: pass\n", None),
    ("def f[T](x): pass\n", "syntax_error"),  # 3.12
    ("x = f'{'a'}'\n", "syntax_error"),  # 3.12
    ("# ruff: noqa\n# flake8: noqa\ndef f(:\n", "syntax_error"),
    ("# ruff: file-ignore[invalid-syntax]\ndef f(:  # noqa\n", "syntax_error"),
    ("# /// script\n# requires-python = '>=3.14'\n# ///\ntype X = int\n", "syntax_error"),
    ("x = " + "(" * 100_000, "syntax_error"),
    ("(\n" * 500_000, "syntax_crash"),
    ("x = " + "-" * 100_000 + "1\n", "syntax_crash"),
    ("x = " + "+".join(["1"] * 100_000) + "\n", "syntax_crash"),
    ("x = a" + ".a" * 100_000 + "\n", "syntax_crash"),
    ("x = " + "[" * 200_000 + "]" * 200_000 + "\n", "syntax_crash"),
    ("x = [" + "1," * 50_000_000 + "]\n", "syntax_crash"),  # one line of 100 MB: memory
    ("x = '" + "y" * 100_000_000 + "'\n", None),
]


@pytest.mark.parametrize(("content", "reason"), TEXTS[:27])
def test_every_text_gets_one_verdict(
    checker: SyntaxChecker, content: str, reason: str | None
) -> None:
    assert checker.reasons([content.encode()]) == [reason]


@pytest.mark.slow
def test_hostile_texts_get_their_verdict_and_their_neighbours_theirs(
    checker: SyntaxChecker,
) -> None:
    given_texts = [text.encode() for text, _ in TEXTS for text in (text, FINE)]
    expected = [reason for _, reason in TEXTS for reason in (reason, None)]
    assert checker.reasons(given_texts) == expected


def test_the_target_version_decides_and_not_the_python_that_runs() -> None:
    text = b"def f[T](x): pass\n"
    for version, reason in (("3.11", "syntax_error"), ("3.12", None), ("3.14", None)):
        with SyntaxChecker(version, cpu_s=10, memory_bytes=1000 * MEGABYTES) as checker:
            assert checker.reasons([text]) == [reason]


CODE = st.text(
    alphabet=st.sampled_from([*"ab01=()[]{}:,.+-*'\"#\\\n \t@;"])
    | st.characters(max_codepoint=0x24F),
    max_size=40,
)
"""Latin letters: of scripts that came later, ruff and CPython know different Unicode versions."""


@settings(deadline=None)
@given(st.lists(CODE, min_size=20, max_size=40))
def test_nothing_that_cpython_refuses_passes(texts: list[str]) -> None:
    with SyntaxChecker("3.11", cpu_s=10, memory_bytes=1000 * MEGABYTES) as checker:
        reasons = checker.reasons([text.encode() for text in texts])
    for text, reason in zip(texts, reasons, strict=True):
        if reason is None and not cpython_parses(text):
            raise AssertionError(f"ruff takes what CPython refuses: {text!r}")


def cpython_parses(text: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(text.removeprefix("\ufeff"), feature_version=(3, 11))
        except (SyntaxError, ValueError):
            return False
    return True


def test_nothing_of_the_user_gets_in(
    checker: SyntaxChecker, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUFF_OUTPUT_FORMAT", "json")
    monkeypatch.setenv("RUFF_NO_SUCH", "1")
    assert checker.reasons([b"x = '\\d'\n", b"def f(:\n"]) == [None, "syntax_error"]
    assert capfd.readouterr() == ("", "")


def test_small_memory_is_a_crash_and_the_next_gets_its_answer() -> None:
    with SyntaxChecker("3.11", cpu_s=60, memory_bytes=128 * MEGABYTES) as small:
        texts = [b"x = 1\n", b"a = (1, 2, 3)\n" * 200_000, b"x = 1\n"]
        assert small.reasons(texts) == [None, "syntax_crash", None]


def fake_parser(tmp_path: Path, body: str) -> list[str]:
    """A program in ruff's place: `body` runs for each `text` of a file named `name`."""
    script = tmp_path / "parser.py"
    script.write_text(
        "import os, signal, sys, time\n"
        "code = 0\n"
        "for number, name in enumerate(sys.argv[1:]):\n"
        "    text = open(name, 'rb').read()\n"
        + textwrap.indent(textwrap.dedent(body), "    ")
        + "\nsys.exit(code)\n"
    )
    return [sys.executable, "-I", "-S", str(script)]


def reasons_of(parser: list[str], texts: list[bytes], cpu_s: int = 1) -> list[str | None]:
    with SyntaxChecker("3.11", cpu_s, 1000 * MEGABYTES, parser=parser) as checker:
        return checker.reasons(texts)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("SIGSEGV", "syntax_crash"), ("SIGKILL", "syntax_crash"), ("SIGXCPU", "syntax_timeout")],
)
def test_the_documents_that_kill_the_parser_are_named_and_no_other(
    tmp_path: Path, name: str, reason: str
) -> None:
    parser = fake_parser(tmp_path, f"if text == b'kill': os.kill(os.getpid(), signal.{name})")
    texts = [b"a", b"kill", b"b" * 100_000, b"kill", b"c"]
    assert reasons_of(parser, texts) == [None, reason, None, reason, None]


def test_a_document_that_never_ends_is_a_timeout(tmp_path: Path) -> None:
    parser = fake_parser(tmp_path, "while text == b'hang': pass")
    assert reasons_of(parser, [b"a", b"hang", b"c"]) == [None, "syntax_timeout", None]


def test_a_death_that_earlier_documents_caused_is_not_blamed_on_the_last(tmp_path: Path) -> None:
    parser = fake_parser(tmp_path, "if number == 2: os.kill(os.getpid(), signal.SIGKILL)")
    assert reasons_of(parser, [b"x"] * 7) == [None] * 7


def test_a_panic_counts_only_where_the_document_stands_alone(tmp_path: Path) -> None:
    body = """
        if text == b'panic' or text == b'crowd' and len(sys.argv) > 2:
            print(f'{name}: panic: Panicked at x')
            code = 2
        if text == b'bad':
            print(f'{name}:1:1: invalid-syntax: no')
            code = code or 1
    """
    parser = fake_parser(tmp_path, body)
    texts = [b"a", b"panic", b"crowd", b"bad"]
    assert reasons_of(parser, texts) == [None, "syntax_crash", None, "syntax_error"]


@pytest.mark.parametrize("code", [1, 2, 77])
def test_a_parser_that_does_not_work_stops_the_step(tmp_path: Path, code: int) -> None:
    parser = fake_parser(tmp_path, f"sys.stderr.write('no such option'); code = {code}")
    with pytest.raises(StepFailedError, match=f"got {code}; it said 'no such option'"):
        reasons_of(parser, [b"a"])


def test_batches_are_bounded_and_change_nothing(
    checker: SyntaxChecker, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [b"x = 1\n", b"def f(:\n", b"", b"y = 2\n" * 9] * 3
    whole = checker.reasons(texts)
    monkeypatch.setattr(syntax, "BATCH_DOCUMENTS", 4)
    monkeypatch.setattr(syntax, "BATCH_BYTES", 60)
    batches = [*syntax._batches(texts)]
    assert [place for batch in batches for place in batch] == [*range(12)]
    assert max(map(len, batches)) <= 4
    assert checker.reasons(texts) == whole


def test_where_memory_is_full_the_disk_takes_the_files(
    checker: SyntaxChecker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    write = Path.write_bytes

    def write_bytes(path: Path, data: bytes) -> int:
        if path.parent.parent == full and path.name == "1.py":
            raise OSError(errno.ENOSPC, "no space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with SyntaxChecker("3.11", cpu_s=10, memory_bytes=1000 * MEGABYTES) as full_checker:
        full_checker._use_folder(full)
        assert full_checker.reasons([b"x = 1\n", b"def f(:\n"]) == [None, "syntax_error"]
        assert [*full.iterdir()] == []


def test_the_files_of_a_killed_step_are_removed_by_the_next(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, signal\n"
        "from components.clean.scratch_folder import scratch_folder\n"
        f"with scratch_folder(pathlib.Path({str(tmp_path)!r})) as folder:\n"
        "    (folder / '0.py').write_bytes(b'x = 1')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=False)
    (left,) = tmp_path.iterdir()
    with scratch_folder(tmp_path) as young:
        assert {*tmp_path.iterdir()} == {left, young}
        os.utime(left, (0, 0))
        os.utime(young, (0, 0))
        with scratch_folder(tmp_path) as next_one:
            assert {*tmp_path.iterdir()} == {young, next_one}
    assert [*tmp_path.iterdir()] == []


def test_the_parser_ends_with_its_parent(tmp_path: Path, wait_until_gone: Any) -> None:
    marker = tmp_path / "pid"
    parser = fake_parser(tmp_path, f"open({str(marker)!r}, 'w').write(str(os.getpid()))")
    script = Path(parser[-1])
    script.write_text(script.read_text().replace("sys.exit", "time.sleep(60); sys.exit"))
    killed = subprocess.Popen([sys.executable, "-c", KILLED_PARENT, *parser])
    while not (marker.exists() and marker.read_text()):
        assert killed.poll() is None
        os.sched_yield()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    wait_until_gone([int(marker.read_text())])


KILLED_PARENT = """
import sys
from components.clean.syntax import SyntaxChecker
with SyntaxChecker("3.11", 10, 1_000_000_000, parser=sys.argv[1:]) as checker:
    checker.reasons([b"x = 1"])
"""
