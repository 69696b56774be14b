"""What must be true of every rendered overlay. A policy takes all objects and names what is wrong.

The schema checks of kubernetes-validate let most of this through: a quantity `four`, a name
`C_BAD`, a Job that restarts always, a pod that is not restricted, references to nothing.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from components.stage.images import image_families, image_name
from tests.k8s_objects import (
    Object,
    containers_of,
    job_specs,
    named,
    of_kind,
    parse_quantity,
    pod_specs,
    title,
    walk,
)
from tests.k8s_placement import (
    NAMESPACES,
    hardware_has_a_queue,
    placement_has_one_owner,
    queues_take_all_that_a_run_starts,
    quotas_fit,
    topology_sums,
)

Policy = Callable[[Sequence[Object]], Iterator[str]]

FOREIGN_ACCOUNTS = {("kubeflow", "pipeline-runner")}
"""Accounts that Kubeflow brings."""

ALLOWED_VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("persistentVolumeClaim", "projected", "secret"),
}
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def restricted_pods(objects: Sequence[Object]) -> Iterator[str]:
    """Pod Security `restricted`, for every embedded pod template, and read-only roots besides."""
    for item, pod in pod_specs(objects):
        context = pod.get("securityContext", {})
        if any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{title(item)}: a namespace of the host"
        if context.get("runAsNonRoot") is not True or context.get("runAsUser", 1) == 0:
            yield f"{title(item)}: may run as root"
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{title(item)}: no seccomp profile"
        if context.get("sysctls"):
            yield f"{title(item)}: sysctls"
        for volume in pod.get("volumes", []):
            if not set(volume) - {"name"} <= ALLOWED_VOLUMES:
                yield f"{title(item)}: volume {volume}"
        for container in containers_of(pod):
            yield from _restricted_container(title(item), container)


def _restricted_container(where: str, container: Object) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False:
        yield f"{where}: {container['name']} may escalate"
    if context.get("privileged"):
        yield f"{where}: {container['name']} is privileged"
    if context.get("capabilities", {}).get("drop") != ["ALL"]:
        yield f"{where}: {container['name']} keeps capabilities"
    if context.get("capabilities", {}).get("add"):
        yield f"{where}: {container['name']} adds capabilities"
    if context.get("readOnlyRootFilesystem") is not True:
        yield f"{where}: {container['name']} has a root to write to"
    if context.get("runAsUser", 1) == 0 or context.get("runAsNonRoot") is False:
        yield f"{where}: {container['name']} may run as root"
    if context.get("procMount", "Default") != "Default":
        yield f"{where}: {container['name']} has a proc mount of its own"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield f"{where}: {container['name']} takes a port of the host"


def restricted_namespaces(objects: Sequence[Object]) -> Iterator[str]:
    """Every namespace enforces Pod Security `restricted`, and those that we need are there."""
    for item in of_kind(objects, "Namespace"):
        if (
            item["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce")
            != "restricted"
        ):
            yield f"{title(item)}: does not enforce restricted"
    missing = set(NAMESPACES) - {i["metadata"]["name"] for i in of_kind(objects, "Namespace")}
    if missing:
        yield f"namespaces missing: {sorted(missing)}"


def quantities(objects: Sequence[Object]) -> Iterator[str]:
    """Every amount is a quantity; requests do not pass limits; every container says both."""
    amounts = ("requests", "limits", "hard", "default", "defaultRequest", "max", "min")
    for item in objects:
        for path, value in walk(item):
            last = path[-1] if path else ""
            found = []
            if last in amounts and isinstance(value, dict):
                found = list(value.values())
            elif last in ("sizeLimit", "nominalQuota", "borrowingLimit", "lendingLimit"):
                found = [value]
            for amount in found:
                try:
                    parse_quantity(amount)
                except ValueError as error:
                    yield f"{title(item)}: {'.'.join(map(str, path))}: {error}"
    for item, pod in pod_specs(objects):
        for container in containers_of(pod):
            yield from _resources(title(item), container)


def _resources(where: str, container: Object) -> Iterator[str]:
    resources = container.get("resources", {})
    requests, limits = resources.get("requests", {}), resources.get("limits", {})
    for name in ("cpu", "memory", "ephemeral-storage"):
        if name not in requests or name not in limits:
            yield f"{where}: {container['name']} does not say its {name}"
    for name in set(requests) & set(limits):
        try:
            asked, allowed = parse_quantity(requests[name]), parse_quantity(limits[name])
        except ValueError:
            continue  # said above
        if asked > allowed or ("/" in name and asked != allowed):
            yield f"{where}: {container['name']} asks for {asked} {name}, limited to {allowed}"


def names(objects: Sequence[Object]) -> Iterator[str]:
    """Names are DNS names, and no two objects have the same."""
    for item in objects:
        metadata = item["metadata"]
        pattern = LABEL if item["kind"] in ("Namespace", "Service") else SUBDOMAIN
        if not pattern.fullmatch(str(metadata["name"])) or len(metadata["name"]) > 253:
            yield f"{title(item)}: not a name"
        if "namespace" in metadata and not LABEL.fullmatch(metadata["namespace"]):
            yield f"{title(item)}: not a namespace"
    for item, pod in pod_specs(objects):
        for part in [*containers_of(pod), *pod.get("volumes", [])]:
            if not LABEL.fullmatch(part["name"]):
                yield f"{title(item)}: {part['name']!r} is not a name"
    keys = Counter((i["apiVersion"], title(i)) for i in objects)
    yield from (f"{key}: twice" for key, count in keys.items() if count > 1)


def jobs_restart_legally(objects: Sequence[Object]) -> Iterator[str]:
    """A Job's pods never restart always; with a failure policy they never restart at all."""
    for item, job in job_specs(objects):
        restart = job["template"]["spec"].get("restartPolicy", "Always")
        if restart not in ("Never", "OnFailure"):
            yield f"{title(item)}: a Job with restartPolicy {restart}"
        if job.get("podFailurePolicy") and restart != "Never":
            yield f"{title(item)}: podFailurePolicy needs restartPolicy Never"
        held = {c["name"] for c in containers_of(job["template"]["spec"])}
        for rule in job.get("podFailurePolicy", {}).get("rules", []):
            exits = rule.get("onExitCodes", {})
            if exits.get("containerName", next(iter(held))) not in held:
                yield f"{title(item)}: no container {exits['containerName']!r}"
            if 0 in exits.get("values", []) and exits.get("operator") == "In":
                yield f"{title(item)}: exit code 0 is no failure"


