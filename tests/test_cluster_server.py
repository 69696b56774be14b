"""What steps launch is taken, followed and removed by an API server, though no pod runs: on a stub,
and on a real one where KUBECONFIG names it."""

import base64
import json
import threading

import pytest

from components.artifacts.errors import ClusterError, StepFailedError
from components.artifacts.manifest import MANIFEST_NAME
from components.artifacts.storage import open_storage
from components.cluster import chunk_jobs, launching, train_jobs, training, watching
from components.cluster import client as client_module
from components.cluster.accelerators import machines_of
from components.cluster.chunk_jobs import ChunkJobs
from components.cluster.client import GoneError, Reference
from components.cluster.indexed_jobs import IndexedJobLauncher, index_job
from components.cluster.launching import launch, state_of
from components.cluster.place import Place
from components.cluster.training import TrainJobLauncher
from components.cluster.watching import Watch
from components.sandbox import batches
from components.sandbox import jobs as sandbox_jobs
from components.sandbox.batches import Batch
from components.sandbox.config import SandboxConfig
from components.stage.engine import SharedStep
from components.stage.execution import Execution
from tests.kubernetes_server import pod, wait_for

KEY = "0123456789abcdef" * 2


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(client_module, "PAUSES_S", (0.01, 0.02, 0.05, 0.05))
    monkeypatch.setattr(watching, "PAUSE_S", 0.05)
    monkeypatch.setattr(launching, "POLL_S", 0.02)
    monkeypatch.setattr(chunk_jobs, "POLL_S", 0.2)


@pytest.fixture(autouse=True)
def idle(server, monkeypatch):
    """No pod runs on the stub either."""
    if server.stub:
        monkeypatch.setattr(server.stub, "run_object", lambda *_: None)


def chunk(server, name, data=b"programs"):
    """A ConfigMap and its Job, as the sandbox makes them."""
    metadata = {"name": name, "namespace": server.namespace, "labels": {"codekiln/key": "k"}}
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "immutable": True,
        "binaryData": {"programs.gz": base64.b64encode(data).decode()},
    }
    container = {"name": "m", "image": "registry.invalid/none", "command": ["sleep", "60"]}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "completions": 1,
            "backoffLimit": 0,
            "activeDeadlineSeconds": 60,
            "template": {
                "metadata": {},
                "spec": {"restartPolicy": "Never", "containers": [container]},
            },
        },
    }
    return config_map, job


def read(server, kind, name):
    return server.client.read(Reference(kind, server.namespace, name))


def start(work):
    """Work beside the test: what it returned, or raised."""
    ended = []

    def run():
        try:
            ended.append(work())
        except (StepFailedError, ClusterError) as error:
            ended.append(error)

    threading.Thread(target=run, daemon=True).start()
    return ended


@pytest.mark.parametrize("ending", ["Complete", "Failed"])
def test_a_chunk_and_its_programs_go_when_its_job_has_ended(server, ending):
    config_map, job = chunk(server, "c-0")
    with ChunkJobs(server.client, server.namespace, "codekiln/key=k") as chunks:
        ended = start(lambda: chunks.run(config_map, job, 99))
        held = wait_for(lambda: read(server, "Job", "c-0") and read(server, "ConfigMap", "c-0"))
        assert held["immutable"]
        assert held["binaryData"] == config_map["binaryData"]
        server.end(Reference.of(job), ending)
        assert wait_for(lambda: ended) == [b""], "no pod said anything"
        wait_for(lambda: not (read(server, "Job", "c-0") or read(server, "ConfigMap", "c-0")))


def test_programs_of_another_launcher_are_replaced_and_equal_ones_are_kept(server):
    config_map, _ = chunk(server, "c-0", b"others")
    others = launch(server.client, config_map)
    own, job = chunk(server, "c-0")
    uids = []
    for _ in range(2):
        with ChunkJobs(server.client, server.namespace, "codekiln/key=k") as chunks:
            start(lambda: chunks.run(own, job, 99))
            wait_for(lambda: read(server, "Job", "c-0"))
            held = read(server, "ConfigMap", "c-0")
            assert held["binaryData"] == own["binaryData"]
            uids.append(held["metadata"]["uid"])
    assert uids[0] == uids[1] != others["metadata"]["uid"]


