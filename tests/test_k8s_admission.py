"""The admission policy of the sandbox takes the pods that codekiln makes, and refuses all others.

Its expressions are evaluated, by another implementation of CEL than Kubernetes'.
"""

import json
from collections.abc import Callable
from typing import Any

import cel
import pytest

from components.sandbox.batches import cut_batches
from components.sandbox.config import SandboxConfig
from components.sandbox.jobs import Place, batch_job
from tests.abuse import GOOD
from tests.k8s_objects import Object, named, objects_of

Change = Callable[[Object], Any]


@pytest.fixture(scope="module")
def rules() -> list[Object]:
    policy = named(objects_of("local"), "ValidatingAdmissionPolicy", "codekiln-sandbox")
    found: list[Object] = policy["spec"]["validations"]
    return found


def a_pod() -> Object:
    (batch,), _ = cut_batches("0" * 32, [GOOD])
    place = Place(namespace="codekiln-sandbox", image="registry.invalid/codekiln/sandbox:golden")
    template = batch_job(batch, SandboxConfig(), place)["spec"]["template"]
    value: Object = json.loads(
        json.dumps({"metadata": template["metadata"], "spec": template["spec"]})
    )
    return value


def refusals(rules: list[Object], pod: Object) -> list[str]:
    """The messages of the rules that do not hold; an error refuses too (failurePolicy Fail)."""
    found = []
    for rule in rules:
        try:
            holds = cel.evaluate(rule["expression"], {"object": pod}) is True
        except (RuntimeError, ValueError, TypeError, KeyError):
            holds = False
        if not holds:
            found.append(rule["message"])
    return found


def test_the_pods_of_programs_are_let_in(rules: list[Object]) -> None:
    assert refusals(rules, a_pod()) == []


def test_the_template_of_agent_sandbox_is_let_in(rules: list[Object]) -> None:
    template = named(objects_of("local with agent-sandbox"), "SandboxTemplate")["spec"][
        "podTemplate"
    ]
    assert refusals(rules, {"metadata": {}, "spec": template["spec"]}) == []


def container(pod: Object) -> Object:
    found: Object = pod["spec"]["containers"][0]
    return found


CHANGES: list[tuple[str, Change, str]] = [
    ("no gVisor", lambda p: p["spec"].pop("runtimeClassName"), "gvisor"),
    ("another runtime", lambda p: p["spec"].update(runtimeClassName="runc"), "gvisor"),
    ("a token by default", lambda p: p["spec"].pop("automountServiceAccountToken"), "token"),
    ("a token", lambda p: p["spec"].update(automountServiceAccountToken=True), "token"),
    ("an account", lambda p: p["spec"].update(serviceAccountName="codekiln-training"), "account"),
    ("no account", lambda p: p["spec"].pop("serviceAccountName"), "account"),
    (
        "a disk",
        lambda p: p["spec"]["volumes"].append({"name": "d", "emptyDir": {"sizeLimit": "1Gi"}}),
        "volumes",
    ),
    (
        "memory without end",
        lambda p: p["spec"]["volumes"].append({"name": "d", "emptyDir": {"medium": "Memory"}}),
        "volumes",
    ),
    (
        "a bucket",
        lambda p: p["spec"]["volumes"].append({"name": "d", "csi": {"driver": "x"}}),
        "volumes",
    ),
    (
        "a projected token",
        lambda p: p["spec"]["volumes"].append({"name": "d", "projected": {"sources": []}}),
        "volumes",
    ),
    (
        "a secret as a variable",
        lambda p: container(p)["env"].append({"name": "S", "valueFrom": {"secretKeyRef": {}}}),
        "environment",
    ),
    ("all of a secret", lambda p: container(p).update(envFrom=[{"secretRef": {}}]), "environment"),
    ("no limits", lambda p: container(p)["resources"].pop("limits"), "limits"),
    ("no limit of memory", lambda p: container(p)["resources"]["limits"].pop("memory"), "limits"),
    (
        "a root to write to",
        lambda p: container(p)["securityContext"].update(readOnlyRootFilesystem=False),
        "readOnlyRootFilesystem",
    ),
    (
        "a second container without limits",
        lambda p: p["spec"]["containers"].append({"name": "b", "image": "b"}),
        "limits",
    ),
    (
        "an init container",
        lambda p: p["spec"].update(initContainers=[{"name": "i"}]),
        "one container",
    ),
    (
        "a debugger",
        lambda p: p["spec"].update(ephemeralContainers=[{"name": "debugger"}]),
        "one container",
    ),
]


@pytest.mark.parametrize(
    ("change", "word"), [pytest.param(c, w, id=text) for text, c, w in CHANGES]
)
def test_a_pod_that_is_not_as_it_must_be_is_refused(
    rules: list[Object], change: Change, word: str
) -> None:
    pod = a_pod()
    change(pod)
    found = refusals(rules, pod)
    assert any(word in message for message in found), found


def test_every_rule_refuses_something(rules: list[Object]) -> None:
    refused: set[str] = set()
    for _, change, _ in CHANGES:
        pod = a_pod()
        change(pod)
        refused |= set(refusals(rules, pod))
    assert refused == {rule["message"] for rule in rules}
