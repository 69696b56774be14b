"""A real API server takes what `k8s/` renders, and holds each account to its rights.

    KUBECONFIG=... .venv/bin/python -m pytest -q -n 0 tests/test_k8s_server.py

Skipped without KUBECONFIG. Everything is installed under names of the test's own (namespaces with a
suffix); what belongs to the whole cluster is tried without being kept. A kind that the server does
not know is made known without a schema where it is a custom one, and left out where it is newer.
"""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.artifacts.errors import ClusterError
from components.cluster import client as client_module
from components.cluster import launching
from components.cluster.client import ClusterClient, Reference
from components.cluster.launching import launch, pods_of, remove_and_wait
from components.cluster.reaping import find_silent
from components.cluster.watching import Watch
from tests.k8s_objects import OVERLAYS, VARIANTS, Object, objects_of
from tests.kubernetes_server import CUSTOM_KINDS, REAL, custom_kinds, pod, run_kubectl, wait_for

pytestmark = pytest.mark.skipif(not REAL, reason="KUBECONFIG names no API server")

NAMESPACES = ("codekiln", "codekiln-sandbox", "kubeflow")
NEWER = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
"""Kinds of Kubernetes itself that an older server lacks (1.30)."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PAUSES_S", (0.05, 0.2))
    monkeypatch.setattr(launching, "POLL_S", 0.05)


@pytest.fixture(scope="module")
def names() -> Iterator[dict[str, str]]:
    """The namespaces of `k8s/`, by names of the test's own; those are there while it runs."""
    suffix = f"-test-{uuid.uuid4().hex[:8]}"
    made = {name: name + suffix for name in NAMESPACES}
    with custom_kinds(*CUSTOM_KINDS):
        try:
            run_kubectl("create", "namespace", made["kubeflow"])
            run_kubectl("create", "serviceaccount", "pipeline-runner", "-n", made["kubeflow"])
            apply(known(renamed("local", made)))
            yield made
        finally:
            run_kubectl("delete", "namespace", *made.values(), "--ignore-not-found", "--wait=false")


def renamed(overlay: str, names: Mapping[str, str]) -> list[Object]:
    """An overlay's objects, in namespaces of other names."""
    objects = []
    for item in objects_of(overlay):
        metadata = dict(item["metadata"])
        if item["kind"] == "Namespace":
            metadata["name"] = names[metadata["name"]]
        if "namespace" in metadata:
            metadata["namespace"] = names[metadata["namespace"]]
        item = {**item, "metadata": metadata}
        if "subjects" in item:
            item["subjects"] = [
                {**one, "namespace": names[one["namespace"]]} for one in item["subjects"]
            ]
        objects.append(item)
    return objects


def known(objects: list[Object], whole: bool = False) -> list[Object]:
    """Those that the server can take; of the whole cluster's only with `whole`."""
    served = set()
    for line in run_kubectl("api-resources", "--no-headers").splitlines():
        version, namespaced, kind = line.split()[-3:]
        served.add((version, kind))
        if namespaced == "false":
            served.add(("cluster", kind))
    taken = []
    for item in objects:
        kind = item["kind"]
        if (item["apiVersion"], kind) not in served and kind == "CronJob":
            item = {**item, "apiVersion": "batch/v1beta1"}
        if (item["apiVersion"], kind) not in served:
            assert kind in NEWER, f"{item['apiVersion']} {kind}"
        elif whole or kind == "Namespace" or ("cluster", kind) not in served:
            taken.append(item)
    return taken


def apply(objects: list[Object], *options: str) -> str:
    return run_kubectl("apply", "--server-side", *options, "-f", "-", given=objects)


@pytest.mark.parametrize("name", [*OVERLAYS, *VARIANTS])
def test_an_overlay_is_taken_whole(name: str, names: dict[str, str]) -> None:
    objects = known(renamed(name, names), whole=True)
    said = apply(objects, "--dry-run=server", "--force-conflicts")
    assert said.count("serverside-applied (server dry run)") == len(objects) >= 24


