"""What is launched is created once, adopted, replaced, followed and reaped: on a stub, and on a
real API server where KUBECONFIG names one."""

import json
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from components.artifacts.errors import ClusterError, ConfigError, StepFailedError
from components.cluster import client as client_module
from components.cluster import launching, watching
from components.cluster.client import PATHS, ClusterClient, ConflictError, Reference
from components.cluster.launching import HEARTBEAT, launch, run_to_end, state_of
from components.cluster.place import read_selector, read_tolerations
from components.cluster.reaping import find_silent
from components.cluster.watching import Watch
from tests.kubernetes_double import Stub
from tests.kubernetes_server import wait_for


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


@pytest.fixture
def client(server):
    """A client of the stub, then of the server that KUBECONFIG names."""
    return server.client


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


def test_an_object_that_is_going_is_awaited_and_not_adopted(client):
    manifest = a_job(client, ["sleep", "60"])
    first = launch(client, manifest)
    client.remove(Reference.of(manifest))
    second = launch(client, manifest)
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert "deletionTimestamp" not in client.read(Reference.of(manifest))["metadata"]


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


def a_config_map(number, namespace="kiln"):
    metadata = {"name": f"map-{number}", "namespace": namespace}
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


def test_an_object_that_failed_is_replaced_and_one_that_succeeded_is_adopted(server):
    manifest = a_job(server.client, ["sleep", "60"])
    reference = Reference.of(manifest)
    first = launch(server.client, manifest)
    server.end(reference, "Failed", "DeadlineExceeded")
    assert state_of(server.client.read(reference)) == "failed"
    second = launch(server.client, manifest)
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert state_of(second) == "running"
    server.end(reference, "Complete")
    assert state_of(run_to_end(server.client, manifest)) == "succeeded"
    assert server.client.read(reference)["metadata"]["uid"] == second["metadata"]["uid"]


def follow(client, manifest, beside=()):
    """Run to the end beside the test: what came out, or what was raised."""
    ended = []

    def run():
        try:
            ended.append(run_to_end(client, manifest, beside))
        except (StepFailedError, ClusterError) as error:
            ended.append(error)

    threading.Thread(target=run, daemon=True).start()
    wait_for(lambda: client.read(Reference.of(manifest)))
    return ended


@pytest.mark.parametrize("kind", ["Job", "TrainJob"])
def test_an_object_is_followed_to_its_end(server, kind):
    manifest = as_kind(a_job(server.client, ["sleep", "60"]), kind)
    ended = follow(server.client, manifest)
    server.end(Reference.of(manifest), "Complete")
    assert state_of(wait_for(lambda: ended)[0]) == "succeeded"
    server.client.remove(Reference.of(manifest))
    wait_for(lambda: server.client.read(Reference.of(manifest)) is None)


def as_kind(job, kind):
    if kind == "Job":
        return job
    trainer = {"command": job["spec"]["template"]["spec"]["containers"][0]["command"]}
    spec = {"activeDeadlineSeconds": 600, "trainer": trainer}
    return {**job, "apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": kind, "spec": spec}


def test_an_object_that_failed_before_it_was_watched_says_why(server, monkeypatch):
    """Lists leave the kind of their items out."""
    manifest = a_job(server.client, ["sleep", "60"])
    listed = server.client.list

    def list_late(*arguments, **selectors):
        server.end(Reference.of(manifest), "Failed", "DeadlineExceeded")
        return listed(*arguments, **selectors)

    monkeypatch.setattr(server.client, "list", list_late)
    with pytest.raises(StepFailedError, match=r"Job \S+ failed: DeadlineExceeded; run again"):
        run_to_end(server.client, manifest)


@pytest.mark.parametrize("kind", ["Job", "TrainJob"])
def test_an_object_that_somebody_removes_is_one_line(server, kind):
    manifest = as_kind(a_job(server.client, ["sleep", "60"]), kind)
    ended = follow(server.client, manifest)
    server.client.remove(Reference.of(manifest))
    assert "somebody removed it: run again" in str(wait_for(lambda: ended)[0])


