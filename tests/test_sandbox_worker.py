"""The worker outlives every program, labels it, and leaves nothing of it behind."""

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from components.problems.benchmark import load_benchmark
from components.sandbox.config import SandboxConfig
from components.sandbox.programs import program_of
from components.sandbox.supervision import Program, Verdict, WorkerProcess
from components.sandbox.worker.seccomp import (
    ALLOWED,
    AUDIT_ARCHES,
    CLONE,
    CLONE3,
    IOCTL,
    OF_ITSELF,
    PRLIMIT64,
    filter_program,
)
from tests.abuse import GOOD, PROMPT, TEST

CONFIG = SandboxConfig(timeout_s=1, wall_factor=5, max_memory_bytes=2**28)


def abuse(code: str) -> Program:
    """A program whose completion is wrong and then does something it must not."""
    return Program(PROMPT, "    return None\n" + code, TEST, "f")


def program(completion: str, test: str) -> Program:
    """A program of a test of its own."""
    return Program(PROMPT, completion, f"def check(candidate):\n{test}", "f")


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    with WorkerProcess(CONFIG) as process:
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
        ("import os\nos._exit(7)\n", "failed", "exit 7"),
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


def test_boundless_recursion_is_never_called_a_timeout() -> None:
    code = "import sys\nsys.setrecursionlimit(10**9)\ndef g(n): return g(n + 1)\ng(0)\n"
    # Time enough to touch all of the memory on a loaded machine: it is the first limit met.
    config = replace(CONFIG, timeout_s=20)
    with WorkerProcess(config) as worker:
        # Out of memory, CPython 3.11 may end a call with a SystemError of its own.
        result = worker.run(abuse(code))
        assert result.verdict in ("memory", "crashed") or result.detail == "SystemError"
        assert worker.run(GOOD).verdict == "passed"


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
    empty = "    return x + 1\nimport os\nassert os.listdir() == [], os.listdir()\n"
    assert worker.run(replace(GOOD, completion=empty)) == Verdict("passed", "")


