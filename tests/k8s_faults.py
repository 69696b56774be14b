"""Faults planted into the rendered overlay `gke-tpu`, each with the policy that must find it."""

from collections.abc import Callable
from typing import Any

from tests.k8s_objects import Object, named, pod_specs
from tests.k8s_placement import (
    EXCLUSIVE,
    KUEUE_TOPOLOGY,
    hardware_has_a_queue,
    placement_has_one_owner,
    queues_take_all_that_a_run_starts,
    quotas_fit,
    topology_sums,
)
from tests.k8s_policies import (
    Policy,
    denied_by_default,
    jobs_restart_legally,
    least_privilege,
    names,
    no_secrets,
    pinned_images,
    programs_are_guarded,
    quantities,
    references,
    restarts_are_for_interruptions,
    restricted_namespaces,
    restricted_pods,
    tokens,
)

Fault = Callable[[list[Object]], Any]
TPU = "codekiln-jax-tpu-v5e-4x4"


def runtime_pod(objects: list[Object], name: str = TPU) -> Object:
    return next(pod for _, pod in pod_specs([named(objects, "ClusterTrainingRuntime", name)]))


def reaper_pod(objects: list[Object]) -> Object:
    return next(pod for _, pod in pod_specs([named(objects, "CronJob")]))


def job_set(objects: list[Object], name: str = TPU) -> Object:
    found: Object = named(objects, "ClusterTrainingRuntime", name)["spec"]["template"]["spec"]
    return found


def job_of(objects: list[Object]) -> Object:
    found: Object = job_set(objects)["replicatedJobs"][0]["template"]["spec"]
    return found


def node(objects: list[Object]) -> Object:
    found: Object = runtime_pod(objects)["containers"][0]
    return found


def hard(objects: list[Object]) -> Object:
    found: Object = named(objects, "ResourceQuota", "codekiln")["spec"]["hard"]
    return found


def queue_resources(objects: list[Object]) -> list[Object]:
    queue = named(objects, "ClusterQueue", "codekiln-tpu-v5e")
    found: list[Object] = queue["spec"]["resourceGroups"][0]["flavors"][-1]["resources"]
    return found


def flavors_of(objects: list[Object]) -> list[Object]:
    queue = named(objects, "ClusterQueue", "codekiln-tpu-v5e")
    found: list[Object] = queue["spec"]["resourceGroups"][0]["flavors"]
    return found


def policy_named(objects: list[Object], name: str) -> Object:
    found: Object = named(objects, "NetworkPolicy", name, "codekiln")["spec"]
    return found


def drop(objects: list[Object], kind: str, name: str = "", namespace: str = "") -> None:
    objects.remove(named(objects, kind, name, namespace))


def set_places(objects: list[Object], count: str) -> None:
    for variable in node(objects)["env"]:
        if variable["name"] == "JAX_NUM_PROCESSES":
            variable["value"] = count


def role(objects: list[Object]) -> list[Object]:
    found: list[Object] = named(objects, "Role", "codekiln-launching", "codekiln")["rules"]
    return found