def test_what_the_server_refuses_would_be_seen(names: dict[str, str]) -> None:
    """A quantity, a port, a selector, a verb's group: what schemas do not judge."""
    objects = known(renamed("local", names))
    faults: list[tuple[str, Callable[[Object], Any]]] = [
        ("ResourceQuota", lambda item: item["spec"]["hard"].update({"pods": "four"})),
        ("LimitRange", lambda item: item["spec"]["limits"][0]["default"].update({"cpu": "1m"})),
        ("NetworkPolicy", lambda item: item["spec"].update(policyTypes=["Outgress"])),
        ("RoleBinding", lambda item: item["roleRef"].update(name="another")),
        ("CronJob", lambda item: item["spec"].update(schedule="every day")),
    ]
    for kind, fault in faults:
        item = json.loads(json.dumps(next(one for one in objects if one["kind"] == kind)))
        fault(item)
        options = ("--server-side", "--dry-run=server", "-f", "-")
        said = run_kubectl("apply", *options, given=[item], fails=True)
        assert "invalid" in said.lower() or "quantities" in said, (kind, said)


def test_installing_again_changes_nothing_and_an_upgrade_what_it_says(
    names: dict[str, str],
) -> None:
    objects = known(renamed("local", names))
    before = held_of(objects)
    apply(objects)
    assert held_of(objects) == before
    quota = next(one for one in objects if one["kind"] == "ResourceQuota")
    where = ("-n", quota["metadata"]["namespace"], quota["metadata"]["name"])
    changed = {**quota, "spec": {"hard": {**quota["spec"]["hard"], "pods": "63"}}}
    apply([changed])
    assert run_kubectl("get", "quota", *where, "-o", "jsonpath={.spec.hard.pods}") == "63"
    by_hand = json.dumps({"spec": {"hard": {"pods": "62"}}})
    run_kubectl("patch", "quota", *where, "--type=merge", "-p", by_hand)
    options = ("--server-side", "-f", "-")
    assert "conflict" in run_kubectl("apply", *options, given=[quota], fails=True)
    apply([quota], "--force-conflicts")
    assert held_of(objects) == before


def held_of(objects: list[Object]) -> list[str]:
    """What the server holds of objects, without what it adds."""
    found = json.loads(run_kubectl("get", "-o", "json", "-f", "-", given=objects))["items"]
    assert len(found) == len(objects)
    added = ("metadata", "status", "secrets")
    parts = [{name: part for name, part in one.items() if name not in added} for one in found]
    return [json.dumps(part, sort_keys=True) for part in parts]


@pytest.fixture
def client_of(
    names: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str], ClusterClient]:
    """A client with the token of an account: client_of("kubeflow", "pipeline-runner")."""

    def make(namespace: str, account: str) -> ClusterClient:
        token = run_kubectl("create", "token", account, "-n", names[namespace]).strip()
        config = yaml.safe_load(Path(REAL).read_text())
        cluster = next(
            one["context"]["cluster"]
            for one in config["contexts"]
            if one["name"] == config["current-context"]
        )
        config["users"] = [{"name": "test", "user": {"token": token}}]
        config["contexts"] = [{"name": "test", "context": {"cluster": cluster, "user": "test"}}]
        config["current-context"] = "test"
        path = tmp_path / account
        path.write_text(yaml.safe_dump(config))
        path.chmod(0o600)
        monkeypatch.setenv("KUBECONFIG", str(path))
        monkeypatch.setenv("CODEKILN_NAMESPACE", names["codekiln"])
        return ClusterClient.connect()

    return make


def a_manifest(kind: str, namespace: str) -> Object:
    versions = {"Job": "batch/v1", "ConfigMap": "v1", "TrainJob": "trainer.kubeflow.org/v1alpha1"}
    metadata = {"name": f"test-{uuid.uuid4().hex[:8]}", "namespace": namespace}
    manifest: Object = {"apiVersion": versions[kind], "kind": kind, "metadata": metadata}
    if kind == "ConfigMap":
        return {**manifest, "immutable": True, "data": {"a": "b"}}
    spec: Object = {"activeDeadlineSeconds": 600}
    if kind == "Job":
        template = {**pod(namespace, "")["spec"], "restartPolicy": "Never"}
        spec["template"] = {"spec": template}
    return {**manifest, "spec": spec}


LAUNCHED = [
    ("Job", "codekiln"),
    ("TrainJob", "codekiln"),
    ("ConfigMap", "codekiln"),
    ("Job", "codekiln-sandbox"),
    ("ConfigMap", "codekiln-sandbox"),
]


