"""No program of the abuse list passes, harms the worker or the next program, or leaves anything."""

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.artifacts.errors import StepFailedError
from components.problems.benchmark import load_benchmark
from components.sandbox.config import SandboxConfig
from components.sandbox.gvisor import runsc_path
from components.sandbox.programs import program_of
from components.sandbox.supervision import (
    ISOLATION_VARIABLE,
    Verdict,
    WorkerProcess,
    needs_gvisor,
)
from components.sandbox.worker.landlock import landlock_version
from tests.abuse import ABUSES, GOOD, Abuse

CONFIG = SandboxConfig(timeout_s=1, wall_factor=3, max_memory_bytes=2**29)
LEVELS = (1, 2, 3, 4)


@pytest.fixture(scope="module", params=LEVELS)
def worker(request: pytest.FixtureRequest) -> Iterator[WorkerProcess]:
    level = f"L{request.param}"
    inside_gvisor = level == "L4"
    if inside_gvisor and runsc_path() is None:
        pytest.skip("L4 needs gVisor's runsc on the PATH")
    with WorkerProcess(CONFIG, "L1", ("--ceiling", level), gvisor=inside_gvisor) as process:
        if process.probe() != level:
            assert not _machine_offers(level), f"{level} is offered and was not reached"
            pytest.skip(f"this machine does not offer {level}")
        yield process


def _machine_offers(level: str) -> bool:
    """Whether other means than the worker's say that a level can be reached."""
    if level != "L3":
        return level == "L1" or landlock_version() > 0
    command = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--net", "--fork"]
    return bool(shutil.which("unshare")) and subprocess.run([*command, "true"]).returncode == 0


def test_the_list_is_whole() -> None:
    assert len({abuse.name for abuse in ABUSES}) == len(ABUSES) == 41


@pytest.mark.parametrize("abuse", ABUSES, ids=lambda abuse: abuse.name)
def test_a_program_is_contained_and_the_next_one_passes(
    worker: WorkerProcess, abuse: Abuse, tmp_path: Path
) -> None:
    assert worker.process is not None
    before = worker.process.pid
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith("pytest-"):
            folder.chmod(0o777)
    loot = tmp_path / "loot"
    result = worker.run(abuse.program(str(loot)))
    contained = int(worker.level[1]) >= abuse.contained_from
    assert result.verdict != "passed"
    if contained:
        assert result.verdict in abuse.verdicts, result
        assert not loot.exists(), loot.read_text()
    assert result.detail.isascii()
    assert len(result.detail) <= 1000
    assert worker.run(GOOD) == Verdict("passed", "")
    assert worker.process is not None
    assert worker.process.pid == before, "the worker died"
    # The nursery and the test's process that waits for more; in namespaces a guard before them,
    # in gVisor its own processes.
    assert _descendants_of(before) <= (2 if worker.level < "L3" else 3)
    assert not [path for path in Path(worker.folder).glob("level-*/*") if path.name != "dev"]


def test_shared_memory_is_out_of_reach_from_level_2_on(worker: WorkerProcess) -> None:
    name = f"/dev/shm/codekiln-test-{os.getpid()}"
    code = f"    return x + 1\nopen({name!r}, 'w').close()\n"
    verdict = worker.run(dataclasses.replace(GOOD, completion=code)).verdict
    left = os.path.exists(name)
    Path(name).unlink(missing_ok=True)
    if worker.level == "L4":  # a program has a root of its own there
        assert not left
    elif worker.level >= "L2":
        assert (verdict, left) == ("failed", False)


def _descendants_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return len(children) + sum(_descendants_of(int(child)) for child in children)


def test_what_level_1_cannot_stop_is_what_the_room_says() -> None:
    listed = {abuse.name for abuse in ABUSES if abuse.contained_from > 1}
    assert listed == {"read /etc/passwd", "walk the processes", "leave a file"}
    readme = (Path(__file__).parents[1] / "components/sandbox/README.md").read_text()
    assert all(name in readme for name in listed)


def test_under_gvisor_solutions_pass_and_empty_ones_do_not() -> None:
    if runsc_path() is None:
        pytest.skip("L4 needs gVisor's runsc on the PATH")
    problems = load_benchmark("humaneval").problems[::8]
    with WorkerProcess(CONFIG, "L4", gvisor=True) as worker:
        for problem in problems:
            solved = worker.run(program_of(problem, problem.canonical_solution))
            assert solved.verdict == "passed", problem.task_id
            assert worker.run(program_of(problem, "")).verdict == "failed", problem.task_id


def test_gvisor_ends_with_the_process_that_started_it() -> None:
    if runsc_path() is None:
        pytest.skip("L4 needs gVisor's runsc on the PATH")
    code = (
        "import os, signal\n"
        "from components.sandbox.config import SandboxConfig\n"
        "from components.sandbox.supervision import WorkerProcess\n"
        "worker = WorkerProcess(SandboxConfig(), 'L4', gvisor=True)\n"
        "worker.probe()\n"
        "print(worker.folder, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[1]
    ended = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    folder = ended.stdout.strip()
    assert folder
    for _ in range(200):
        if not (left := _processes_that_name(folder)):
            break
        time.sleep(0.05)
    shutil.rmtree(folder)
    assert not left


def _processes_that_name(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if text in line:
                found.append(line)
    return found


def test_gvisor_serves_where_the_machine_itself_is_below_the_floor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if runsc_path() is None:
        pytest.skip("L4 needs gVisor's runsc on the PATH")
    assert needs_gvisor(CONFIG, "L4")
    assert not needs_gvisor(CONFIG, "L1")
    monkeypatch.setenv(ISOLATION_VARIABLE, "gvisor")
    assert needs_gvisor(CONFIG, "L1")


def test_without_runsc_gvisor_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(StepFailedError, match="no 'runsc'"):
        WorkerProcess(CONFIG, "L4", gvisor=True).probe()