def test_the_heartbeat_is_refreshed_while_an_object_runs(server, monkeypatch):
    """That of what it needs too: else the reaper takes a training's config from its next pods."""
    monkeypatch.setattr(launching, "HEARTBEAT_S", 0.1)
    client = server.client
    beside = client.create(a_config_map(1, client.namespace))
    manifest = a_job(client, ["sleep", "60"])
    held = [Reference.of(manifest), Reference.of(beside)]
    ended = follow(client, manifest, held[1:])
    for reference in held:
        first = wait_for(lambda one=reference: heartbeat_of(client, one))
        wait_for(lambda one=reference, last=first: heartbeat_of(client, one) > last)
    server.end(held[0], "Complete")
    assert state_of(wait_for(lambda: ended)[0]) == "succeeded"


def heartbeat_of(client, reference):
    return (client.read(reference)["metadata"].get("annotations") or {}).get(HEARTBEAT)


def test_the_reaper_finds_what_had_no_heartbeat_and_nothing_else(server):
    client, where = server.client, server.namespace
    for name in ("silent", "alive", "ended"):
        launch(client, a_job(client, ["sleep", "60"], name=name))
    client.create(a_job(client, ["sleep", "60"], name="stranger"))
    launch(client, a_config_map(1, where))
    launch(client, as_kind(a_job(client, ["sleep", "60"], name="silent"), "TrainJob"))
    server.end(Reference("Job", where, "ended"), "Complete")
    later = datetime.now(UTC) + timedelta(minutes=16)
    fresh = (later - timedelta(minutes=1)).isoformat()
    client.annotate(Reference("Job", where, "alive"), {HEARTBEAT: fresh})
    assert list(find_silent(client, [where], 900, datetime.now(UTC))) == []
    assert list(find_silent(client, [where], 900, later)) == [
        Reference("TrainJob", where, "silent"),
        Reference("Job", where, "silent"),
        Reference("ConfigMap", where, "map-1"),
    ]


def test_the_reaper_works_where_there_is_no_trainer(server, monkeypatch):
    monkeypatch.setitem(PATHS, "TrainJob", "apis/nobody.example/v1alpha1/namespaces/{}/trainjobs")
    launch(server.client, a_config_map(1, server.namespace))
    later = datetime.now(UTC) + timedelta(minutes=16)
    found = list(find_silent(server.client, [server.namespace], 900, later))
    assert found == [Reference("ConfigMap", server.namespace, "map-1")]


def test_a_train_job_that_ended_goes_after_an_hour(server):
    """A TrainJob has no time to live of its own, and counts against the quota."""
    manifest = as_kind(a_job(server.client, ["sleep", "60"], name="old"), "TrainJob")
    launch(server.client, manifest)
    server.end(Reference.of(manifest), "Failed")
    now, where = datetime.now(UTC), server.namespace
    assert list(find_silent(server.client, [where], 900, now + timedelta(minutes=59))) == []
    found = list(find_silent(server.client, [where], 900, now + timedelta(minutes=61)))
    assert found == [Reference.of(manifest)]


def test_reap_removes_them_and_says_which(server, capsys):
    from pipelines.cli import main

    client, where = server.client, server.namespace
    launch(client, a_job(client, ["sleep", "60"], name="silent"))
    launch(client, a_job(client, ["sleep", "60"], name="alive"))
    old = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    client.annotate(Reference("Job", where, "silent"), {HEARTBEAT: old})
    assert main(["reap", "--namespaces", where, "--dry-run"]) == 0
    assert f"would remove Job {where}/silent" in capsys.readouterr().out
    assert client.read(Reference("Job", where, "silent"))
    assert main(["reap"]) == 0
    said = capsys.readouterr().out
    assert f"removed Job {where}/silent" in said
    assert "alive" not in said
    wait_for(lambda: client.read(Reference("Job", where, "silent")) is None)
    assert client.read(Reference("Job", where, "alive"))


def test_no_secret_is_in_an_error_or_a_log(server, tmp_path, monkeypatch, caplog):
    config = yaml.safe_load(server.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": "wrong-secret"}
    (tmp_path / "wrong").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "wrong"))
    with pytest.raises(ClusterError, match="401: Unauthorized: log in again") as caught:
        ClusterClient.connect().list("Job", server.namespace)
    assert "secret" not in str(caught.value)
    assert "secret" not in caplog.text
    assert "secret" not in repr(server.client.__dict__)


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