@pytest.mark.parametrize(("kind", "where"), LAUNCHED)
def test_a_step_may_do_all_that_launching_takes(
    kind: str, where: str, names: dict[str, str], client_of: Callable[[str, str], ClusterClient]
) -> None:
    client = client_of("kubeflow", "pipeline-runner")
    manifest = a_manifest(kind, names[where])
    reference = Reference.of(manifest)
    if kind == "ConfigMap":
        launch(client, manifest)
    else:
        selector = f"metadata.name={reference.name}"
        with Watch(client, kind, names[where], fieldSelector=selector) as watch:
            launch(client, manifest)
            wait_for(lambda: watch.get(reference.name))
        pods_of(client, reference)
    launch(client, manifest)  # adopts: read and annotate
    held = client.read(reference)
    assert held is not None
    remove_and_wait(client, {**held, "kind": kind})
    assert client.read(reference) is None
    client.read_log(names[where], "nobody")


JOBS, PODS = "apis/batch/v1/namespaces/{}/jobs", "api/v1/namespaces/{}/pods"
CONFIG_MAPS, SECRETS = "api/v1/namespaces/{}/configmaps", "api/v1/namespaces/{}/secrets"
TRAIN_JOBS = "apis/trainer.kubeflow.org/v1alpha1/namespaces/{}/trainjobs"
RIGHTS = "apis/rbac.authorization.k8s.io/v1/namespaces/{}"
FORBIDDEN_TO_STEPS = [
    *((verb, path, where) for where in NAMESPACES[:2] for verb, path in (
        ("GET", SECRETS),
        ("GET", SECRETS + "/any"),
        ("POST", SECRETS),
        ("POST", PODS),
        ("DELETE", PODS + "/any"),
        ("POST", PODS + "/any/exec?command=sh"),
        ("POST", PODS + "/any/attach"),
        ("POST", PODS + "/any/portforward"),
        ("POST", "api/v1/namespaces/{}/serviceaccounts/default/token"),
        ("GET", RIGHTS + "/roles"),
        ("POST", RIGHTS + "/rolebindings"),
        ("PATCH", RIGHTS + "/roles/codekiln-launching"),
        ("DELETE", "api/v1/namespaces/{}"),
        ("PATCH", "api/v1/namespaces/{}"),
        ("DELETE", "api/v1/namespaces/{}/resourcequotas/any"),
        ("DELETE", "apis/networking.k8s.io/v1/namespaces/{}/networkpolicies/deny-all"),
        ("DELETE", JOBS),
        ("PATCH", JOBS + "/any/status"),
        ("POST", "apis/apps/v1/namespaces/{}/deployments"),
    )),
    ("GET", CONFIG_MAPS, "codekiln"),
    ("GET", TRAIN_JOBS, "codekiln-sandbox"),
    ("POST", TRAIN_JOBS, "codekiln-sandbox"),
    *(("GET", path, "default") for path in (JOBS, PODS, CONFIG_MAPS, TRAIN_JOBS)),
    *(("POST", path, "default") for path in (JOBS, CONFIG_MAPS, TRAIN_JOBS)),
    *(("GET", path, "kubeflow") for path in (JOBS, PODS, CONFIG_MAPS, SECRETS)),
    ("GET", "api/v1/namespaces", ""),
    ("GET", "api/v1/nodes", ""),
    ("GET", "apis/batch/v1/jobs", ""),
    ("GET", "api/v1/secrets", ""),
]  # fmt: skip


def is_forbidden(client: ClusterClient, verb: str, path: str, namespace: str) -> bool:
    body: Object | None = None if verb == "GET" else {"metadata": {"name": "any"}}
    if verb == "DELETE":
        body = {"dryRun": ["All"]}  # what should not be allowed is not done either
    kind = "merge-patch+json" if verb == "PATCH" else "json"
    query = {"dryRun": "All"} if verb in ("POST", "PATCH") and "?" not in path else {}
    answer = client._send(verb, path.format(namespace), query, body, kind)
    return answer.status == 403 and b" cannot " in answer.data  # a quota's 403 says otherwise


