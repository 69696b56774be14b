"""Every overlay keeps every policy, and every policy finds the faults that it is there for."""

import pytest

from components.artifacts.canonical import key_of
from components.sandbox.batches import Batch, cut_batches
from components.sandbox.config import SandboxConfig
from components.sandbox.jobs import Place, batch_job, namespace_of, network_policy
from components.stage.images import image_uri
from tests.abuse import GOOD
from tests.k8s_faults import FAULTS, Fault
from tests.k8s_objects import (
    OVERLAYS,
    VARIANTS,
    Object,
    named,
    objects_of,
    parse_quantity,
    pod_specs,
)
from tests.k8s_policies import (
    POLICIES,
    Policy,
    jobs_restart_legally,
    names,
    pinned_images,
    quantities,
    references,
    restricted_pods,
    tokens,
)

IN_FLIGHT = 32
"""Jobs of programs that a step runs at once (components/cluster)."""


@pytest.mark.parametrize("name", [*OVERLAYS, *VARIANTS])
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.__name__)
def test_an_overlay_keeps_every_policy(name: str, policy: Policy) -> None:
    assert list(policy(objects_of(name))) == []


@pytest.mark.parametrize(
    ("policy", "fault"),
    [pytest.param(p, f, id=f"{p.__name__}: {text}") for p, text, f in FAULTS],
)
def test_a_policy_finds_its_fault(policy: Policy, fault: Fault) -> None:
    objects = objects_of("gke-tpu")
    fault(objects)
    assert list(policy(objects)) != []


def test_every_policy_is_shown_a_fault() -> None:
    assert {policy.__name__ for policy, _, _ in FAULTS} == {p.__name__ for p in POLICIES}


def a_batch() -> Batch:
    (batch,), _ = cut_batches(key_of("sandbox", 1, {}, {}), [GOOD])
    return batch


def jobs_of_programs() -> list[Object]:
    place = Place(namespace="codekiln-sandbox", image=image_uri("sandbox"))
    return [batch_job(a_batch(), SandboxConfig(), place)]


def test_the_jobs_of_programs_keep_the_policies_of_pods() -> None:
    objects = [*objects_of("local"), *jobs_of_programs()]
    policies = (restricted_pods, quantities, names, jobs_restart_legally, pinned_images, tokens)
    for policy in (*policies, references):
        assert list(policy(objects)) == [], policy.__name__


def test_the_jobs_in_flight_fit_the_quota_of_programs() -> None:
    objects = objects_of("local")
    held = named(objects, "ResourceQuota", "codekiln-sandbox")["spec"]["hard"]
    most = named(objects, "LimitRange", "codekiln-sandbox")["spec"]["limits"][0]["max"]
    ((_, pod),) = pod_specs(jobs_of_programs())
    for part in ("requests", "limits"):
        for name, amount in pod["containers"][0]["resources"][part].items():
            quantity = parse_quantity(amount)
            assert IN_FLIGHT * quantity <= parse_quantity(held[f"{part}.{name}"]), name
            assert quantity <= parse_quantity(most[name]), name
    assert int(held["pods"]) >= IN_FLIGHT
    assert int(held["count/configmaps"]) >= 2 * IN_FLIGHT


def test_the_namespace_of_programs_is_what_the_step_expects() -> None:
    objects = objects_of("local")
    expected = namespace_of("codekiln-sandbox")["metadata"]["labels"]
    held = named(objects, "Namespace", "codekiln-sandbox")["metadata"]["labels"]
    assert expected.items() <= held.items()
    deny = named(objects, "NetworkPolicy", "deny-all", "codekiln-sandbox")
    assert deny["spec"] == network_policy("codekiln-sandbox")["spec"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("500m", "0.5"),
        ("2Gi", 2**31),
        ("1.5k", 1500),
        (3, 3),
        ("0", 0),
        ("10Ti", 10 * 2**40),
    ],
)
def test_quantities_are_read(text: object, value: object) -> None:
    assert parse_quantity(text) == pytest.approx(float(str(value)))


@pytest.mark.parametrize(
    "text", ["four", "", "Gi", "1GiB", "1 Gi", "-1", "1e", None, True, "1..5", "²"]
)
def test_what_is_no_quantity_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        parse_quantity(text)
