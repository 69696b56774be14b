"""No program of the abuse list passes, harms the worker or the next program, or leaves anything."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.sandbox.config import SandboxConfig
from components.sandbox.supervision import Verdict, WorkerProcess
from tests.abuse import ABUSES, GOOD, Abuse

CONFIG = SandboxConfig(timeout_s=1, wall_factor=3, max_memory_bytes=2**29)
LEVELS = (1, 2, 3)


@pytest.fixture(scope="module", params=LEVELS)
def worker(request: pytest.FixtureRequest) -> Iterator[WorkerProcess]:
    level = f"L{request.param}"
    with WorkerProcess(CONFIG, "L1", ("--ceiling", level)) as process:
        if process.probe() != level:
            pytest.skip(f"this machine does not reach {level}")
        yield process


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
    assert _descendants_of(before) <= 2
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