def test_a_program_sees_no_environment_and_no_descriptor_of_its_worker(
    worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_TEST", "x")
    code = (
        "    return x + 1\nimport os\nassert not os.environ, os.environ\n"
        "try: text = open('/proc/self/environ').read()\n"
        "except OSError: text = ''\n"
        "assert 'SECRET' not in text\n"
        "held = []\n"
        "for fd in range(3, 64):\n"
        "    try: os.fstat(fd); held.append(fd)\n"
        "    except OSError: pass\n"
        "assert len(held) <= 2, held\n"
    )
    with WorkerProcess(CONFIG) as fresh:
        assert fresh.run(replace(GOOD, completion=code)) == Verdict("passed", "")


def test_a_program_that_takes_its_worker_along_twice_is_an_infra_error() -> None:
    kill = "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n"
    # Only without isolation, and where it shares the worker's user, can a program do that.
    with WorkerProcess(CONFIG, "L0", ("--ceiling", "L0", "--keep-user")) as worker:
        assert worker.run(abuse(kill)) == Verdict("infra_error", "the worker died")
        assert worker.run(GOOD) == Verdict("passed", "")


def test_a_worker_that_died_between_programs_costs_no_verdict() -> None:
    with WorkerProcess(CONFIG) as worker:
        assert worker.run(GOOD).verdict == "passed"
        assert worker.process is not None
        worker.process.kill()
        assert worker.run(GOOD) == Verdict("passed", "")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_any_process_of_a_worker_may_die_between_programs_and_no_verdict_is_lost() -> None:
    with WorkerProcess(CONFIG) as worker:
        assert worker.run(GOOD) == Verdict("passed", "")
        for place in range(3):  # the guard of the namespaces, the nursery, the test's process
            assert worker.process is not None
            pids = _below(worker.process.pid)
            os.kill(pids[min(place, len(pids) - 1)], signal.SIGKILL)
            assert worker.run(GOOD) == Verdict("passed", "")


def test_verdicts_do_not_depend_on_hash_seeds_or_on_the_random_state() -> None:
    code = (
        "    return None\nimport random\n"
        "words = list({'a', 'b', 'c', 'd', 'e', 'f'})\n"
        "random.shuffle(words)\n"
        "raise type(''.join(words), (Exception,), {})\n"
    )
    details = set()
    for _ in range(3):
        with WorkerProcess(CONFIG) as worker:
            details.add(worker.run(replace(GOOD, completion=code)).detail)
    assert len(details) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
@pytest.mark.parametrize("level", ["L0", "L2", "L3"])
def test_a_killed_step_leaves_no_worker_and_no_program(tmp_path: Path, level: str) -> None:
    script = (
        "import sys\n"
        "from components.sandbox.config import SandboxConfig\n"
        "from components.sandbox.supervision import WorkerProcess\n"
        "from tests.abuse import PROMPT, TEST\n"
        "from components.sandbox.supervision import Program\n"
        f"worker = WorkerProcess(SandboxConfig(timeout_s=60), 'L0', ('--ceiling', {level!r}))\n"
        "worker.probe()\nprint(worker.process.pid, flush=True)\n"
        "worker.run(Program(PROMPT, '    return 1\\nimport time\\ntime.sleep(60)', TEST, 'f'))\n"
    )
    root = Path(__file__).parents[1]
    scratch = {"TMPDIR": str(tmp_path)}  # a killed step cannot remove its folder
    step = subprocess.Popen(
        [sys.executable, "-c", script], cwd=root, env=scratch, stdout=subprocess.PIPE
    )
    assert step.stdout is not None
    try:
        worker = int(step.stdout.readline())
        # The nursery, in namespaces a guard before it, and the two processes of the program.
        number = 4 if level == "L3" else 3
        pids = _wait_for(lambda: found if len(found := _below(worker)) >= number else None)
        os.kill(step.pid, signal.SIGKILL)
        step.wait()
        assert _wait_for(lambda: not any(_lives(pid) for pid in [worker, *pids]))
    finally:
        step.kill()
        step.wait()
        step.stdout.close()


def _below(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [found for child in map(int, children) for found in (child, *_below(child))]


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _wait_for(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 20
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def test_values_of_exact_builtin_types_travel_and_others_are_refused(
    worker: WorkerProcess,
) -> None:
    values = (
        "[0, -1, 2**70, 10**5000, 1.5, -0.0, float('inf'), float('-inf'), 2j, True, None, 'a', "
        "'\\ud800', '\\ud83d\\ude00', '\\U0001f600', b'\\x00\\xff', (1, (2,)), {1, 2}, "
        "frozenset({3}), {(1, 2): [{'k': set()}], None: ()}, [], {}, '']"
    )
    check = (
        f"    want = {values}\n    got = candidate(0)\n"
        "    assert repr(got[4:17]) == repr(want[4:17]) and got == want\n"
        "    assert [type(v) for v in got] == [type(v) for v in want]\n"
        "    assert all(len(a) == len(b) for a, b in zip(got[11:15], want[11:15]))\n"
        "    assert candidate(1) != candidate(1)\n"
    )
    code = f"    return float('nan') if x else {values}\n"
    assert worker.run(program(code, check)) == Verdict("passed", "")
    for text in (
        "range(3)",
        "type('L', (list,), {})()",
        "type('F', (float,), {})(2)",
        "iter([])",
        "object",
        "True + 0 or f",
    ):
        result = worker.run(program(f"    return {text}\n", "    candidate(1)\n"))
        assert result.verdict == ("passed" if text.startswith("True") else "failed"), text


def test_a_function_that_changes_its_arguments_changes_the_tests(worker: WorkerProcess) -> None:
    check = (
        "    xs = [3, 1, [2]]\n    inner = xs[2]\n    d = {'a': {1}}\n"
        "    assert candidate(xs, d=d) is None\n"
        "    assert xs == [1, 3, [2, 9], 4] and xs[2] is inner and d == {'a': {1, 2}, 'b': 1}\n"
    )
    code = (
        "    pass\ndef f(xs, d):\n    xs[0], xs[1] = 1, 3\n    xs[2].append(9)\n    xs.append(4)\n"
        "    d['a'].add(2)\n    d['b'] = 1\n"
    )
    assert worker.run(program(code, check)) == Verdict("passed", "")


def test_a_test_may_expect_an_exception_and_cannot_swallow_the_end_of_the_model(
    worker: WorkerProcess,
) -> None:
    check = "    try:\n        candidate(1)\n    except {}:\n        return\n    assert False\n"
    raising = "    raise ValueError('no')\n"
    assert worker.run(program(raising, check.format("ValueError"))).verdict == "passed"
    assert worker.run(program(raising, check.format("KeyError"))).verdict == "failed"
    dying = "    import os\n    os._exit(3)\n"
    assert worker.run(program(dying, check.format("BaseException"))) == Verdict("failed", "exit 3")
    large = "    return 'x' * 10**7\n"
    assert worker.run(program(large, check.format("BaseException"))).verdict == "output"


def test_forged_replies_are_values_at_most(worker: WorkerProcess) -> None:
    code = (
        "    return 0\nimport json, os, struct\n"
        "for text in ({}):\n    data = json.dumps(text).encode()\n"
        "    for fd in range(3, 64):\n"
        "        try: os.write(fd, struct.pack('<I', len(data)) + data)\n"
        "        except OSError: pass\n"
    )
    for reply in ("['passed', ''],", "['ready'], ['value', {'p': 1}, None],", "'[' * 9999,"):
        result = worker.run(program(code.format(reply), "    assert candidate(1) == 2\n"))
        assert result.verdict in ("failed", "output"), (reply, result)
    assert worker.run(GOOD) == Verdict("passed", "")


@pytest.mark.parametrize("level", ["L1", "L2", "L3"])
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="becomes another user")
def test_all_of_humaneval_passes_for_an_unprivileged_user(tmp_path: Path, level: str) -> None:
    python = next((p for p in ("/usr/bin/python3.11", "/usr/bin/python3") if os.path.exists(p)), "")
    if not python:
        pytest.skip("no interpreter that every user may read")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(__file__).parents[1] / "components"
        shutil.copytree(root / "sandbox/worker", Path(folder) / "components/sandbox/worker")
        shutil.copy(root / "__init__.py", Path(folder) / "components")
        shutil.copy(root / "sandbox/__init__.py", Path(folder) / "components/sandbox")
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
        jobs = [
            {"id": [p.task_id, bool(c)], **asdict(program_of(p, c))}
            for p in load_benchmark("humaneval").problems
            for c in (p.canonical_solution, "")
        ]
        command = f"{python} -P -s -S -B -m components.sandbox.worker".split()
        done = subprocess.run(
            [*command, "--floor", "L0", "--ceiling", level],
            input="".join(json.dumps(job) + "\n" for job in jobs).encode(),
            stdout=subprocess.PIPE,
            env={"PYTHONHASHSEED": "0", "PYTHONPATH": folder},
            cwd="/",
            user=65534,
            group=65534,
            extra_groups=[],
            check=False,
        )
    first, *lines = map(json.loads, done.stdout.splitlines())
    if first["level"] != level:
        pytest.skip(f"this machine gives an unprivileged user no {level}: {first['refused']}")
    assert len(lines) == len(jobs)
    assert all((line["verdict"] == "passed") == line["id"][1] for line in lines)


def test_the_numbers_of_system_calls_are_the_kernels() -> None:
    headers = ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm-generic/unistd.h")
    if not all(map(os.path.exists, headers)):
        pytest.skip("the kernel's headers are not installed")
    tables = [
        dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", Path(header).read_text()))
        for header in headers
    ]
    special = {"prlimit64": PRLIMIT64, "clone": CLONE, "clone3": CLONE3, "ioctl": IOCTL}
    for name, numbers in {**ALLOWED, **OF_ITSELF, **special}.items():
        known = [table.get(name) for table in tables]
        if name == "newfstatat":
            known[1] = tables[1]["fstatat"]
        assert [*known] == [None if number is None else str(number) for number in numbers], name


def test_every_architecture_has_a_filter_that_refuses_by_default() -> None:
    for machine in AUDIT_ARCHES:
        rules = filter_program(machine, 7)
        assert len(rules) % 8 == 0
        assert struct.unpack("HBBI", rules[-8:]) == (6, 0, 0, 0x00050001)
        assert len(rules) // 8 < 4096