def restarts_are_for_interruptions(objects: Sequence[Object]) -> Iterator[str]:
    """What is taken away starts again, a bounded number of times; what crashes fails."""
    for item in of_kind(objects, "ClusterTrainingRuntime"):
        spec = item["spec"]["template"]["spec"]
        policy = spec.get("failurePolicy", {})
        rules = policy.get("rules", [])
        shapes = [(r["action"], tuple(r.get("onJobFailureReasons", ()))) for r in rules]
        if shapes != [("RestartJobSet", ("PodFailurePolicy",)), ("FailJobSet", ())]:
            yield f"{title(item)}: rules {shapes}"
        if not 0 < policy.get("maxRestarts", 0) <= 100:
            yield f"{title(item)}: restarts without end, or none"
        for job in (r["template"]["spec"] for r in spec["replicatedJobs"]):
            conditions = [
                condition["type"]
                for rule in job.get("podFailurePolicy", {}).get("rules", [])
                for condition in rule.get("onPodConditions", [])
            ]
            if conditions != ["DisruptionTarget"] or job.get("backoffLimit") != 0:
                yield f"{title(item)}: a disruption does not end the Job at once"


def pinned_images(objects: Sequence[Object]) -> Iterator[str]:
    """Every image is one of ours, by digest or by a tag that does not float."""
    ours = {image_name(family) for family in image_families()}
    for item, pod in pod_specs(objects):
        for container in containers_of(pod):
            image = container["image"]
            name, at, digest = image.partition("@")
            if at:
                if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
                    yield f"{title(item)}: digest of {image}"
            else:
                name, _, tag = image.rpartition(":")
                if not name or "/" in tag or tag in ("latest", "main", "master", ""):
                    yield f"{title(item)}: {image} floats"
            if name not in ours:
                yield f"{title(item)}: {image} is not in images/locations.json"