def test_programs_cannot_be_changed_and_are_marked_as_alive(server):
    config_map, _ = chunk(server, "c-0")
    reference = Reference.of(launch(server.client, config_map))
    server.client.annotate(reference, {"codekiln/heartbeat": "later"})
    with pytest.raises(ClusterError, match=r"422: .*immutable.*: mend the manifest"):
        server.client._json(
            "PATCH",
            f"api/v1/namespaces/{server.namespace}/configmaps/c-0",
            "change it",
            body={"binaryData": {"programs.gz": "YQ=="}},
            kind="merge-patch+json",
        )
    held = server.client.read(reference)
    assert held["metadata"]["annotations"]["codekiln/heartbeat"] == "later"
    assert held["binaryData"] == config_map["binaryData"]


def test_what_the_server_refuses_is_one_line_that_says_why(server):
    too_large, _ = chunk(server, "c-0", b"x" * 2**21)
    with pytest.raises(ClusterError, match=r"got 422: .*Too long: .*1048576 bytes: mend") as caught:
        launch(server.client, too_large)
    assert "\n" not in str(caught.value)
    misnamed, _ = chunk(server, "Not_A_Name")
    with pytest.raises(ClusterError, match=r"got 422: .*RFC 1123"):
        launch(server.client, misnamed)


def test_a_watch_of_a_version_that_is_too_old_lists_anew(server, monkeypatch):
    """The server's first list of a kind is the oldest version that it knows: 1 is older."""
    client, where = server.client, server.namespace
    job = train_job(server, "held")
    client.create(job)
    with pytest.raises(GoneError, match="410: too old resource version"):
        list(client.watch("TrainJob", where, "1").events())
    listed, versions = client.list, ["1"]

    def list_old(*arguments, **selectors):
        found = listed(*arguments, **selectors)
        if versions:
            found["metadata"]["resourceVersion"] = versions.pop()
        return found

    monkeypatch.setattr(client, "list", list_old)
    with Watch(client, "TrainJob", where) as watch:
        wait_for(lambda: watch.get("held"))
        client.create(train_job(server, "later"))
        wait_for(lambda: watch.get("later"))
    assert versions == []


def train_job(server, name):
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": name, "namespace": server.namespace},
        "spec": {"activeDeadlineSeconds": 600, "trainer": {"command": ["sleep", "60"]}},
    }


def test_a_pod_without_a_log_has_none(server):
    """It is gone, it has not begun, its node is gone, or does not answer."""
    assert server.client.read_log(server.namespace, "nobody") == b""
    if not server.stub:
        for name, where in (("pending", {}), ("lost", {"nodeName": "no-such-node"})):
            server.client.create(pod(server.namespace, name, **where))
            assert server.client.read_log(server.namespace, name, tail_lines=20) == b""
    with server.silent_node() as name:
        assert server.client.read_log(server.namespace, name, max_bytes=99) == b""


def test_jobs_of_a_key_that_a_killed_launcher_left_are_removed_and_others_stay(server):
    execution = Execution(data_root="gs://b/root", queue="cpu", spot=True)
    place = Place.of(execution, server.namespace, "registry.invalid/data:1")
    for name, key in (("step-0", KEY), ("step-1", KEY), ("other-0", "f" * 32)):
        launch(server.client, index_job(name, key, "gs://nowhere/plan", 2, place))
    IndexedJobLauncher(server.client, place, "step", KEY).remove_left()
    left = {one["metadata"]["name"] for one in server.client.list("Job", server.namespace)["items"]}
    assert left == {"other-0"}


