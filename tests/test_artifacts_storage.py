import os
import signal
import subprocess
import sys
import time

import pytest

from components.artifacts.errors import CorruptArtifactError, LeaseHeldError, StorageError
from components.artifacts.storage import LocalStorage, open_storage


@pytest.fixture
def storage(tmp_path):
    return LocalStorage(tmp_path / "store")


def test_a_name_is_written_once(storage):
    assert storage.create("a/b", b"first")
    assert not storage.create("a/b", b"second")
    assert storage.read("a/b") == b"first"


def test_an_unfinished_write_is_never_seen(storage, monkeypatch):
    def fail(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        storage.create("whole", b"x" * 1000)
    assert not storage.exists("whole")
    assert storage.names() == []


def test_replace_swaps_the_whole_content(storage):
    storage.replace("ledger", b"one")
    storage.replace("ledger", b"two")
    assert storage.read("ledger") == b"two"
    assert storage.names() == ["ledger"]


def test_a_missing_file_is_one_line_that_says_what_to_do(storage):
    with pytest.raises(CorruptArtifactError, match=r"expected file 'gone' in .*: remove") as e:
        storage.read("gone")
    assert "\n" not in str(e.value)


def test_an_unknown_scheme_is_refused():
    with pytest.raises(StorageError, match="ftp://somewhere"):
        open_storage("ftp://somewhere/here")


def test_a_path_and_a_file_uri_open_the_same_folder(tmp_path):
    open_storage(str(tmp_path)).create("x", b"1")
    assert open_storage(f"file://{tmp_path}").read("x") == b"1"


def test_the_lease_keeps_a_second_writer_out(storage):
    held = pytest.raises(LeaseHeldError, match=f"process {os.getpid()}")
    with storage.lease(), held, storage.lease():
        pass
    with storage.lease():
        pass


HOLD = """
import sys, time
from components.artifacts.storage import open_storage
storage = open_storage(sys.argv[1])
with storage.lease():
    (storage.root / ".half.tmp").parent.mkdir(parents=True, exist_ok=True)
    (storage.root / ".half.tmp").write_bytes(b"half")
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_writer_frees_its_lease_and_its_leavings_are_swept(storage):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, storage.uri], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(LeaseHeldError), storage.lease():
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with storage.lease():
        assert not (storage.root / ".half.tmp").exists()
    assert storage.names() == []


def test_only_one_of_many_racing_writers_wins(storage):
    code = (
        "import sys, time; from components.artifacts.storage import open_storage;"
        "time.sleep(max(0, float(sys.argv[2]) - time.time()));"
        "print(open_storage(sys.argv[1]).create('x', sys.argv[3].encode()))"
    )
    start = str(time.time() + 1.5)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, storage.uri, start, str(number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    answers = [racer.communicate()[0].strip() for racer in racers]
    assert sorted(answers) == ["False", "False", "False", "True"]
    assert storage.read("x") == str(answers.index("True")).encode()


def test_a_cleared_folder_keeps_nothing_unfinished_and_other_folders_keep_all(storage):
    storage.create("plan/results/1", b"x")
    (storage.root / "plan" / "results" / ".2.77-ab.tmp").write_bytes(b"half")
    storage.create("other", b"y")
    storage.child("plan").clear()
    storage.child("plan").clear()
    assert storage.names() == ["other"]
    assert not (storage.root / "plan").exists()
