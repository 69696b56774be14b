"""No program of the abuse list passes, harms the worker or the next program, or leaves anything."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from components.problems.benchmark import load_benchmark
from components.sandbox.config import SandboxConfig
from components.sandbox.programs import program_of
from components.sandbox.supervision import Verdict, WorkerProcess
from components.sandbox.worker.landlock import landlock_version
from tests.abuse import ABUSES, GOOD, Abuse

CONFIG = SandboxConfig(timeout_s=1, wall_factor=3, max_memory_bytes=2**29)
LEVELS = (1, 2, 3)


@pytest.fixture(scope="module", params=LEVELS)
def worker(request: pytest.FixtureRequest) -> Iterator[WorkerProcess]:
    level = f"L{request.param}"
    with WorkerProcess(CONFIG, "L1", ("--ceiling", level)) as process:
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
    # The nursery, in namespaces a guard before it, and the test's process that waits for more.
    assert _descendants_of(before) <= (3 if worker.level == "L3" else 2)
    assert not [path for path in Path(worker.folder).glob("level-*/*") if path.name != "dev"]


def test_shared_memory_is_out_of_reach_from_level_2_on(worker: WorkerProcess) -> None:
    name = f"/dev/shm/codekiln-test-{os.getpid()}"
    code = f"    return x + 1\nopen({name!r}, 'w').close()\n"
    verdict = worker.run(dataclasses.replace(GOOD, completion=code)).verdict
    left = os.path.exists(name)
    Path(name).unlink(missing_ok=True)
    if worker.level >= "L2":
        assert (verdict, left) == ("failed", False)


def _descendants_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return len(children) + sum(_descendants_of(int(child)) for child in children)


def test_what_level_1_cannot_stop_is_what_the_room_says() -> None:
    listed = {abuse.name for abuse in ABUSES if abuse.contained_from > 1}
    assert listed == {"read /etc/passwd", "walk the processes", "leave a file"}
    readme = (Path(__file__).parents[1] / "components/sandbox/README.md").read_text()
    assert all(name in readme for name in listed)


@pytest.mark.skipif(not shutil.which("runsc"), reason="gVisor is not installed")
def test_under_gvisor_the_level_is_4_and_only_files_of_its_machine_are_within_reach(
    tmp_path: Path,
) -> None:
    root = Path(__file__).parents[1]
    problems = load_benchmark("humaneval").problems[:20]
    programs = [(abuse.program(str(tmp_path / "loot")), abuse.verdicts) for abuse in ABUSES]
    programs += [(program_of(p, p.canonical_solution), frozenset({"passed"})) for p in problems]
    programs += [(program_of(p, ""), frozenset({"failed"})) for p in problems]
    lines = "".join(json.dumps({"id": 0, **asdict(program)}) + "\n" for program, _ in programs)
    done = subprocess.run(
        [
            *[
                "runsc",
                "--rootless",
                "--network=none",
                "--platform=ptrace",
                "do",
                "--cwd",
                "/tmp",
                "env",
            ],
            f"PYTHONPATH={root}",
            "PYTHONHASHSEED=0",
            *f"{sys.executable} -P -s -S -B -m components.sandbox.worker".split(),
            *["--floor", "L4", "--cpu-s", "2", "--wall-s", "6", "--memory-bytes", "536870912"],
        ],
        input=lines.encode(),
        capture_output=True,
        check=False,
    )
    if not done.stdout:
        pytest.skip(f"gVisor does not start here: {done.stderr[-300:]!r}")
    first, *answers = map(json.loads, done.stdout.splitlines())
    assert first["level"] == "L4"
    assert len(answers) == len(programs)
    wrong = [
        (program.completion, answer)
        for (program, verdicts), answer in zip(programs, answers, strict=True)
        if answer["verdict"] not in verdicts
    ]
    known = ("open('/etc/passwd')", "listdir('/proc')", ", 'w').write('x')")
    assert not [found for found in wrong if not any(part in found[0] for part in known)]
    assert not (tmp_path / "loot").exists(), "a file left gVisor"