def test_objects_of_every_builder_are_taken(server):
    """Names, quantities, volumes, selectors: what a server checks at creation."""
    where, image = server.namespace, "registry.invalid/data:1"
    place = Place.of(
        Execution(
            data_root="gs://b/root",
            queue="cpu",
            spot=True,
            node_selector="pool=big",
            tolerations="a=b:NoSchedule,c",
        ),
        where,
        image,
    )
    sandbox = sandbox_jobs.Place(namespace=where, image=image, queue="cpu")
    batch = Batch(KEY, 12, (), b"programs", attempt=3)
    taken = training_objects(place)
    taken.append(index_job("step-0", KEY, "gs://b/plan", 3, place))
    taken.append(sandbox_jobs.batch_job(batch, SandboxConfig(), sandbox))
    taken.append(batches.config_map(batch, where, sandbox_jobs.labels_of(batch)))
    for manifest in taken:
        held = launch(server.client, manifest)
        assert lost(manifest, held, old=not server.stub) == []


def training_objects(place):
    made = train_jobs.Training(
        key=KEY, config={}, inputs={"tokens": "gs://b/t"}, data_root="gs://b/root", fsdp=8
    )
    placed = train_jobs.Placement(place=place, machines=machines_of("gpu-h100", 16))
    return [train_jobs.train_job(made, placed), train_jobs.config_map(made, placed)]


NEWER = ("completionMode", "backoffLimitPerIndex", "podFailurePolicy", "ttlSecondsAfterFinished")
"""Fields of a Job that a server of before 1.21 to 1.33 drops."""


def lost(sent, held, old=False, way=""):
    """The fields of what was sent that are not held as they were sent."""
    if isinstance(sent, dict) and isinstance(held, dict):
        return [
            found
            for name, value in sent.items()
            if not (old and name in NEWER)
            for found in lost(value, held.get(name), old, f"{way}/{name}")
        ]
    if isinstance(sent, list) and isinstance(held, list) and len(sent) == len(held):
        return [
            found
            for number, (one, other) in enumerate(zip(sent, held, strict=True))
            for found in lost(one, other, old, f"{way}/{number}")
        ]
    empty = held is None and sent in ({}, [], False, "")
    return [] if sent == held or empty else [f"{way}: sent {sent!r}, held {held!r}"]


def shared_step(folder):
    inputs = {"tokens": str(folder / "a"), "tokenizer": str(folder / "b")}
    storage = open_storage(str(folder / "training" / KEY))
    return SharedStep(name="training", key=KEY, config={}, inputs=inputs, storage=storage)


@pytest.fixture
def trained(server, tmp_path, monkeypatch):
    """A training that is launched: its objects' name, the step, and how to start a launcher."""
    monkeypatch.setattr(training, "image_uri", lambda family: f"registry.invalid/{family}:1")
    monkeypatch.setenv("CODEKILN_DATA_CLAIM", "data")
    step = shared_step(tmp_path)
    execution = Execution(data_root=str(tmp_path))
    return f"training-{KEY[:16]}", step, lambda: TrainJobLauncher(execution).launch(step)


def test_a_training_is_adopted_and_its_objects_go_once_it_is_made(server, trained):
    name, step, launch_training = trained
    first = start(launch_training)
    uid = wait_for(lambda: read(server, "TrainJob", name))["metadata"]["uid"]
    second = start(launch_training)
    assert (
        json.loads(wait_for(lambda: read(server, "ConfigMap", name))["data"]["config.json"]) == {}
    )
    step.storage.create(MANIFEST_NAME, b"{}")
    server.end(Reference("TrainJob", server.namespace, name), "Complete")
    assert (wait_for(lambda: first), wait_for(lambda: second)) == ([None], [None])
    wait_for(lambda: not (read(server, "TrainJob", name) or read(server, "ConfigMap", name)))
    assert uid


def test_a_training_that_failed_stays_for_its_log_and_the_next_launcher_replaces_it(
    server, trained
):
    name, _, launch_training = trained
    reference = Reference("TrainJob", server.namespace, name)
    first = start(launch_training)
    uid = wait_for(lambda: server.client.read(reference))["metadata"]["uid"]
    server.end(reference, "Failed", "JobSetFailed")
    assert f"{reference} failed: JobSetFailed; run again" in str(wait_for(lambda: first)[0])
    assert state_of(server.client.read(reference)) == "failed"
    start(launch_training)
    held = wait_for(lambda: unless_uid(server.client.read(reference), uid))
    assert state_of(held) == "running"


def unless_uid(held, uid):
    return held if held and held["metadata"]["uid"] != uid else None
