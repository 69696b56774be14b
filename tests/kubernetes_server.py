"""One API server a test: the stub, then the real one that KUBECONFIG names.

A real one needs no running pod: where a pod would work, a test says what became of it by the
object's status, as a controller does. Everything is made in a namespace of the test's own.
"""

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.cluster.client import PATHS, ClusterClient, Reference
from tests.k8s_objects import kubectl
from tests.kubernetes_double import Stub

REAL = os.environ.get("KUBECONFIG", "")
"""Read when tests are collected: tests set the variable to the stub's."""

STUB_COLLECTS_S = 0.2
LIMIT_S = 90
"""A garbage collector looks for new kinds every 30 s."""

CONTROLLER_S, CONTROLLER_LOOKS = 0.5, 10
"""What the controller of Jobs may be behind."""

CUSTOM_KINDS = {
    "TrainJob": ("trainer.kubeflow.org", "v1alpha1", "trainjobs", "Namespaced"),
    "ClusterTrainingRuntime": (
        "trainer.kubeflow.org",
        "v1alpha1",
        "clustertrainingruntimes",
        "Cluster",
    ),
    "ClusterQueue": ("kueue.x-k8s.io", "v1beta2", "clusterqueues", "Cluster"),
    "LocalQueue": ("kueue.x-k8s.io", "v1beta2", "localqueues", "Namespaced"),
    "ResourceFlavor": ("kueue.x-k8s.io", "v1beta2", "resourceflavors", "Cluster"),
    "Topology": ("kueue.x-k8s.io", "v1beta2", "topologies", "Cluster"),
    "SandboxTemplate": ("extensions.agents.x-k8s.io", "v1beta1", "sandboxtemplates", "Namespaced"),
    "SandboxWarmPool": ("extensions.agents.x-k8s.io", "v1beta1", "sandboxwarmpools", "Namespaced"),
}
"""Group, version, name in paths and scope of kinds that controllers of others bring."""


@dataclass
class Server:
    """What a test knows of its server."""

    client: ClusterClient
    kubeconfig: Path
    stub: Stub | None = None

    @property
    def namespace(self) -> str:
        """Where its objects are."""
        return self.client.namespace

    def end(self, reference: Reference, kind: str, reason: str = "as the test says") -> None:
        """Set the condition by which a Job or TrainJob has ended: Complete or Failed."""
        condition = {
            "type": kind,
            "status": "True",
            "reason": reason,
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        status = {"conditions": [condition]}
        if self.stub or reference.kind != "Job":
            return self.set_status(reference, status)
        held = wait_for(lambda: self._begun(reference))
        self.set_status(reference, status)
        for _ in range(CONTROLLER_LOOKS):  # its controller, late, may write its own over it
            time.sleep(CONTROLLER_S / CONTROLLER_LOOKS)
            now = self.client.read(reference)
            if now is None or now["metadata"]["uid"] != held["metadata"]["uid"]:
                return None
            if not now["status"].get("conditions"):
                self.set_status(reference, status)
        return None

    def _begun(self, reference: Reference) -> dict[str, Any] | None:
        """A Job that its controller has seen."""
        held = self.client.read(reference)
        return held if held and held["status"].get("startTime") else None

    def set_status(self, reference: Reference, status: dict[str, Any]) -> None:
        """Merge into the status of an object, as its controller does."""
        path = f"{PATHS[reference.kind].format(reference.namespace)}/{reference.name}/status"
        answer = self.client._send("PATCH", path, {}, {"status": status}, "merge-patch+json")
        assert answer.status == 200, answer.data

    @contextmanager
    def silent_node(self) -> Iterator[str]:
        """A pod on a node that does not answer; its name."""
        name = f"silent-{uuid.uuid4().hex[:8]}"
        if self.stub:
            self.stub.silent_pods.add(name)
            yield name
            return
        closed = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}
        closed["daemonEndpoints"] = {"kubeletEndpoint": {"Port": 9}}
        try:
            run_kubectl("create", "-f", "-", given=node(name))
            spelt = json.dumps({"status": closed})
            run_kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", spelt)
            self.client.create(pod(self.namespace, name, nodeName=name))
            yield name
        finally:
            run_kubectl("delete", "pod", name, "-n", self.namespace, "--force", "--grace-period=0")
            run_kubectl("delete", "node", name)


def node(name: str) -> dict[str, Any]:
    """A machine of a cluster, as an object."""
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}


def pod(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    """A pod that nobody runs."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": [{"name": "m", "image": "registry.invalid/none"}], **spec},
    }


@contextmanager
def stub_server(folder: Path, set_variable: Callable[[str, str], None]) -> Iterator[Server]:
    """The stub, whose collector takes its time as a real one's does."""
    with Stub(folder, collect_s=STUB_COLLECTS_S) as running:
        set_variable("KUBECONFIG", str(running.kubeconfig))
        set_variable("CODEKILN_NAMESPACE", "kiln")
        yield Server(ClusterClient.connect(), running.kubeconfig, running)


@contextmanager
def real_server(set_variable: Callable[[str, str], None]) -> Iterator[Server]:
    """The server that KUBECONFIG names, with a namespace of its own and the kind TrainJob."""
    name = f"codekiln-test-{uuid.uuid4().hex[:8]}"
    set_variable("KUBECONFIG", REAL)
    set_variable("CODEKILN_NAMESPACE", name)
    run_kubectl("create", "namespace", name)
    try:
        account = ("get", "serviceaccount", "default", "-n", name, "--ignore-not-found")
        wait_for(lambda: run_kubectl(*account))  # no pod is taken before
        yield Server(ClusterClient.connect(), Path(REAL))
    finally:
        run_kubectl("delete", "namespace", name, "--wait=false")


@contextmanager
def custom_kinds(*kinds: str) -> Iterator[None]:
    """Kinds on the real server, without a schema; those that are there stay as they are."""
    made = []
    for kind in kinds:
        group, version, plural, scope = CUSTOM_KINDS[kind]
        name = f"{plural}.{group}"
        if run_kubectl("get", "crd", name, "--ignore-not-found").strip():
            continue
        run_kubectl("create", "-f", "-", given=_definition(kind, group, version, plural, scope))
        made.append(name)
        run_kubectl("wait", "--for=condition=established", f"crd/{name}", "--timeout=30s")
    try:
        yield
    finally:
        for name in made:
            run_kubectl("delete", "crd", name, "--wait=false")


def _definition(kind: str, group: str, version: str, plural: str, scope: str) -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    served = {
        "name": version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [served],
        },
    }


def run_kubectl(*arguments: str, given: Any = None, fails: bool = False) -> str:
    """Run kubectl against the real server; its output, where it must fail its errors."""
    command = [kubectl(), "--kubeconfig", REAL, *arguments]
    done = subprocess.run(
        command,
        input=None if given is None else _spelt(given),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) == fails, (arguments, done.stdout, done.stderr)
    return done.stderr if fails else done.stdout


def _spelt(given: Any) -> str:
    return yaml.safe_dump_all(given) if isinstance(given, list) else json.dumps(given)


def wait_for(condition: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
    """What a condition gives, once it gives something."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found