def tokens(objects: Sequence[Object]) -> Iterator[str]:
    """Nobody but the reaper gets a token of the Kubernetes API."""
    for item in of_kind(objects, "ServiceAccount"):
        if item.get("automountServiceAccountToken") is not False:
            yield f"{title(item)}: gives its token to every pod"
    for item, pod in pod_specs(objects):
        needs = item["metadata"]["name"] == "codekiln-reaper"
        if pod.get("automountServiceAccountToken") is not needs:
            yield f"{title(item)}: its pod's token is not {needs}"
        if any("secret" in v or "projected" in v for v in pod.get("volumes", [])):
            yield f"{title(item)}: mounts a secret"


def no_secrets(objects: Sequence[Object]) -> Iterator[str]:
    """No Secret, no key, and no variable that takes one."""
    for item in objects:
        if item["kind"] == "Secret":
            yield f"{title(item)}: a Secret in a file"
        for path, value in walk(item):
            if path[-1:] == ("secretKeyRef",) or path[-1:] == ("secretRef",):
                yield f"{title(item)}: takes a secret into its environment"
            if isinstance(value, str) and ("PRIVATE KEY" in value or "private_key" in value):
                yield f"{title(item)}: holds a key"


def denied_by_default(objects: Sequence[Object]) -> Iterator[str]:
    """Both namespaces deny everything first; the sandbox's has no opening, the other named ones."""
    for namespace in NAMESPACES:
        policies = [
            p
            for p in of_kind(objects, "NetworkPolicy")
            if p["metadata"].get("namespace") == namespace
        ]
        denials = [
            p
            for p in policies
            if p["spec"].get("podSelector") == {}
            and sorted(p["spec"].get("policyTypes", [])) == ["Egress", "Ingress"]
            and not p["spec"].get("ingress")
            and not p["spec"].get("egress")
        ]
        if not denials:
            yield f"{namespace}: nothing denies all traffic"
        openings = {p["metadata"]["name"] for p in policies if p not in denials}
        allowed = (
            {"allow-names", "allow-storage", "allow-training-peers", "allow-api-server"}
            if namespace == "codekiln"
            else set()
        )
        if not openings <= allowed:
            yield f"{namespace}: unknown openings {sorted(openings - allowed)}"
        for policy in policies:
            yield from _openings(policy)


def _openings(policy: Object) -> Iterator[str]:
    spec = policy["spec"]
    for rule in spec.get("ingress", []):
        if not rule.get("from"):
            yield f"{title(policy)}: lets everybody in"
    for rule in spec.get("egress", []):
        if not rule.get("to") and policy["metadata"]["name"] != "allow-api-server":
            yield f"{title(policy)}: lets out to everywhere"
        for peer in rule.get("to", []):
            block = peer.get("ipBlock", {})
            if block.get("cidr") == "0.0.0.0/0" and "169.254.0.0/16" not in block.get("except", []):
                yield f"{title(policy)}: reaches the metadata server by the way"


def references(objects: Sequence[Object]) -> Iterator[str]:
    """Whatever names another object names one that is rendered with it."""
    keys = {(i["kind"], i["metadata"].get("namespace", ""), i["metadata"]["name"]) for i in objects}

    def missing(item: Object, kind: str, name: str, namespace: str = "") -> Iterator[str]:
        if (kind, namespace, name) not in keys:
            yield f"{title(item)}: no {kind} {namespace}/{name}"

    for item in objects:
        spec, namespace = item.get("spec", {}), item["metadata"].get("namespace", "")
        if namespace:
            yield from missing(item, "Namespace", namespace)
        if item["kind"] == "RoleBinding":
            yield from missing(item, item["roleRef"]["kind"], item["roleRef"]["name"], namespace)
            for subject in item["subjects"]:
                if (subject["namespace"], subject["name"]) not in FOREIGN_ACCOUNTS:
                    yield from missing(item, subject["kind"], subject["name"], subject["namespace"])
        elif item["kind"] == "LocalQueue":
            yield from missing(item, "ClusterQueue", spec["clusterQueue"])
        elif item["kind"] == "ClusterQueue":
            for flavor in (f for g in spec["resourceGroups"] for f in g["flavors"]):
                yield from missing(item, "ResourceFlavor", flavor["name"])
        elif item["kind"] == "ResourceFlavor" and "topologyName" in spec:
            yield from missing(item, "Topology", spec["topologyName"])
        elif item["kind"] == "ValidatingAdmissionPolicyBinding":
            yield from missing(item, "ValidatingAdmissionPolicy", spec["policyName"])
        elif item["kind"] == "SandboxWarmPool":
            yield from missing(
                item, "SandboxTemplate", spec["sandboxTemplateRef"]["name"], namespace
            )
    for item, pod in pod_specs(objects):
        home = item["metadata"].get("namespace") or "codekiln"
        yield from missing(item, "ServiceAccount", pod.get("serviceAccountName", "default"), home)
        yield from _mounts(title(item), pod)
    for item in of_kind(objects, "ClusterTrainingRuntime"):
        spec = item["spec"]["template"]["spec"]
        held = {job["name"] for job in spec["replicatedJobs"]}
        if spec.get("coordinator", {}).get("replicatedJob", "node") not in held:
            yield f"{title(item)}: coordinator in no replicated job"


