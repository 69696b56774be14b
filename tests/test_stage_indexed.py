"""The engine of indexes: order, restarts, errors, and that nothing is left."""

import functools
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.artifacts.errors import ConfigError, StepFailedError
from components.artifacts.storage import open_storage
from components.stage import indexed
from components.stage.indexed import IndexedEngine, LocalLauncher
from components.stage.plan import EXIT_WORK_FAILED, INDEX_VARIABLE, MapPlan


def square(number):
    return number * number


def name_index(number):
    return int(os.environ[INDEX_VARIABLE])


def note(number, folder):
    """Leave a line for every time that an item is done."""
    with (folder / str(number)).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return number


def die_once(number, folder, deadly=()):
    note(number, folder)
    if number in deadly and len((folder / str(number)).read_text().splitlines()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(number):
    if number == 3:
        raise ConfigError(f"expected no 3, got {number!r}")
    return number


def refuse_one(number, folder):
    """Item 1 fails; item 0 takes long enough for a restart of its index to reach item 3."""
    note(number, folder)
    if number == 1:
        raise ConfigError("expected no 1")
    deadline = time.monotonic() + RESTART_S
    while number == 0 and time.monotonic() < deadline and not (folder / "3").exists():
        time.sleep(0.05)
    return number


RESTART_S = 3.0


class AwkwardError(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def raise_awkward(number):
    raise AwkwardError("this", "that")


def exit_early(number):
    os._exit(0)


@pytest.fixture
def engine(tmp_path):
    def make(workers):
        plans = open_storage(str(tmp_path / "plans"))
        return IndexedEngine(workers, threads=1, plans=plans, launcher=LocalLauncher())

    return make


@pytest.mark.parametrize(("workers", "count"), [(1, 3), (2, 20), (3, 7), (3, 2), (2, 0)])
def test_results_come_in_the_order_of_the_items(engine, tmp_path, workers, count):
    with engine(workers) as running:
        assert list(running.map(square, range(count), "squares")) == [n * n for n in range(count)]
    assert not [path for path in (tmp_path / "plans").rglob("*") if path.is_file()]


def test_index_i_of_n_does_the_items_i_mod_n(engine):
    with engine(3) as running:
        assert list(running.map(name_index, range(8), "indexes")) == [0, 1, 2, 0, 1, 2, 0, 1]


def test_a_killed_index_goes_on_at_its_first_missing_item(engine, tmp_path):
    work = functools.partial(die_once, folder=tmp_path, deadly=(3, 4))
    with engine(2) as running:
        assert list(running.map(work, range(8), "deaths")) == list(range(8))
    times = {n: len((tmp_path / str(n)).read_text().splitlines()) for n in range(8)}
    assert times == {n: 2 if n in (3, 4) else 1 for n in range(8)}


def test_an_index_that_is_killed_again_and_again_is_one_line(engine, monkeypatch):
    monkeypatch.setattr(indexed, "RESTARTS", 1)
    with engine(2) as running, pytest.raises(StepFailedError, match="by SIGKILL after 1 restarts"):
        list(running.map(die, range(2), "deaths"))


def test_the_error_of_the_work_is_raised_as_it_is_at_its_place(engine):
    with engine(2) as running:
        results = running.map(refuse, range(8), "refusals")
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ConfigError) as caught:
            next(results)
    assert str(caught.value) == "expected no 3, got 3"
    assert "in refuse" in caught.value.__notes__[0]


def test_an_index_whose_work_failed_is_not_started_again(engine, tmp_path):
    work = functools.partial(refuse_one, folder=tmp_path)
    with engine(2) as running, pytest.raises(ConfigError, match="expected no 1"):
        list(running.map(work, range(4), "refusals"))
    assert not (tmp_path / "3").exists()


def test_an_error_that_cannot_travel_keeps_its_text(engine):
    with engine(1) as running, pytest.raises(StepFailedError, match="AwkwardError: this and that"):
        list(running.map(raise_awkward, range(1), "errors"))


def test_an_index_that_ends_without_its_result_is_one_line(engine):
    with engine(1) as running, pytest.raises(StepFailedError, match="expected a result of item 0"):
        list(running.map(exit_early, range(1), "exits"))


def test_plans_of_a_leader_that_was_killed_are_removed(engine, tmp_path):
    stale = tmp_path / "plans" / "stale" / "plan.pickle"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"old")
    with engine(1):
        assert not stale.exists()


