"""Checkpoints in a bucket outlive every machine: whole or not there, checked, of one or of many."""

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components.artifacts import gcs_client
from components.artifacts.storage import Storage, open_storage
from components.training import bucket_checkpoints
from components.training.bucket_checkpoints import BucketCheckpoints
from components.training.checkpoints import Checkpoint
from components.training.launch import Alone
from components.training.trainer import Trainer
from tests.gcs_double import Double, Fault
from tests.test_training_step import SMALL, Inputs, MakeStep, inputs, weights

__all__ = ["inputs"]

# The client leaves sockets whose connection dropped to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Double]:
    """A bucket; small pieces, short pauses, and the scratch of a first machine."""
    monkeypatch.setattr(gcs_client, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(gcs_client, "LONGEST_PAUSE_S", 0.02)
    monkeypatch.setattr(gcs_client, "RETRY_FOR_S", 0.2)
    monkeypatch.setattr(gcs_client, "_buckets", {})
    monkeypatch.setattr(bucket_checkpoints, "PIECE_BYTES", 2**12)
    monkeypatch.setenv("CODEKILN_SCRATCH", str(tmp_path / "machine-1"))
    with Double() as state:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", state.host)
        yield state
    for bucket in gcs_client._buckets.values():
        bucket.client.close()


@pytest.fixture
def bucket(double: Double) -> Storage:
    assert double.host
    return open_storage("gs://bucket/checkpoints")


def alone(tmp_path: Path, bucket: Storage, limit: int = 2) -> BucketCheckpoints:
    """The checkpoints as a machine sees them whose disk is empty."""
    folder = tmp_path / f"disk-{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    return BucketCheckpoints(folder, Alone(), limit, bucket)


def writes(data: bytes) -> Callable[[Path], None]:
    """A backend whose state is one file of several pieces, and an empty one."""

    def write(folder: Path) -> None:
        (folder / "weights").write_bytes(data * 3000)
        (folder / "empty").write_bytes(b"")

    return write


def read(state: Path) -> bytes:
    assert (state / "empty").read_bytes() == b""
    return (state / "weights").read_bytes()


def test_the_last_whole_and_the_best_are_kept_and_read_on_another_disk(
    tmp_path: Path, bucket: Storage
) -> None:
    held = alone(tmp_path, bucket)
    for step, bits in ((5, 2.0), (10, 1.0), (15, None), (20, 3.0), (25, 4.0)):
        held.save(step, writes(b"%04d" % step), {"losses": [step]}, bits)
    held.settle()
    steps = sorted({name.split("-")[0] for name in bucket.names()})
    assert steps == [f"{step:08d}" for step in (10, 20, 25)]
    elsewhere = alone(tmp_path, bucket)
    last = elsewhere.last()
    assert last is not None
    assert (last.step, last.history, last.validation) == (25, {"losses": [25]}, 4.0)
    assert read(last.state) == b"0025" * 3000
    best = elsewhere.best()
    assert best is not None
    assert (best.step, read(best.state)) == (10, b"0010" * 3000)


@pytest.mark.parametrize("damage", ["a piece is gone", "a piece is other bytes", "no index"])
def test_what_is_not_whole_is_passed_over(
    tmp_path: Path, bucket: Storage, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    held = alone(tmp_path, bucket)
    for step in (5, 10):
        held.save(step, writes(b"%04d" % step), {})
    held.settle()
    newest = [name for name in bucket.names() if name.startswith("00000010")]
    piece = next(name for name in newest if "/pieces/" in name)
    if damage == "a piece is gone":
        bucket.remove(piece)
    elif damage == "a piece is other bytes":
        bucket.replace(piece, b"other")
    else:
        bucket.remove(next(name for name in newest if "/machine-" in name))
    with caplog.at_level(logging.WARNING, "codekiln.training"):
        last = alone(tmp_path, bucket).last()
    assert last is not None
    assert (last.step, read(last.state)) == (5, b"0005" * 3000)
    assert ("is damaged" in caplog.text) is (damage != "no index")


def test_a_bucket_that_stays_away_costs_a_checkpoint_and_not_the_run(
    tmp_path: Path, bucket: Storage, double: Double, caplog: pytest.LogCaptureFixture
) -> None:
    held = alone(tmp_path, bucket)
    held.save(5, writes(b"0005"), {})
    held.settle()
    double.faults += [Fault("POST", "", 503)] * 10_000
    with caplog.at_level(logging.WARNING, "codekiln.training"):
        held.save(10, writes(b"0010"), {})
        held.settle()
    assert "the checkpoint of step 10 is not in gs://bucket/checkpoints" in caplog.text
    double.faults.clear()
    again = alone(tmp_path, bucket)
    last = again.last()
    assert last is not None
    assert last.step == 5
    held.save(15, writes(b"0015"), {})
    held.settle()
    last = again.last()
    assert last is not None
    assert last.step == 15


class Together:
    """A process of several, as a thread."""

    def __init__(self, rank: int, local_rank: int, barrier: threading.Barrier, said: list[Any]):
        self.rank, self.local_rank = rank, local_rank
        self._barrier, self._said = barrier, said
        self.size = len(said)

    def gather(self, value: Any) -> list[Any]:
        self._said[self.rank] = value
        self._barrier.wait(20)
        values = [*self._said]
        self._barrier.wait(20)
        return values


def test_machines_with_disks_of_their_own_make_one_checkpoint_for_any_number(
    tmp_path: Path, bucket: Storage
) -> None:
    """Four processes on two machines; one that is lost in the middle leaves the one before."""
    barrier, said = threading.Barrier(4), [None] * 4
    found: dict[int, Any] = {}

    def run(rank: int) -> None:
        machine, local = divmod(rank, 2)
        folder = tmp_path / f"machine-{machine}"
        folder.mkdir(exist_ok=True)
        group = Together(rank, local, barrier, said)
        held = BucketCheckpoints(folder, group, 2, bucket)
        for step in (5, 10):
            held.save(step, lambda at: (at / f"{rank}").write_bytes(b"%d" % rank * 5000), {"a": 1})
        held.settle()
        group.gather(None)
        if rank == 0:
            lost = next(
                name for name in bucket.names() if "00000010" in name and "00001-of" in name
            )
            bucket.remove(lost)
        group.gather(None)
        last = held.last()
        assert last is not None
        found[rank] = (last.step, last.folder.parent.name, sorted(last.state.iterdir()))

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[rank][:2] for rank in range(4)] == [
        (5, "machine-0"),
        (5, "machine-0"),
        (5, "machine-1"),
        (5, "machine-1"),
    ]
    assert all([path.name for path in files] == [*"0123"] for _, _, files in found.values())
    one = alone(tmp_path, bucket).last()
    assert one is not None
    assert [(one.state / f"{rank}").read_bytes() for rank in range(4)] == [
        b"%d" % rank * 5000 for rank in range(4)
    ]


def test_a_training_whose_machine_is_lost_goes_on_on_another_bit_by_bit(
    make_step: MakeStep,
    inputs: Inputs,
    double: Double,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gradients, resume = Trainer._gradients, Trainer._resume
    resumed_at: list[int] = []

    def lost(self: Trainer) -> float:
        if self._step == 13:
            self._checkpoints.settle()
            raise RuntimeError("the machine is lost")
        return gradients(self)

    monkeypatch.setattr(Trainer, "_gradients", lost)
    with pytest.raises(RuntimeError, match="lost"):
        make_step("training", inputs, data_root="gs://bucket/root", **SMALL)
    assert any("machine-00000-of-00001" in name for name in double.buckets["bucket"])
    monkeypatch.setattr(Trainer, "_gradients", gradients)
    monkeypatch.setenv("CODEKILN_SCRATCH", str(tmp_path / "machine-2"))

    def going_on(self: Trainer, checkpoint: Checkpoint | None) -> None:
        resume(self, checkpoint)
        resumed_at.append(self._step)

    monkeypatch.setattr(Trainer, "_resume", going_on)
    resumed = make_step("training", inputs, data_root="gs://bucket/root", **SMALL)
    assert resumed_at == [10]
    whole = make_step("training", inputs, data_root=str(tmp_path / "whole"), **SMALL)
    assert weights(resumed) == weights(whole)
    assert resumed.artifact.manifest.digest == whole.artifact.manifest.digest
    assert not [name for name in double.buckets["bucket"] if ".unfinished/" in name]
