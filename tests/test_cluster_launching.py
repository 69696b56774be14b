"""What is launched is created once, adopted, replaced, followed and reaped: on a stub, and on a
real API server where KUBECONFIG names one."""

import json
import os
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from components.artifacts.errors import ClusterError, ConfigError, StepFailedError
from components.cluster import client as client_module
from components.cluster import launching, watching
from components.cluster.client import ClusterClient, ConflictError, Reference
from components.cluster.launching import HEARTBEAT, launch, run_to_end, state_of
from components.cluster.place import read_selector, read_tolerations
from components.cluster.reaping import find_silent
from components.cluster.watching import Watch
from tests.kubernetes_double import Stub

REAL = os.environ.get("KUBECONFIG", "")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(client_module, "PAUSES_S", (0.01, 0.02, 0.05, 0.05))
    monkeypatch.setattr(watching, "PAUSE_S", 0.05)
    monkeypatch.setattr(launching, "POLL_S", 0.02)


@pytest.fixture
def stub(tmp_path, monkeypatch):
    with Stub(tmp_path) as running:
        monkeypatch.setenv("KUBECONFIG", str(running.kubeconfig))
        monkeypatch.setenv("CODEKILN_NAMESPACE", "kiln")
        yield running


@pytest.fixture(params=["stub", "real"])
def client(request):
    """A client of the stub, then of the server that KUBECONFIG names."""
    if request.param == "stub":
        request.getfixturevalue("stub")
    elif not REAL:
        pytest.skip("KUBECONFIG names no API server")
    return ClusterClient.connect()


def a_job(client, command, name="", **spec):
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name or f"codekiln-test-{uuid.uuid4().hex[:8]}",
            "namespace": client.namespace,
        },
        "spec": {
            "completions": 1,
            "backoffLimit": 0,
            "activeDeadlineSeconds": 600,
            "template": {
                "metadata": {"labels": {}},
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [
                        {"name": "main", "image": "registry.invalid/none", "command": command}
                    ],
                },
            },
            **spec,
        },
    }


def test_a_name_is_taken_once_and_a_running_object_is_adopted(client):
    manifest = a_job(client, ["sleep", "60"])
    first = launch(client, manifest)
    with pytest.raises(ConflictError, match="409"):
        client.create(manifest)
    again = launch(client, manifest)
    assert again["metadata"]["uid"] == first["metadata"]["uid"]
    assert state_of(again) == "running"
    client.remove(Reference.of(manifest))


def test_an_object_of_another_content_is_replaced(client):
    manifest = a_job(client, ["sleep", "60"])
    first = launch(client, manifest)
    other = a_job(client, ["sleep", "61"], name=manifest["metadata"]["name"])
    second = launch(client, other)
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    client.remove(Reference.of(manifest))


def test_a_removed_object_is_gone_and_removing_it_again_is_nothing(client):
    manifest = a_job(client, ["sleep", "60"])
    held = launch(client, manifest)
    launching.remove_and_wait(client, held)
    assert client.read(Reference.of(manifest)) is None
    client.remove(Reference.of(manifest))
    client.annotate(Reference.of(manifest), {"a": "b"})


def test_a_watch_sees_an_object_come_change_and_go(client):
    manifest = a_job(client, ["sleep", "60"])
    name = manifest["metadata"]["name"]
    selector = f"metadata.name={name}"
    with Watch(client, "Job", client.namespace, fieldSelector=selector) as watch:
        assert watch.get(name) is None
        launch(client, manifest)
        wait_for(lambda: watch.get(name))
        client.annotate(Reference.of(manifest), {"codekiln/test": "seen"})
        wait_for(lambda: "codekiln/test" in watch.get(name)["metadata"]["annotations"])
        client.remove(Reference.of(manifest))
        wait_for(lambda: watch.get(name) is None)