def _mounts(where: str, pod: Object) -> Iterator[str]:
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    mounted = {m["name"] for c in containers_of(pod) for m in c.get("volumeMounts", [])}
    if volumes != mounted:
        yield f"{where}: volumes {sorted(volumes)}, mounted {sorted(mounted)}"


def least_privilege(objects: Sequence[Object]) -> Iterator[str]:
    """Roles of a namespace, without wildcards, secrets, pods to make or rights to hand out."""
    readable = {"get", "list", "watch"}
    for kind in ("ClusterRole", "ClusterRoleBinding"):
        yield from (f"{title(item)}: rights in all namespaces" for item in of_kind(objects, kind))
    for item in of_kind(objects, "Role"):
        for rule in item["rules"]:
            words = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
            if "*" in words:
                yield f"{title(item)}: a wildcard"
            if set(rule["resources"]) & {"secrets", "serviceaccounts", "roles", "rolebindings"}:
                yield f"{title(item)}: {rule['resources']}"
            pods = [r for r in rule["resources"] if r.partition("/")[0] == "pods"]
            if pods and not (set(pods) <= {"pods", "pods/log"} and set(rule["verbs"]) <= readable):
                yield f"{title(item)}: more than reading of pods"
            launches = item["metadata"]["name"] == "codekiln-launching"
            home = item["metadata"]["namespace"]
            # The config of a training, by its name: nobody else's is looked for.
            searched = {*rule["verbs"]} & {"list", "watch", "update"}
            own = "configmaps" in rule["resources"] and launches and home != "codekiln-sandbox"
            if own and searched:
                yield f"{title(item)}: ConfigMaps of others, where no programs are"
    for item in of_kind(objects, "RoleBinding"):
        if any(s["name"] in ("sandbox-programs", "default") for s in item["subjects"]):
            yield f"{title(item)}: gives a right to an account that must have none"


def programs_are_guarded(objects: Sequence[Object]) -> Iterator[str]:
    """The admission policy is bound, denies, and holds for the sandbox's namespace."""
    labels = named(objects, "Namespace", "codekiln-sandbox")["metadata"]["labels"]
    bindings = of_kind(objects, "ValidatingAdmissionPolicyBinding")
    if not any(
        b["spec"]["validationActions"] == ["Deny"]
        and b["spec"]["matchResources"]["namespaceSelector"]["matchLabels"].items()
        <= labels.items()
        for b in bindings
    ):
        yield "nothing guards the namespace of programs"
    for item in of_kind(objects, "ValidatingAdmissionPolicy"):
        if item["spec"].get("failurePolicy", "Fail") != "Fail":
            yield f"{title(item)}: lets through what it cannot judge"


POLICIES: tuple[Policy, ...] = (
    restricted_pods,
    restricted_namespaces,
    quantities,
    names,
    jobs_restart_legally,
    restarts_are_for_interruptions,
    pinned_images,
    tokens,
    no_secrets,
    denied_by_default,
    references,
    least_privilege,
    topology_sums,
    placement_has_one_owner,
    hardware_has_a_queue,
    quotas_fit,
    queues_take_all_that_a_run_starts,
    programs_are_guarded,
)
