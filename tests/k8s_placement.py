"""Where things run: topologies sum up, queues and quotas hold what they must, one owner places."""

from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from math import prod

from tests.k8s_objects import (
    Object,
    containers_of,
    named,
    of_kind,
    parse_quantity,
    pod_specs,
    title,
    walk,
)

NAMESPACES = ("codekiln", "codekiln-sandbox")
EXCLUSIVE = "alpha.jobset.sigs.k8s.io/exclusive-topology"
KUEUE_TOPOLOGY = "kueue.x-k8s.io/podset-required-topology"


def topology_sums(objects: Sequence[Object]) -> Iterator[str]:
    """chips = product of the topology = pods x chips a pod, and every count of pods is the same."""
    for item in of_kind(objects, "ClusterTrainingRuntime"):
        if item["metadata"]["labels"].get("codekiln/accelerator") != "tpu":
            continue
        job = item["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]
        pod = job["template"]["spec"]
        topology = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
        container = pod["containers"][0]
        env = {e["name"]: e.get("value") for e in container["env"]}
        counts = {
            int(item["spec"]["mlPolicy"]["numNodes"]),
            int(job["completions"]),
            int(job["parallelism"]),
            int(env["JAX_NUM_PROCESSES"] or 0),
        }
        chips = {
            int(container["resources"][part]["google.com/tpu"]) for part in ("requests", "limits")
        }
        if len(counts) != 1 or chips != {4}:
            yield f"{title(item)}: pods {sorted(counts)}, chips a pod {sorted(chips)}"
        if prod(map(int, topology.split("x"))) != max(counts) * 4:
            yield f"{title(item)}: topology {topology} of {max(counts)} pods"
        if topology != item["metadata"]["labels"]["codekiln/tpu-topology"]:
            yield f"{title(item)}: label and selector differ"


def placement_has_one_owner(objects: Sequence[Object]) -> Iterator[str]:
    """A slice is placed by JobSet or by Kueue: exactly one of them."""
    for item in of_kind(objects, "ClusterTrainingRuntime"):
        if item["metadata"]["labels"].get("codekiln/accelerator") != "tpu":
            continue
        keys = [
            path[-1] for path, _ in walk(item) if path[-1:] in ((EXCLUSIVE,), (KUEUE_TOPOLOGY,))
        ]
        if len(keys) != 1:
            yield f"{title(item)}: placed by {keys}"
        if KUEUE_TOPOLOGY in keys and not of_kind(objects, "Topology"):
            yield f"{title(item)}: no Topology"


def hardware_has_a_queue(objects: Sequence[Object]) -> Iterator[str]:
    """A TPU runtime's nodes are those of a flavor, whose toleration its pods have too."""
    flavors = {
        f["spec"]["nodeLabels"].get("cloud.google.com/gke-tpu-accelerator"): f
        for f in of_kind(objects, "ResourceFlavor")
        if f.get("spec", {}).get("nodeLabels")
    }
    for item in of_kind(objects, "ClusterTrainingRuntime"):
        if item["metadata"]["labels"].get("codekiln/accelerator") != "tpu":
            continue
        (pod,) = (pod for _, pod in pod_specs([item]))
        if pod["nodeSelector"].get("cloud.google.com/gke-tpu-accelerator") not in flavors:
            yield f"{title(item)}: no flavor has its nodes"
        if "google.com/tpu" not in {t.get("key") for t in pod.get("tolerations", [])}:
            yield f"{title(item)}: TPU nodes do not take it"
    for flavor in of_kind(objects, "ResourceFlavor"):
        if flavor["metadata"].get("labels", {}).get("codekiln/accelerator"):
            spec = flavor["spec"]
            spot = "cloud.google.com/gke-spot"
            if (spot in spec["nodeLabels"]) != (spot in {t["key"] for t in spec["tolerations"]}):
                yield f"{title(flavor)}: Spot nodes by half"


def quotas_fit(objects: Sequence[Object]) -> Iterator[str]:
    """The largest runtime fits its queue and the namespace: else it waits forever."""
    hard = named(objects, "ResourceQuota", "codekiln")["spec"]["hard"]
    for item in of_kind(objects, "ClusterTrainingRuntime"):
        kind = item["metadata"]["labels"]["codekiln/accelerator"]
        if kind == "gpu" and not any("gpu" in q["metadata"]["name"] for q in _queues(objects)):
            continue  # an overlay without GPUs
        wanted = _wanted(item)
        for name, amount in wanted.items():
            if amount > parse_quantity(hard.get(f"requests.{name}", "0")):
                yield f"{title(item)}: {amount} {name} is more than the namespace has"
        queues = [q for q in _queues(objects) if _serves(q, item, kind, objects)]
        if _queues(objects) and not queues:
            yield f"{title(item)}: no queue serves it"
        for queue in queues:
            if not any(_fits(wanted, held) for held in _nominal(queue)):
                yield f"{title(item)}: {dict(wanted)} is more than a flavor of {title(queue)} has"


def _queues(objects: Sequence[Object]) -> list[Object]:
    return of_kind(objects, "ClusterQueue")


def _wanted(runtime: Object) -> Counter[str]:
    total: Counter[str] = Counter()
    pods = runtime["spec"]["mlPolicy"]["numNodes"]
    for _, pod in pod_specs([runtime]):
        for container in containers_of(pod):
            for name, amount in container["resources"]["requests"].items():
                total[name] += parse_quantity(amount) * pods  # type: ignore[assignment]
    return total


def _serves(queue: Object, runtime: Object, kind: str, objects: Sequence[Object]) -> bool:
    if kind == "none":
        return bool(queue["metadata"]["name"] == "codekiln-cpu")
    if kind == "gpu":
        return any(held.get("nvidia.com/gpu") for held in _nominal(queue))
    (pod,) = (pod for _, pod in pod_specs([runtime]))
    selector = pod["nodeSelector"]["cloud.google.com/gke-tpu-accelerator"]
    for group in queue["spec"]["resourceGroups"]:
        for flavor in group["flavors"]:
            found = named(objects, "ResourceFlavor", flavor["name"])
            if selector in found.get("spec", {}).get("nodeLabels", {}).values():
                return True
    return False


def _fits(wanted: Counter[str], held: dict[str, Decimal]) -> bool:
    return all(amount <= held.get(name, Decimal(0)) for name, amount in wanted.items())


def _nominal(queue: Object) -> list[dict[str, Decimal]]:
    """What each flavor of a queue has; a job gets all of one flavor."""
    return [
        {r["name"]: parse_quantity(r["nominalQuota"]) for r in flavor["resources"]}
        for group in queue["spec"]["resourceGroups"]
        for flavor in group["flavors"]
    ]


def queues_take_all_that_a_run_starts(objects: Sequence[Object]) -> Iterator[str]:
    """A queue is in both namespaces, lets both in, covers all, and has cores before accelerators.

    A run names one queue for training, maps and programs: where one is missing its Jobs wait
    forever, and where the accelerator's flavor is first they take its machines.
    """
    homes: dict[str, set[str]] = {}
    for item in of_kind(objects, "LocalQueue"):
        homes.setdefault(item["metadata"]["name"], set()).add(item["metadata"]["namespace"])
    for name, found in homes.items():
        if found != set(NAMESPACES):
            yield f"LocalQueue {name}: only in {sorted(found)}"
    for queue in _queues(objects):
        (rule,) = queue["spec"]["namespaceSelector"].get("matchExpressions", [{}])
        if rule.get("operator") != "In" or set(rule.get("values", ())) != set(NAMESPACES):
            yield f"{title(queue)}: does not let both namespaces in"
        (group,) = queue["spec"]["resourceGroups"]
        if not {"cpu", "memory", "ephemeral-storage"} <= set(group["coveredResources"]):
            yield f"{title(queue)}: does not cover what every pod asks for"
        for flavor in group["flavors"]:
            if [r["name"] for r in flavor["resources"]] != group["coveredResources"]:
                yield f"{title(queue)}: {flavor['name']} is not of the covered resources"
        first = _nominal(queue)[0]
        if group["flavors"][0]["name"] != "cpu" or any(
            amount for name, amount in first.items() if "/" in name
        ):
            yield f"{title(queue)}: cores do not come first"