def test_a_step_may_do_nothing_else(
    names: dict[str, str],
    client_of: Callable[[str, str], ClusterClient],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who owns the cluster may do all of it (tried without effect): the requests are real ones."""
    client = client_of("kubeflow", "pipeline-runner")
    allowed = [
        (verb, path, where)
        for verb, path, where in FORBIDDEN_TO_STEPS
        if not is_forbidden(client, verb, path, names.get(where, where))
    ]
    assert allowed == []
    monkeypatch.setenv("KUBECONFIG", REAL)
    owner = ClusterClient.connect()
    assert not [
        one
        for one in FORBIDDEN_TO_STEPS
        if is_forbidden(owner, *one[:2], names.get(one[2], one[2]))
    ]
    with pytest.raises(ClusterError, match=r"got 403: .*bind this service account to the role"):
        client.list("Job", "default")


def test_the_reaper_finds_and_removes_and_starts_nothing(
    names: dict[str, str], client_of: Callable[[str, str], ClusterClient]
) -> None:
    step, made = client_of("kubeflow", "pipeline-runner"), []
    for kind, place in LAUNCHED:
        made.append(Reference.of(launch(step, a_manifest(kind, names[place]))))
    reaper = client_of("codekiln", "codekiln-reaper")
    later = datetime.now(UTC) + timedelta(hours=1)
    where = [names["codekiln"], names["codekiln-sandbox"]]
    found = list(find_silent(reaper, where, 900, later))
    assert {*map(str, found)} == {*map(str, made)}
    for reference in found:
        reaper.remove(reference)
    wait_for(lambda: not list(find_silent(reaper, where, 900, later)))
    refused = [
        (verb, path, one)
        for one in where
        for verb, path in (
            ("POST", JOBS),
            ("POST", CONFIG_MAPS),
            ("PATCH", JOBS + "/any"),
            ("POST", TRAIN_JOBS),
            ("GET", PODS),
            ("GET", SECRETS),
            ("POST", PODS + "/any/exec?command=sh"),
        )
        if not is_forbidden(reaper, verb, path, one)
    ]
    assert refused == []


@pytest.mark.parametrize(
    ("where", "account"),
    [
        ("codekiln", "codekiln-map"),
        ("codekiln", "codekiln-training"),
        ("codekiln-sandbox", "sandbox-programs"),
    ],
)
def test_what_is_launched_may_do_nothing(
    where: str,
    account: str,
    names: dict[str, str],
    client_of: Callable[[str, str], ClusterClient],
) -> None:
    client = client_of(where, account)
    allowed = [
        (verb, path, one)
        for one in ("codekiln", "codekiln-sandbox", "default")
        for path in (JOBS, PODS, CONFIG_MAPS, SECRETS, TRAIN_JOBS)
        for verb in ("GET", "POST")
        if not is_forbidden(client, verb, path, names.get(one, one))
    ]
    assert allowed == []


def test_a_quota_that_is_spent_is_said_as_such(
    names: dict[str, str],
    client_of: Callable[[str, str], ClusterClient],
) -> None:
    client = client_of("kubeflow", "pipeline-runner")
    where = names["codekiln-sandbox"]
    said = run_kubectl("create", "secret", "generic", "any", "-n", where, fails=True)
    assert "exceeded quota: codekiln-sandbox, requested: count/secrets=1" in said
    quota = ("quota", "codekiln-sandbox", "-n", where)
    held = json.loads(run_kubectl("get", *quota, "-o", "json"))["spec"]
    one = json.dumps({"spec": {"hard": {"count/jobs.batch": "0"}}})
    run_kubectl("patch", *quota, "--type=merge", "-p", one)
    try:
        spent = "{.status.hard.count/jobs\\.batch}"
        wait_for(lambda: run_kubectl("get", *quota, "-o", f"jsonpath={spent}") == "0")
        with pytest.raises(ClusterError, match=r"exceeded quota.*: wait until others end, or"):
            launch(client, a_manifest("Job", where))
    finally:
        run_kubectl("patch", *quota, "--type=merge", "-p", json.dumps({"spec": held}))


def test_removing_takes_everything_with_it(names: dict[str, str]) -> None:
    """The last one: what was installed goes, running jobs too."""
    objects = known(renamed("local", names))
    where = names["codekiln"]
    manifest = a_manifest("Job", where)
    run_kubectl("create", "-f", "-", given=manifest)
    run_kubectl("delete", "--ignore-not-found", "-f", "-", given=objects)
    assert not run_kubectl("get", "namespace", where, "--ignore-not-found")
    left = run_kubectl("get", "-f", "-", "--ignore-not-found", given=objects)
    assert left == ""
