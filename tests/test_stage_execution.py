import errno
import json
import os
import signal
import subprocess
import sys
import types
from dataclasses import dataclass

import pytest

from components.artifacts.errors import (
    LeaseHeldError,
    MissingExtraError,
    StepFailedError,
    WrongKindError,
)
from components.artifacts.rows import draft_rows, read_rows
from components.artifacts.storage import open_storage
from components.artifacts.tally import Tally
from components.stage.command import one_line, run_guarded, run_step_command
from components.stage.config import Config
from components.stage.engine import LocalEngine, map_shards
from components.stage.execution import Execution, execute
from components.stage.step import Report, Step


@dataclass(frozen=True, kw_only=True, slots=True)
class ToyConfig(Config):
    num_places: int = 3
    """Places of the plan."""


TOY = Step(
    name="toy",
    version=1,
    kind="toys",
    summary="Makes toys.",
    config=ToyConfig,
    inputs={},
    extra="data",
)


def make_place(number):
    return [draft_rows("toys", [{"number": number}])], Tally()


def run_toy(inputs, output, config, engine):
    tally = map_shards(engine, output, make_place, range(config.num_places), "toys")
    return Report(tally=tally, measures={"num_places": float(config.num_places)})


@pytest.fixture
def toy(monkeypatch):
    module = types.ModuleType("components.toy.run")
    module.run = run_toy
    monkeypatch.setitem(sys.modules, "components.toy", types.ModuleType("components.toy"))
    monkeypatch.setitem(sys.modules, "components.toy.run", module)
    return module


def run(tmp_path, step=TOY, config=None, **execution):
    settings = Execution(data_root=str(tmp_path / "data"), workers=1, **execution)
    return execute(step, config or ToyConfig(), {}, tmp_path / "out", settings)


def test_a_finished_step_is_found_and_reused(tmp_path, toy):
    first = run(tmp_path)
    toy.run = None
    second = run(tmp_path)
    assert (first.reused, second.reused) == (False, True)
    assert second.artifact.manifest == first.artifact.manifest


def test_another_config_or_version_is_made_anew(tmp_path, toy):
    import dataclasses

    keys = {
        run(tmp_path).artifact.manifest.key,
        run(tmp_path, config=ToyConfig(num_places=4)).artifact.manifest.key,
        run(tmp_path, step=dataclasses.replace(TOY, version=2)).artifact.manifest.key,
    }
    assert len(keys) == 3


def test_a_failed_step_goes_on_at_the_first_missing_place(tmp_path, toy):
    made = []

    def fail_at_the_third(inputs, output, config, engine):
        for number in range(config.num_places):
            if output.committed(number) is None:
                if number == 2 and len(made) == 2:
                    made.append("failed")
                    raise RuntimeError("out of luck")
                made.append(number)
                output.commit(number, *make_place(number))
        return Report(tally=Tally())

    toy.run = fail_at_the_third
    with pytest.raises(RuntimeError, match="out of luck"):
        run(tmp_path)
    assert not list((tmp_path / "data").rglob("manifest.json"))
    outcome = run(tmp_path)
    assert made == [0, 1, "failed", 2]
    assert [row["number"] for row in read_rows(outcome.artifact, "toys")] == [0, 1, 2]


def test_a_step_that_another_run_writes_is_left_alone(tmp_path, toy):
    key = run(tmp_path).artifact.manifest.key
    storage = open_storage(str(tmp_path / "data")).child("toy").child(key)
    storage.remove("manifest.json")
    with storage.lease(), pytest.raises(LeaseHeldError, match="wait for it or stop it"):
        run(tmp_path)


def test_times_and_hosts_are_in_the_ledger_and_not_in_the_manifest(tmp_path, toy):
    storage = run(tmp_path).artifact.storage
    ledger = json.loads(storage.read("ledger.json"))
    assert ledger["seconds"] >= 0
    assert ledger["peak_rss_bytes"] > 1e6
    manifest = storage.read("manifest.json").decode()
    assert str(tmp_path) not in manifest
    assert ledger["host"] not in manifest


