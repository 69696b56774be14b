"""The TrainJob of Kubeflow Trainer v2 that makes a model. Builders alone: dicts for the API.

    processors   one process in one pod
    torch        `torchrun` on GPUs: the runtime says node ranks and the first node (PET_*)
    JAX          a process a TPU machine: the runtime says JAX_PROCESS_ID, JAX_NUM_PROCESSES and
                 JAX_COORDINATOR_ADDRESS

The step's command is the one that a person types; its config comes by a ConfigMap.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.artifacts.errors import ConfigError
from components.cluster.accelerators import Machines
from components.cluster.place import SCRATCH_FOLDER, UNPRIVILEGED_ID, Place

API_VERSION = "trainer.kubeflow.org/v1alpha1"
RUNTIME_API = "trainer.kubeflow.org"

MANAGER = "codekiln.dev/training"
NODE = "node"
"""The replicated job of a runtime that trains, and its container."""

CONFIG_FOLDER, CONFIG_FILE = "/etc/codekiln", "config.json"
OUTPUT_FOLDER = f"{SCRATCH_FOLDER}/output"
SCRATCH_DISK = "60Gi"
"""What a pod asks for; the volume of the runtimes in `k8s/` may take 50 GiB of it."""

GRACE_S = 25
"""What Spot machines are given; a checkpoint has to be written in it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """One training to launch."""

    step: str = "training"
    """Its command; it names the objects, with the key."""

    key: str
    """Of the artifact that is made."""

    config: Mapping[str, Any]
    """The step's config as JSON."""

    inputs: Mapping[str, str]
    """Input name to the URI of its artifact."""

    data_root: str
    """A folder, or a URI."""

    threads: int = 0
    """Of each process; 0 takes every core that it sees."""

    fsdp: int = 1
    """Accelerators that share one copy of the weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where it runs."""

    place: Place
    machines: Machines


def object_name(training: Training) -> str:
    """The name of a training's objects: one training a key."""
    return f"{training.step}-{training.key[:16]}"


def labels_of(training: Training, placement: Placement) -> dict[str, str]:
    """Labels by which a training's objects are found, and queued."""
    return {
        "app.kubernetes.io/part-of": "codekiln",
        "app.kubernetes.io/component": training.step,
        "codekiln/key": training.key[:32],
        **placement.place.labels(),
    }


def config_map(training: Training, placement: Placement) -> dict[str, Any]:
    """The step's config as an object that never changes: its name is its key's."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(training, placement),
        "immutable": True,
        "data": {CONFIG_FILE: json.dumps(dict(training.config), sort_keys=True)},
    }


def train_job(training: Training, placement: Placement) -> dict[str, Any]:
    """The TrainJob.

    Raises:
        ConfigError: the accelerators do not divide, or compute with another backend; or the pods
            would not see the data root.
    """
    machines, place = placement.machines, placement.place
    if training.fsdp < 1 or machines.num_devices % training.fsdp:
        raise ConfigError(
            f"expected fsdp to divide the {machines.num_devices} accelerators, got "
            f"{training.fsdp}: take a divisor, or other machines"
        )
    backend = training.config.get("backend", machines.backend)
    if backend != machines.backend:
        raise ConfigError(
            f"expected the backend {machines.backend!r} on {machines.unit}s of the image "
            f"{machines.image}, got {backend!r}: change {training.step}'s backend, or take another "
            "accelerator"
        )
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainJob",
        "metadata": _metadata(training, placement),
        "spec": {
            "runtimeRef": {
                "apiGroup": RUNTIME_API,
                "kind": "ClusterTrainingRuntime",
                "name": machines.runtime,
            },
            "suspend": bool(place.queue),  # Kueue lets it go
            "activeDeadlineSeconds": place.deadline_s,
            "trainer": _trainer(training, placement),
            "runtimePatches": [_patch(training, placement)],
        },
    }


def _metadata(training: Training, placement: Placement) -> dict[str, Any]:
    return {
        "name": object_name(training),
        "namespace": placement.place.namespace,
        "labels": labels_of(training, placement),
    }


def _trainer(training: Training, placement: Placement) -> dict[str, Any]:
    machines = placement.machines
    limits = {
        "cpu": str(machines.cpu),
        "memory": f"{machines.memory_gib}Gi",
        "ephemeral-storage": SCRATCH_DISK,
    }
    if machines.resource:
        limits[machines.resource] = str(machines.accelerators_per_pod)
    trainer: dict[str, Any] = {
        "image": placement.place.image,
        "command": _command(machines),
        "args": _arguments(training, machines),
        "env": _environment(training, placement),
        "numNodes": machines.num_pods,
        "resourcesPerNode": {"requests": limits, "limits": limits},
    }
    if machines.backend == "torch":
        trainer["numProcPerNode"] = machines.accelerators_per_pod or 1  # a process a GPU
    return trainer


def _command(machines: Machines) -> list[str]:
    """The program that starts `pipelines.cli`: torchrun reads its place from PET_*."""
    if machines.backend == "torch" and machines.num_accelerators:
        return ["torchrun", "-m", "pipelines.cli"]
    return ["python", "-P", "-m", "pipelines.cli"]


def _arguments(training: Training, machines: Machines) -> list[str]:
    """The step's command. Without accelerator a process has as many threads as its pod cores."""
    threads = training.threads or (0 if machines.num_accelerators else machines.cpu)
    return [
        training.step,
        *(f"--{name.replace('_', '-')}={uri}" for name, uri in sorted(training.inputs.items())),
        f"--output={OUTPUT_FOLDER}",
        f"--config={CONFIG_FOLDER}/{CONFIG_FILE}",
        f"--data-root={training.data_root}",
        *([f"--threads={threads}"] if threads else []),
    ]


def _environment(training: Training, placement: Placement) -> list[dict[str, str]]:
    variables = {
        **placement.place.variables(),
        "CODEKILN_FSDP": str(training.fsdp),
        "CODEKILN_KEY": training.key,
    }
    return [{"name": name, "value": value} for name, value in variables.items()]


def _patch(training: Training, placement: Placement) -> dict[str, Any]:
    """What the pods of the runtime need besides: nodes, volumes, an account, time to save."""
    place = placement.place
    mounts: list[dict[str, Any]] = [
        {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True},
        {"name": "scratch", "mountPath": SCRATCH_FOLDER},
        *place.data_mounts(),
    ]
    volumes: list[dict[str, Any]] = [
        {"name": "config", "configMap": {"name": object_name(training)}},
        {"name": "scratch", "emptyDir": {}},
        *place.data_volumes(),
    ]
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    pod = {
        "serviceAccountName": place.service_account,
        "terminationGracePeriodSeconds": GRACE_S,
        "nodeSelector": {**place.node_selector, **placement.machines.node_selector},
        "tolerations": _tolerations(placement),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UNPRIVILEGED_ID,
            "fsGroup": UNPRIVILEGED_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [{"name": NODE, "volumeMounts": mounts, "securityContext": security}],
        "volumes": volumes,
    }
    job = {"name": NODE, "template": {"spec": {"template": {"spec": pod}}}}
    return {
        "manager": MANAGER,
        "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [job]}}},
    }


def _tolerations(placement: Placement) -> list[dict[str, Any]]:
    """GKE taints machines with accelerators by the resource's name."""
    given = [dict(one) for one in placement.place.tolerations]
    resource = placement.machines.resource
    taint = {"key": resource, "operator": "Exists", "effect": "NoSchedule"}
    return ([taint] if resource else []) + given