def run_index(uri, index):
    environment = {**os.environ, INDEX_VARIABLE: index}
    command = [sys.executable, "-P", "-m", "components.stage.map_index", *uri]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_the_command_of_a_pod_works_alone_and_makes_no_result_twice(tmp_path):
    storage = open_storage(str(tmp_path / "plan"))
    MapPlan(abs, [-1, -2, "made anew, it would fail"], 2).write(storage)
    storage.create("results/000002.pickle", pickle.dumps(("made before", None)))
    assert run_index([storage.uri], "0").returncode == 0
    results = [name for name in storage.names() if name.startswith("results")]
    assert results == ["results/000000.pickle", "results/000002.pickle"]
    assert pickle.loads(storage.read(results[0])) == (1, None)
    assert pickle.loads(storage.read(results[1])) == ("made before", None)


def test_an_index_whose_work_failed_says_so_by_its_exit_code(tmp_path):
    storage = open_storage(str(tmp_path / "plan"))
    MapPlan(abs, ["text"], 1).write(storage)
    assert run_index([storage.uri], "0").returncode == EXIT_WORK_FAILED


@pytest.mark.parametrize(
    ("index", "arguments", "text"),
    [
        ("2", ["plan"], "expected JOB_COMPLETION_INDEX 0 to 1, got '2'"),
        ("", ["plan"], "expected JOB_COMPLETION_INDEX 0 to 1, got ''"),
        ("0", [], "expected the URI of a plan as the only argument, got []"),
        ("0", ["gone"], "expected file 'plan.pickle'"),
    ],
)
def test_a_wrong_start_is_one_line(tmp_path, index, arguments, text):
    MapPlan(abs, [1, 2], 2).write(open_storage(str(tmp_path / "plan")))
    done = run_index([str(tmp_path / name) for name in arguments], index)
    assert done.returncode in (1, 2)
    assert text in done.stderr
    assert done.stderr.count("\n") == 1


ORPHANS = """
import os, sys, time
from components.artifacts.storage import open_storage
from components.stage.indexed import IndexedEngine, LocalLauncher
from sleeping import sleep

engine = IndexedEngine(2, 1, open_storage(sys.argv[1]), LocalLauncher())
list(engine.map(sleep, range(2), "sleepers"))
"""

SLEEPING = """
import os, time
def sleep(number):
    os.write(1, f"{os.getpid()}\\n".encode())  # in one piece
    time.sleep(60)
"""


def test_indexes_end_with_a_killed_leader(tmp_path, wait_until_gone):
    (tmp_path / "sleeping.py").write_text(SLEEPING)
    script = tmp_path / "orphans.py"
    script.write_text(ORPHANS)
    command = [sys.executable, str(script), str(tmp_path / "plans")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pids = [int(process.stdout.readline()) for _ in range(2)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    wait_until_gone(pids)


def sleep_unless_first(number, folder):
    note(number, folder)
    if number:
        time.sleep(60)
    return number


def test_indexes_end_with_a_map_that_is_given_up(engine, tmp_path, wait_until_gone):
    with engine(2) as running:
        results = running.map(functools.partial(sleep_unless_first, folder=tmp_path), range(2), "")
        assert next(results) == 0
        while not (tmp_path / "1").exists():
            time.sleep(0.05)
        results.close()
    pids = [int(Path(tmp_path / name).read_text()) for name in ("0", "1")]
    wait_until_gone(pids)