def test_why_an_object_failed_is_said_however_it_was_seen(stub):
    """A list names the kind once for all its items, a watch and a read name it in the object."""
    client = ClusterClient.connect()
    manifest = a_job(client, ["sh", "-c", "echo why; exit 1"])
    reference = Reference.of(launch(client, manifest))
    wait_for(lambda: state_of(client.read(reference)) == "failed")
    with Watch(client, "Job", "kiln") as watch:
        seen = [client.read(reference), watch.get(reference.name)]
    (said,) = {launching.explain_failure(client, held) for held in seen}
    assert f"{reference} failed: BackoffLimit" in said
    assert "its last line: why" in said


def wait_for(condition, limit_s=20):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_watch_goes_on_after_410_and_dropped_connections(stub):
    client = ClusterClient.connect()
    stub.gone_watches, stub.drop_watches, stub.refuse_requests = 3, 3, 4
    with Watch(client, "ConfigMap", "kiln") as watch:
        for number in range(10):
            client.create(a_config_map(number))
            time.sleep(0.05)
        wait_for(lambda: watch.get("map-9"))
        assert all(watch.get(f"map-{number}") for number in range(10))
    assert (stub.gone_watches, stub.drop_watches, stub.refuse_requests) == (0, 0, 0)


def a_config_map(number):
    metadata = {"name": f"map-{number}", "namespace": "kiln"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": {}}


def test_a_failed_object_is_replaced_and_then_succeeds(stub, tmp_path):
    client = ClusterClient.connect()
    mark = tmp_path / "mark"
    script = f"if [ -e {mark} ]; then exit 0; else touch {mark}; echo one; echo why; exit 7; fi"
    manifest = a_job(client, ["sh", "-c", script], name="key")
    with pytest.raises(StepFailedError, match=r"kiln/key failed: BackoffLimit .*last line: why"):
        run_to_end(client, manifest)
    assert state_of(run_to_end(client, manifest)) == "succeeded"
    assert state_of(run_to_end(client, manifest)) == "succeeded", "adopted, not run a third time"
    assert stub.seen["pods"] == 2


def test_an_object_that_somebody_removes_is_one_line(stub):
    client = ClusterClient.connect()
    manifest = a_job(client, ["sleep", "60"], name="key")
    threading.Timer(0.3, lambda: client.remove(Reference.of(manifest))).start()
    with pytest.raises(StepFailedError, match="somebody removed it: run again"):
        run_to_end(client, manifest)


def test_the_heartbeat_is_refreshed_while_an_object_runs(stub, monkeypatch):
    monkeypatch.setattr(launching, "HEARTBEAT_S", 0.05)
    client = ClusterClient.connect()
    run_to_end(client, a_job(client, ["sleep", "0.5"], name="key"))
    assert stub.seen["PATCH Job"] >= 3


def test_the_reaper_finds_what_had_no_heartbeat_and_nothing_else(stub):
    client = ClusterClient.connect()
    for name in ("silent", "alive", "ended"):
        launch(client, a_job(client, ["sh", "-c", f"[ {name} = ended ] || sleep 60"], name=name))
    stranger = a_job(client, ["sleep", "60"], name="stranger")
    client.create(stranger)
    launch(client, a_config_map(1))
    wait_for(lambda: state_of(client.read(Reference("Job", "kiln", "ended"))) == "succeeded")
    later = datetime.now(UTC) + timedelta(minutes=16)
    fresh = (later - timedelta(minutes=1)).isoformat()
    client.annotate(Reference("Job", "kiln", "alive"), {HEARTBEAT: fresh})
    assert list(find_silent(client, ["kiln"], 900, datetime.now(UTC))) == []
    found = list(find_silent(client, ["kiln"], 900, later))
    assert found == [Reference("Job", "kiln", "silent"), Reference("ConfigMap", "kiln", "map-1")]


def test_what_a_launched_job_needs_has_its_heartbeat_too(stub, monkeypatch):
    """Else the reaper takes the config of a long training away from the pods that start again."""
    monkeypatch.setattr(launching, "HEARTBEAT_S", 0.1)
    client = ClusterClient.connect()
    held = Reference.of(client.create(a_config_map(1)))
    run_to_end(client, a_job(client, ["sleep", "0.6"]), beside=[held])
    assert HEARTBEAT in client.read(held)["metadata"]["annotations"]


def test_a_train_job_that_ended_goes_after_an_hour(stub):
    """A TrainJob has no time to live of its own, and counts against the quota."""
    client = ClusterClient.connect()
    failed = {"conditions": [{"type": "Failed", "status": "True"}]}
    job = {"apiVersion": "v1", "kind": "TrainJob", "spec": {"activeDeadlineSeconds": 60}}
    metadata = {"name": "old", "namespace": "kiln", "uid": "1"}
    stamped = launching.stamp({**job, "metadata": metadata})
    stamped["metadata"]["creationTimestamp"] = datetime.now(UTC).isoformat()
    stub.store("TrainJob", {**stamped, "status": failed}, "ADDED")
    now = datetime.now(UTC)
    assert list(find_silent(client, ["kiln"], 900, now + timedelta(minutes=59))) == []
    found = list(find_silent(client, ["kiln"], 900, now + timedelta(minutes=61)))
    assert found == [Reference("TrainJob", "kiln", "old")]


def test_reap_removes_them_and_says_which(stub, capsys):
    from pipelines.cli import main

    client = ClusterClient.connect()
    launch(client, a_job(client, ["sleep", "60"], name="silent"))
    old = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    client.annotate(Reference("Job", "kiln", "silent"), {HEARTBEAT: old})
    assert main(["reap", "--namespaces", "kiln", "--dry-run"]) == 0
    assert "would remove Job kiln/silent" in capsys.readouterr().out
    assert client.read(Reference("Job", "kiln", "silent"))
    assert main(["reap"]) == 0
    assert "removed Job kiln/silent" in capsys.readouterr().out
    assert client.read(Reference("Job", "kiln", "silent")) is None


def test_no_secret_is_in_an_error_or_a_log(stub, monkeypatch, caplog):
    client = ClusterClient.connect()
    config = json.loads(stub.kubeconfig.read_text())
    config["users"][0]["user"]["token"] = "wrong-secret"
    stub.kubeconfig.write_text(json.dumps(config))
    with pytest.raises(ClusterError, match="401: Unauthorized: log in again") as caught:
        ClusterClient.connect().list("Job", "kiln")
    assert "secret" not in str(caught.value)
    assert "secret" not in caplog.text
    assert "secret" not in repr(client.__dict__)


def test_no_cluster_at_all_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    with pytest.raises(ClusterError, match="expected a pod's service account or a KUBECONFIG"):
        ClusterClient.connect()


def test_a_server_that_does_not_answer_is_one_line(stub):
    client = ClusterClient.connect()
    stub.refuse_requests = 100
    with pytest.raises(ClusterError, match="expected"):
        client.list("Job", "kiln")


def test_selectors_and_tolerations_are_read_as_kubectl_spells_them():
    assert read_selector("a=b, c/d=e") == {"a": "b", "c/d": "e"}
    assert read_selector("") == {}
    assert read_tolerations("a=b:NoSchedule,c:NoExecute,d") == [
        {"key": "a", "operator": "Equal", "value": "b", "effect": "NoSchedule"},
        {"key": "c", "operator": "Exists", "effect": "NoExecute"},
        {"key": "d", "operator": "Exists"},
    ]
    assert read_tolerations('[{"operator": "Exists"}]') == [{"operator": "Exists"}]
    for read, text in (
        (read_selector, "a"),
        (read_tolerations, "a:Never"),
        (read_tolerations, "["),
    ):
        with pytest.raises(ConfigError):
            read(text)
