"""The worker outlives every program, labels it, and leaves nothing of it behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components.problems.benchmark import Problem
from components.sandbox.config import SandboxConfig
from components.sandbox.programs import program_text
from components.sandbox.supervision import Verdict, WorkerProcess

PROBLEM = Problem(
    benchmark="abuse",
    task_id="abuse/0",
    prompt='def f(x):\n    """Return x plus one."""\n',
    entry_point="f",
    canonical_solution="    return x + 1\n",
    test="def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(41) == 42\n",
)

GOOD = program_text(PROBLEM, PROBLEM.canonical_solution)

CONFIG = SandboxConfig(timeout_s=1, wall_factor=2, max_memory_bytes=2**28)


def abuse(code: str) -> str:
    """A program whose completion is wrong and then does something it must not."""
    return program_text(PROBLEM, "    return None\n" + code)


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    with WorkerProcess(CONFIG, ("--processes", "8")) as process:
        yield process


@pytest.mark.parametrize(
    ("code", "verdict", "detail"),
    [
        ("pass\n", "failed", "AssertionError"),
        ("while True: pass\n", "timeout", "cpu"),
        (
            "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass\n",
            "timeout",
            None,
        ),
        (
            "import os, time\nos.closerange(0, 4096)\ntime.sleep(60)\n",
            "timeout",
            "wall",
        ),
        ("import sys\nsys.exit(0)\n", "failed", "SystemExit"),
        ("raise SystemExit\n", "failed", "SystemExit"),
        ("raise KeyboardInterrupt\n", "failed", "KeyboardInterrupt"),
        ("import os\nos._exit(0)\n", "failed", "exit 0"),
        ("import os\nos.kill(os.getpid(), 11)\n", "crashed", "SIGSEGV"),
        ("import ctypes\nctypes.string_at(0)\n", "crashed", "SIGSEGV"),
        ("import os\nos.abort()\n", "crashed", "SIGABRT"),
        ("x = bytearray(2**40)\n", "memory", "MemoryError"),
        ("x = []\nwhile True: x.append(b'y' * 2**20)\n", "memory", "MemoryError"),
        ("def g(n): return g(n + 1)\ng(0)\n", "failed", "RecursionError"),
        ("def f(x) return 1\n", "failed", "SyntaxError"),
        ("(" * 100_000, "failed", "SyntaxError"),
        ("x = '\0'\n", "failed", None),
        ("x = '\ud800'\n", "failed", "UnicodeEncodeError"),
        ("input()\n", "failed", "EOFError"),
        ("raise ValueError('x' * 10**7)\n", "failed", "ValueError"),
        ("raise type('\\ud800' + 'E' * 10**6, (Exception,), {})\n", "failed", None),
        ("import sys\nfor _ in range(300): sys.stdout.write('x' * 2**16)\n", "failed", None),
        ("import os\nfor _ in range(300): os.write(1, b'x' * 2**16)\n", "failed", None),
        (
            "with open('big', 'wb') as file:\n    while True: file.write(b'x' * 2**20)\n",
            "output",
            "file size",
        ),
        (
            "import os\nfor fd in range(3, 30):\n    try: os.write(fd, b'x' * 10**5)\n"
            "    except OSError: pass\n",
            "output",
            "verdict pipe",
        ),
        (
            'import os\nfor fd in range(3, 30):\n    try: os.write(fd, b\'{"verdict": '
            '"passed", "detail": "", "nonce": ""}\')\n    except OSError: pass\nos._exit(0)\n',
            "output",
            "verdict pipe",
        ),
        (
            "class E(Exception):\n    def __str__(self):\n        while True: pass\n"
            "    __repr__ = __str__\nraise E\n",
            "failed",
            "E",
        ),
    ],
)
def test_a_hostile_program_gets_its_own_verdict_and_the_next_one_passes(
    worker: WorkerProcess, code: str, verdict: str, detail: str | None
) -> None:
    result = worker.run(abuse(code))
    assert result.verdict == verdict, result
    assert detail in (None, result.detail)
    assert result.detail.isascii()
    assert len(result.detail) <= 1000
    assert worker.run(GOOD) == Verdict("passed", "")


def test_boundless_recursion_is_never_called_a_timeout(worker: WorkerProcess) -> None:
    code = "import sys\nsys.setrecursionlimit(10**9)\ndef g(n): return g(n + 1)\ng(0)\n"
    assert worker.run(abuse(code)).verdict in ("memory", "crashed")
    assert worker.run(GOOD).verdict == "passed"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and a subreaper")
def test_what_a_program_forks_or_detaches_is_dead_after_its_verdict(
    worker: WorkerProcess, tmp_path: Path
) -> None:
    note = tmp_path / "pids"
    note.touch()
    note.chmod(0o666)
    tmp_path.chmod(0o777)
    code = (
        "import os, time\n"
        f"note = open({str(note)!r}, 'a')\n"
        "def child():\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        note.write(f'{os.getpid()}\\n'); note.flush(); time.sleep(60); os._exit(0)\n"
        "    os._exit(0)\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0: child()\n"
        "time.sleep(0.3)\n"
    )
    worker.run(abuse(code))
    assert worker.run(GOOD).verdict == "passed"
    pids = note.read_text().split()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert len(pids) == 3 or os.geteuid() != 0  # a user's own limit on processes may forbid them


def test_a_small_fork_bomb_ends_with_its_program(worker: WorkerProcess) -> None:
    code = (
        "import os, time\n"
        "for _ in range(5):\n"
        "    try: os.fork()\n"
        "    except OSError: pass\n"
        "while True: pass\n"
    )
    assert worker.run(abuse(code)).verdict == "timeout"
    assert worker.run(GOOD).verdict == "passed"
    assert worker.process is not None
    if sys.platform == "linux":
        children = Path(f"/proc/{worker.process.pid}/task/{worker.process.pid}/children")
        assert children.read_text().split() == []


def test_files_of_a_program_are_gone_after_it_however_deep_they_lie(
    worker: WorkerProcess,
) -> None:
    code = (
        "import os, tempfile\n"
        "handle, name = tempfile.mkstemp()\n"
        "assert os.path.dirname(name) == os.getcwd(), name\n"
        "os.symlink('/', 'link')\n"
        "open('x', 'w').close()\n"
        "for _ in range(1100): os.mkdir('d'); os.chdir('d')\n"
        "os.chmod('..', 0)\n"
        "raise LookupError\n"
    )
    assert worker.run(abuse(code)) == Verdict("failed", "LookupError")
    empty = "import os\nassert os.listdir() == [], os.listdir()\n"
    assert worker.run(GOOD + "\n" + empty) == Verdict("passed", "")


def test_a_program_sees_no_environment_and_no_descriptor_of_its_worker(
    worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_TEST", "x")
    code = (
        "\nimport os\nassert not os.environ, os.environ\n"
        "try: text = open('/proc/self/environ').read()\n"
        "except OSError: text = ''\n"
        "assert 'SECRET' not in text\n"
        "held = []\n"
        "for fd in range(3, 64):\n"
        "    try: os.fstat(fd); held.append(fd)\n"
        "    except OSError: pass\n"
        "assert len(held) <= 3, held\n"
    )
    with WorkerProcess(CONFIG) as fresh:
        assert fresh.run(GOOD + code) == Verdict("passed", "")


def test_a_worker_that_a_program_kills_is_an_infra_error_and_is_replaced() -> None:
    kill = "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n"
    with WorkerProcess(CONFIG, ("--keep-user",)) as worker:
        assert worker.run(abuse(kill)) == Verdict("infra_error", "the worker died")
        assert worker.run(GOOD) == Verdict("passed", "")


def test_a_worker_that_died_between_programs_costs_no_verdict() -> None:
    with WorkerProcess(CONFIG) as worker:
        assert worker.run(GOOD).verdict == "passed"
        assert worker.process is not None
        worker.process.kill()
        assert worker.run(GOOD) == Verdict("passed", "")


def test_verdicts_do_not_depend_on_hash_seeds_or_on_the_random_state() -> None:
    code = (
        "\nimport random\n"
        "words = list({'a', 'b', 'c', 'd', 'e', 'f'})\n"
        "random.shuffle(words)\n"
        "raise type(''.join(words), (Exception,), {})\n"
    )
    details = set()
    for _ in range(3):
        with WorkerProcess(CONFIG) as worker:
            details.add(worker.run(GOOD + code).detail)
    assert len(details) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_a_killed_step_leaves_no_worker_and_no_program(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    note.touch()
    note.chmod(0o666)
    program = (
        f"import os, time\nfile = open({str(note)!r}, 'w')\n"
        "file.write(f'{os.getpid()} {os.getppid()}')\nfile.close()\ntime.sleep(60)\n"
    )
    tmp_path.chmod(0o777)
    script = (
        "from components.sandbox.config import SandboxConfig\n"
        "from components.sandbox.supervision import WorkerProcess\n"
        f"WorkerProcess(SandboxConfig(timeout_s=60), ('--keep-user',)).run({program!r})\n"
    )
    root = Path(__file__).parents[1]
    scratch = {"TMPDIR": str(tmp_path)}  # a killed step cannot remove its folder
    step = subprocess.Popen([sys.executable, "-c", script], cwd=root, env=scratch)
    try:
        pids = _wait_for(lambda: note.read_text().split())
        os.kill(step.pid, signal.SIGKILL)
        step.wait()
        assert _wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    finally:
        step.kill()
        step.wait()


def _wait_for(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 20
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value
