"""Google Cloud Storage keeps the promises of the local disk: one test body for both, and races."""

import contextlib
import multiprocessing
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from components.artifacts import gcs_client, gcs_lease, gcs_transfer
from components.artifacts.errors import CorruptArtifactError, LeaseHeldError, StorageError
from components.artifacts.storage import open_storage
from tests.gcs_double import Double, Fault

# The client leaves sockets whose connection dropped to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

EMULATOR = """
import sys
from gcp_storage_emulator.server import create_server
server = create_server("127.0.0.1", int(sys.argv[1]), in_memory=True, default_bucket="bucket")
server.start()
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def emulator():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", EMULATOR, str(port)],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    host = f"http://127.0.0.1:{port}"
    while True:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{host}/storage/v1/b/bucket/o").close()
            break
        time.sleep(0.05)
    yield host
    process.kill()
    process.wait()
    process.stdin.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Small pieces and short pauses; scratch in the test's folder."""
    monkeypatch.setattr(gcs_client, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(gcs_client, "LONGEST_PAUSE_S", 0.05)
    monkeypatch.setattr(gcs_client, "RETRY_FOR_S", 5.0)
    monkeypatch.setattr(gcs_transfer, "PIECE_BYTES", 2**18)
    monkeypatch.setattr("google.cloud.storage.blob._MAX_MULTIPART_SIZE", 2**18)
    monkeypatch.setattr(gcs_lease, "RENEW_S", 0.1)
    monkeypatch.setattr(gcs_lease, "LEASE_S", 0.6)
    monkeypatch.setattr(gcs_lease, "POLL_S", 0.05)
    monkeypatch.setenv("CODEKILN_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setattr(gcs_client, "_buckets", {})
    yield
    for bucket in gcs_client._buckets.values():
        bucket.client.close()


@pytest.fixture
def double(monkeypatch):
    with Double() as state:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", state.host)
        yield state


@pytest.fixture(params=["disk", "emulator", "double"])
def storage(request, tmp_path, monkeypatch):
    if request.param == "disk":
        return open_storage(str(tmp_path / "store"))
    if request.param == "emulator":
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", request.getfixturevalue("emulator"))
    else:
        request.getfixturevalue("double")
    return open_storage(f"gs://bucket/{request.node.name}")


BIG = bytes(range(256)) * 4096 + b"end"


def test_what_is_written_is_read_whole_and_in_parts(storage):
    for name, data in (("a", b"x"), ("empty", b""), ("folder/big", BIG)):
        assert storage.create(name, data)
        assert storage.exists(name)
        assert storage.read(name) == data
        assert storage.local_path(name).read_bytes() == data
        assert storage.read_range(name, 0, 10**9) == data
    assert storage.read_range("folder/big", 300_000, 900_001) == BIG[300_000:900_001]
    assert storage.read_range("folder/big", 5, 5) == b""
    assert storage.names() == ["a", "empty", "folder/big"]
    assert storage.child("folder").names() == ["big"]
    assert open_storage(f"{storage.uri}/folder").read("big") == BIG
    assert storage.modified_unix_s("a") > 1e9


def test_replacing_and_removing(storage):
    storage.replace("ledger", b"one")
    first = storage.local_path("ledger").read_bytes()
    storage.replace("ledger", b"two")
    assert (first, storage.read("ledger")) == (b"one", b"two")
    assert storage.local_path("ledger").read_bytes() == b"two"
    storage.remove("ledger")
    storage.remove("ledger")
    assert storage.names() == []
    assert not storage.exists("ledger")


def test_a_missing_file_is_one_line(storage):
    for read in (storage.read, storage.local_path, storage.modified_unix_s):
        with pytest.raises(CorruptArtifactError, match=r"expected file 'gone' in .*: remove"):
            read("gone")


def test_many_names_are_listed_in_order(storage):
    names = sorted(f"records/{n:05d}.json" for n in range(20))
    for name in names:
        storage.create(name, b"{}")
    storage.child("records-of-another").create("x", b"")
    assert storage.child("records").names() == [name.split("/")[1] for name in names]


def test_scratch_is_on_this_machine_and_stays(storage):
    (storage.scratch() / "half").write_text("work")
    assert (open_storage(storage.uri).scratch() / "half").read_text() == "work"


def test_a_storage_travels_to_another_process(storage):
    storage.create("x", b"data")
    assert pickle.loads(pickle.dumps(storage)).read("x") == b"data"


def test_a_client_is_not_shared_with_a_forked_process(double):
    storage = open_storage("gs://bucket/folder")
    storage.create("x", b"data")
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        assert pool.map(storage.read, ["x"] * 8) == [b"data"] * 8


@pytest.fixture(params=["disk", "double"])
def strict(request, tmp_path):
    """What honours create-only publication, which the emulator does not."""
    if request.param == "disk":
        return open_storage(str(tmp_path / "store"))
    request.getfixturevalue("double")
    return open_storage("gs://bucket/folder")


@pytest.mark.parametrize("size", [1, len(BIG)])
def test_a_name_is_written_once(strict, size):
    assert strict.create("a/b", BIG[:size])
    assert not strict.create("a/b", b"second")
    assert not strict.create("a/b", BIG[:size])
    assert strict.read("a/b") == BIG[:size]


def test_of_many_racing_writers_one_wins(strict):
    barrier, won = threading.Barrier(8), []

    def race(number):
        barrier.wait()
        if strict.create("x", str(number).encode() * 300_000):
            won.append(number)

    threads = [threading.Thread(target=race, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert strict.read("x") == str(won[0]).encode() * 300_000
    assert len(won) == 1


def test_the_lease_keeps_a_second_writer_out(strict):
    held = pytest.raises(LeaseHeldError, match=f"process {os.getpid()} on")
    with strict.lease(), held, strict.lease():
        pass
    with strict.lease():
        pass
    assert strict.names() == []


@pytest.mark.parametrize("what", [429, 503, 500, "drop_before", "drop_after", "drop_middle"])
@pytest.mark.parametrize("size", [1000, len(BIG)])
def test_no_fault_of_the_store_loses_or_doubles_anything(double, what, size):
    storage = open_storage("gs://bucket/folder")
    storage.exists("anything")
    for method in ("POST", "PUT", "GET", "DELETE"):
        double.faults += [Fault(method, "", what), Fault(method, "", what)]
    assert storage.create("a", BIG[:size]), "an own write whose answer was lost is an own write"
    assert not storage.create("a", b"other")
    assert storage.read("a") == BIG[:size]
    double.faults += [Fault("GET", "alt=media", what)]
    assert storage.local_path("a").read_bytes() == BIG[:size]
    storage.replace("a", b"new")
    assert storage.read("a") == b"new"
    storage.remove("a")
    assert storage.names() == []
    unused = {fault.method for fault in double.faults}
    assert unused <= ({"PUT"} if size < gcs_transfer.PIECE_BYTES else set()) | (
        {"DELETE"} if what == "drop_middle" else set()  # its answer has no middle
    )


def test_memory_of_a_transfer_is_bounded_by_its_pieces(double):
    storage = open_storage("gs://bucket/folder")
    storage.create("a", BIG)
    assert double.largest_upload == 2**18


def call_on(uri, call):
    arguments = {"create": ("x", b""), "replace": ("x", b""), "names": (), "lease": ()}
    getattr(open_storage(uri), call)(*arguments.get(call, ("x",)))


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("gs://nowhere/data", "found no such bucket: create it, or mend --data-root"),
        ("gs://secret/data", "got 403 the account has no storage.objects.list access"),
        ("gs://", "expected gs://BUCKET/FOLDER"),
        ("gs://Capital/x", "expected gs://BUCKET/FOLDER"),
    ],
)
def test_a_store_that_refuses_is_one_line_for_every_call(double, uri, text):
    double.forbidden.add("secret")
    for call in ("read", "exists", "names", "create", "replace", "remove", "lease", "local_path"):
        with pytest.raises(StorageError) as caught:
            call_on(uri, call)
        assert text in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_store_that_stays_away_is_one_line_without_the_uploads_address(double, monkeypatch):
    monkeypatch.setattr(gcs_client, "RETRY_FOR_S", 0.2)
    storage = open_storage("gs://bucket/folder")
    storage.exists("x")
    double.faults += [Fault("PUT", "", 503)] * 1000
    with pytest.raises(StorageError) as caught:
        storage.create("big", BIG)
    assert "gs://bucket/folder/big" in str(caught.value)
    assert "secret-" not in str(caught.value)
    assert caught.value.__suppress_context__


HOLD = """
import sys, time
from components.artifacts.storage import open_storage
with open_storage(sys.argv[1]).lease():
    print("held", flush=True)
    time.sleep(60)
"""


def hold_elsewhere(uri):
    process = subprocess.Popen([sys.executable, "-c", HOLD, uri], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def end(process):
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_holder_that_was_killed_on_this_machine_is_not_waited_for(double, monkeypatch):
    monkeypatch.setattr(gcs_lease, "LEASE_S", 600.0)
    storage = open_storage("gs://bucket/folder")
    end(hold_elsewhere(storage.uri))
    with storage.lease():
        pass


def test_a_lost_pods_lease_expires(double, monkeypatch):
    storage = open_storage("gs://bucket/folder")
    process = hold_elsewhere(storage.uri)
    monkeypatch.setattr(socket, "gethostname", lambda: "another-pod")
    end(process)
    started = time.monotonic()
    with storage.lease():
        assert time.monotonic() - started >= gcs_lease.LEASE_S


def test_a_holder_that_slept_too_long_finds_its_lease_lost(double, monkeypatch):
    noticed = threading.Event()
    monkeypatch.setattr(gcs_lease.logger, "error", lambda *_: noticed.set())
    storage = open_storage("gs://bucket/folder")

    def lose_it():
        with storage.lease():
            held = double.buckets["bucket"][".folder.lease"]
            while double.store("bucket", ".folder.lease", b"thief", {}, held.generation) is None:
                held = double.buckets["bucket"][".folder.lease"]
            assert noticed.wait(20)

    with pytest.raises(LeaseHeldError, match="lost it to another run"):
        lose_it()
    assert double.buckets["bucket"][".folder.lease"].data == b"thief"


def test_a_renewal_whose_answer_is_lost_keeps_the_lease(double):
    storage = open_storage("gs://bucket/folder")
    with storage.lease():
        double.faults += [Fault("POST", "", "drop_after")] * 2
        deadline = time.monotonic() + 10
        while double.faults and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(3 * gcs_lease.RENEW_S)
    assert double.buckets["bucket"] == {}