def test_an_input_of_another_kind_is_refused(tmp_path, toy, documents_of):
    step = Step(
        name="toy",
        version=1,
        kind="toys",
        summary="",
        config=ToyConfig,
        inputs={"tokens": "tokens"},
    )
    uri = documents_of([]).storage.uri
    with pytest.raises(WrongKindError, match="expected an artifact of kind 'tokens'"):
        execute(step, ToyConfig(), {"tokens": uri}, tmp_path, Execution(data_root=str(tmp_path)))


def test_a_missing_extra_says_what_to_install(tmp_path, monkeypatch):
    def import_module(name):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("importlib.import_module", import_module)
    with pytest.raises(MissingExtraError, match=r"needs the package 'torch'.*codekiln\[data\]"):
        run(tmp_path)


def square(number):
    return number * number


def suicide(number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(workers):
    engine = LocalEngine(workers=workers, threads=1)
    assert list(engine.map(square, range(20), "squares")) == [n * n for n in range(20)]


def test_a_killed_worker_is_one_line():
    with pytest.raises(StepFailedError, match="fewer --workers"):
        list(LocalEngine(workers=2, threads=1).map(suicide, range(2), "deaths"))


ORPHANS = """
import os, sys, time
from components.stage.engine import LocalEngine

def work(number):
    os.write(1, b"%d\\n" % os.getpid())  # one call: two workers' lines must not interleave
    time.sleep(60)

if __name__ == "__main__":
    list(LocalEngine(workers=2, threads=1).map(work, range(2), "sleepers"))
"""


def test_workers_end_with_a_killed_step(tmp_path, wait_until_gone):
    script = tmp_path / "orphans.py"
    script.write_text(ORPHANS)
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pids = [int(process.stdout.readline()) for _ in range(2)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    wait_until_gone(pids)


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--output", "o", "--num-plces", "3"], "unknown flag '--num-plces'"),
        (["--num-places", "3"], "the following arguments are required: --output"),
        (["--output", "o", "--num-places", "three"], "expected num_places to be int, got 'three'"),
        (["--output", "o", "--workers", "-1"], "expected workers 0 to 1024, got -1"),
        (
            ["--output", "o", "--config", "gone.json"],
            "expected a JSON file for --config, got 'gone.json'",
        ),
        (["--output", "file"], "expected a folder for --output, got the file 'file'"),
        (["--output", "file/below"], "expected a folder for --output, got the file 'file/below'"),
    ],
)
def test_a_wrong_flag_is_one_line_and_an_exit_code(tmp_path, monkeypatch, capsys, toy, argv, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("not a folder\n")
    assert run_guarded(lambda: run_step_command(TOY, argv), "toy") in (1, 2)
    said = capsys.readouterr().err
    assert text in said
    assert said.count("\n") == 1


def test_a_full_disk_is_one_line_and_nothing_half_written(tmp_path, monkeypatch, capsys, toy):
    def fail(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    data = tmp_path / "data"
    code = run_step_command(
        TOY, ["--output", str(tmp_path / "o"), "--data-root", str(data), "--workers", "1"]
    )
    monkeypatch.undo()
    said = capsys.readouterr().err
    assert code == 1
    assert "the disk is full" in said
    assert said.count("\n") == 1
    assert not list(data.rglob("*.json"))


def test_an_error_of_several_lines_is_put_into_one():
    assert one_line(ValueError("a\n  b")) == "ValueError: a b"


def test_an_unexpected_error_leaves_its_traceback_in_the_log(tmp_path, toy, capsys):
    def broken(inputs, output, config, engine):
        raise KeyError("a bug")

    toy.run = broken
    arguments = ["--output", str(tmp_path / "o"), "--data-root", str(tmp_path / "data")]
    log = tmp_path / "log.txt"
    code = run_step_command(TOY, [*arguments, "--log", str(log)])
    assert code == 1
    assert "Traceback" not in capsys.readouterr().err
    assert "in broken" in log.read_text()
    assert "a bug" in (tmp_path / "o" / "error.txt").read_text()