FAULTS: list[tuple[Policy, str, Fault]] = [
    (restricted_pods, "host network", lambda o: runtime_pod(o).update(hostNetwork=True)),
    (
        restricted_pods,
        "root",
        lambda o: runtime_pod(o)["securityContext"].update(runAsNonRoot=False),
    ),
    (restricted_pods, "user 0", lambda o: runtime_pod(o)["securityContext"].update(runAsUser=0)),
    (
        restricted_pods,
        "no seccomp",
        lambda o: reaper_pod(o)["securityContext"].pop("seccompProfile"),
    ),
    (
        restricted_pods,
        "host path",
        lambda o: runtime_pod(o)["volumes"].append({"name": "h", "hostPath": {"path": "/"}}),
    ),
    (restricted_pods, "privileged", lambda o: node(o)["securityContext"].update(privileged=True)),
    (
        restricted_pods,
        "escalation",
        lambda o: node(o)["securityContext"].pop("allowPrivilegeEscalation"),
    ),
    (restricted_pods, "capabilities", lambda o: node(o)["securityContext"].pop("capabilities")),
    (
        restricted_pods,
        "a capability",
        lambda o: node(o)["securityContext"]["capabilities"].update(add=["SYS_RESOURCE"]),
    ),
    (
        restricted_pods,
        "root to write to",
        lambda o: node(o)["securityContext"].pop("readOnlyRootFilesystem"),
    ),
    (
        restricted_pods,
        "an init container",
        lambda o: runtime_pod(o).update(initContainers=[{"name": "x", "image": "x"}]),
    ),
    (restricted_pods, "a host port", lambda o: node(o)["ports"][0].update(hostPort=80)),
    (
        restricted_namespaces,
        "baseline",
        lambda o: named(o, "Namespace", "codekiln")["metadata"]["labels"].update(
            {"pod-security.kubernetes.io/enforce": "baseline"}
        ),
    ),
    (restricted_namespaces, "none", lambda o: drop(o, "Namespace", "codekiln-sandbox")),
    (quantities, "four", lambda o: node(o)["resources"]["limits"].update(cpu="four")),
    (quantities, "a typo", lambda o: hard(o).update({"requests.memory": "10GiB"})),
    (quantities, "nominal", lambda o: queue_resources(o)[0].update(nominalQuota="many")),
    (
        quantities,
        "size",
        lambda o: runtime_pod(o)["volumes"][0]["emptyDir"].update(sizeLimit="50 Gi"),
    ),
    (quantities, "negative", lambda o: hard(o).update(pods="-1")),
    (quantities, "no limit", lambda o: node(o)["resources"]["limits"].pop("memory")),
    (
        quantities,
        "requests above limits",
        lambda o: node(o)["resources"]["requests"].update(cpu="99"),
    ),
    (
        quantities,
        "chips of which not all are asked for",
        lambda o: node(o)["resources"]["requests"].update({"google.com/tpu": "2"}),
    ),
    (names, "container", lambda o: node(o).update(name="C_BAD")),
    (names, "object", lambda o: named(o, "Role")["metadata"].update(name="Launching")),
    (names, "namespace", lambda o: named(o, "Role")["metadata"].update(namespace="a.b")),
    (names, "twice", lambda o: o.append(named(o, "Role"))),
    (jobs_restart_legally, "always", lambda o: reaper_pod(o).update(restartPolicy="Always")),
    (jobs_restart_legally, "unsaid", lambda o: reaper_pod(o).pop("restartPolicy")),
    (jobs_restart_legally, "policy", lambda o: runtime_pod(o).update(restartPolicy="OnFailure")),
    (
        jobs_restart_legally,
        "another container",
        lambda o: job_of(o)["podFailurePolicy"]["rules"][1]["onExitCodes"].update(
            containerName="nod"
        ),
    ),
    (
        restarts_are_for_interruptions,
        "a crash restarts",
        lambda o: job_set(o)["failurePolicy"]["rules"].pop(),
    ),
    (
        restarts_are_for_interruptions,
        "the order",
        lambda o: job_set(o)["failurePolicy"]["rules"].reverse(),
    ),
    (
        restarts_are_for_interruptions,
        "without end",
        lambda o: job_set(o)["failurePolicy"]["rules"][0].update(
            action="RestartJobSetAndIgnoreMaxRestarts"
        ),
    ),
    (
        restarts_are_for_interruptions,
        "no restart",
        lambda o: job_set(o, "codekiln-cpu").pop("failurePolicy"),
    ),
    (
        restarts_are_for_interruptions,
        "disruptions unseen",
        lambda o: job_of(o)["podFailurePolicy"]["rules"].pop(0),
    ),
    (restarts_are_for_interruptions, "a second try", lambda o: job_of(o).update(backoffLimit=3)),
    (
        pinned_images,
        "latest",
        lambda o: node(o).update(image=node(o)["image"].rpartition(":")[0] + ":latest"),
    ),
    (pinned_images, "no tag", lambda o: node(o).update(image=node(o)["image"].rpartition(":")[0])),
    (pinned_images, "a family that was not replaced", lambda o: node(o).update(image="train-tpu")),
    (pinned_images, "a stranger", lambda o: node(o).update(image="docker.io/library/python:3.12")),
    (
        pinned_images,
        "half a digest",
        lambda o: node(o).update(image=node(o)["image"].rpartition(":")[0] + "@sha256:12"),
    ),
    (
        tokens,
        "of an account",
        lambda o: named(o, "ServiceAccount").pop("automountServiceAccountToken"),
    ),
    (
        tokens,
        "of a training",
        lambda o: runtime_pod(o).update(automountServiceAccountToken=True),
    ),
    (
        tokens,
        "by a volume",
        lambda o: runtime_pod(o)["volumes"].append({"name": "t", "projected": {"sources": []}}),
    ),
    (
        no_secrets,
        "a Secret",
        lambda o: o.append({"kind": "Secret", "metadata": {"name": "key"}, "stringData": {}}),
    ),
    (
        no_secrets,
        "a variable",
        lambda o: node(o)["env"].append(
            {"name": "K", "valueFrom": {"secretKeyRef": {"name": "k", "key": "k"}}}
        ),
    ),
    (
        no_secrets,
        "a key in a text",
        lambda o: node(o)["env"].append({"name": "K", "value": '{"private_key": "..."}'}),
    ),
    (
        denied_by_default,
        "no denial",
        lambda o: drop(o, "NetworkPolicy", "deny-all", "codekiln"),
    ),
    (
        denied_by_default,
        "half a denial",
        lambda o: policy_named(o, "deny-all").update(policyTypes=["Ingress"]),
    ),
    (
        denied_by_default,
        "an opening of the sandbox",
        lambda o: o.append(
            {
                "kind": "NetworkPolicy",
                "metadata": {"name": "allow-names", "namespace": "codekiln-sandbox"},
                "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": []},
            }
            | {"spec": {"podSelector": {"matchLabels": {"a": "b"}}, "policyTypes": ["Egress"]}}
        ),
    ),
    (
        denied_by_default,
        "out to everywhere",
        lambda o: policy_named(o, "allow-storage")["egress"][0].pop("to"),
    ),
    (
        denied_by_default,
        "in from everywhere",
        lambda o: policy_named(o, "allow-training-peers")["ingress"][0].pop("from"),
    ),
    (
        denied_by_default,
        "the metadata server by the way",
        lambda o: policy_named(o, "allow-storage")["egress"][0]["to"][0]["ipBlock"].pop("except"),
    ),
    (references, "account", lambda o: runtime_pod(o).update(serviceAccountName="training")),
    (references, "role", lambda o: named(o, "RoleBinding")["roleRef"].update(name="launch")),
    (references, "subject", lambda o: drop(o, "ServiceAccount", "codekiln-reaper")),
    (references, "queue", lambda o: drop(o, "ClusterQueue", "codekiln-tpu-v5e")),
    (references, "flavor", lambda o: drop(o, "ResourceFlavor", "tpu-v6e")),
    (references, "namespace", lambda o: drop(o, "Namespace", "codekiln")),
    (references, "volume", lambda o: runtime_pod(o)["volumes"].pop()),
    (references, "policy", lambda o: drop(o, "ValidatingAdmissionPolicy")),
    (
        references,
        "coordinator",
        lambda o: job_set(o)["coordinator"].update(replicatedJob="worker"),
    ),
    (
        references,
        "topology",
        lambda o: named(o, "ResourceFlavor", "tpu-v5e")["spec"].update(topologyName="x"),
    ),
    (least_privilege, "wildcard", lambda o: role(o)[0].update(verbs=["*"])),
    (least_privilege, "secrets", lambda o: role(o)[0].update(resources=["secrets"])),
    (
        least_privilege,
        "ConfigMaps of others",
        lambda o: role(o)[1].update(resources=["configmaps"]),
    ),
    (least_privilege, "exec", lambda o: role(o)[2].update(resources=["pods/exec"])),
    (least_privilege, "pods to make", lambda o: role(o)[2]["verbs"].append("create")),
    (
        least_privilege,
        "everywhere",
        lambda o: o.append({"kind": "ClusterRoleBinding", "metadata": {"name": "x"}}),
    ),
    (
        least_privilege,
        "for programs",
        lambda o: named(o, "RoleBinding")["subjects"][0].update(name="sandbox-programs"),
    ),
    (topology_sums, "pods", lambda o: job_of(o).update(completions=3)),
    (topology_sums, "world size", lambda o: set_places(o, "16")),
    (
        topology_sums,
        "topology",
        lambda o: runtime_pod(o)["nodeSelector"].update(
            {"cloud.google.com/gke-tpu-topology": "4x8"}
        ),
    ),
    (
        topology_sums,
        "chips a pod",
        lambda o: [
            node(o)["resources"][part].update({"google.com/tpu": "8"})
            for part in ("requests", "limits")
        ],
    ),
    (
        placement_has_one_owner,
        "both",
        lambda o: job_of(o)["template"]["metadata"].update(annotations={KUEUE_TOPOLOGY: "x"}),
    ),
    (
        placement_has_one_owner,
        "none",
        lambda o: job_set(o)["replicatedJobs"][0]["template"]["metadata"]["annotations"].pop(
            EXCLUSIVE
        ),
    ),
    (hardware_has_a_queue, "toleration", lambda o: runtime_pod(o).pop("tolerations")),
    (
        hardware_has_a_queue,
        "selector",
        lambda o: runtime_pod(o)["nodeSelector"].update(
            {"cloud.google.com/gke-tpu-accelerator": "tpu-v5e"}
        ),
    ),
    (
        hardware_has_a_queue,
        "spot by half",
        lambda o: named(o, "ResourceFlavor", "tpu-v5e")["spec"]["nodeLabels"].update(
            {"cloud.google.com/gke-spot": "true"}
        ),
    ),
    (quotas_fit, "chips of the queue", lambda o: queue_resources(o)[3].update(nominalQuota="128")),
    (quotas_fit, "memory of the queue", lambda o: queue_resources(o)[1].update(nominalQuota="1Ti")),
    (quotas_fit, "namespace", lambda o: hard(o).update({"requests.google.com/tpu": "0"})),
    (quotas_fit, "cores of the namespace", lambda o: hard(o).update({"requests.cpu": "400"})),
    (
        queues_take_all_that_a_run_starts,
        "not for programs",
        lambda o: drop(o, "LocalQueue", "tpu-v5e", "codekiln-sandbox"),
    ),
    (
        queues_take_all_that_a_run_starts,
        "not let in",
        lambda o: named(o, "ClusterQueue")["spec"]["namespaceSelector"]["matchExpressions"][0][
            "values"
        ].pop(),
    ),
    (
        queues_take_all_that_a_run_starts,
        "accelerators first",
        lambda o: flavors_of(o).reverse(),
    ),
    (
        queues_take_all_that_a_run_starts,
        "half covered",
        lambda o: flavors_of(o)[0]["resources"].pop(),
    ),
    (programs_are_guarded, "unbound", lambda o: drop(o, "ValidatingAdmissionPolicyBinding")),
    (
        programs_are_guarded,
        "warned of alone",
        lambda o: named(o, "ValidatingAdmissionPolicyBinding")["spec"].update(
            validationActions=["Warn"]
        ),
    ),
    (
        programs_are_guarded,
        "another label",
        lambda o: named(o, "Namespace", "codekiln-sandbox")["metadata"]["labels"].pop(
            "codekiln/sandbox"
        ),
    ),
    (
        programs_are_guarded,
        "lets errors through",
        lambda o: named(o, "ValidatingAdmissionPolicy")["spec"].update(failurePolicy="Ignore"),
    ),
]
