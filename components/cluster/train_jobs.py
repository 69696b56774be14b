"""The TrainJob of Kubeflow Trainer v2 that makes a model. Builders alone: dicts for the API.

    torch   `torchrun` on GPUs: the runtime says node ranks and the first node's address (PET_*)
    JAX     a process a TPU machine: the runtime says JAX_PROCESS_ID, JAX_NUM_PROCESSES and
            JAX_COORDINATOR_ADDRESS

The step's command is the one that a person types; its config comes by a ConfigMap.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from components.artifacts.errors import ConfigError
from components.cluster.accelerators import SPOT_LABEL, Machines

API_VERSION = "trainer.kubeflow.org/v1alpha1"
RUNTIME_API = "trainer.kubeflow.org"
RUNTIMES = {"torch": "torch-distributed", "jax": "jax-distributed"}
"""Trainer's stock runtimes; a cluster may have its own."""

MANAGER = "codekiln.dev/training"
NODE = "node"
"""The replicated job of a runtime that trains, and its container."""

CONFIG_FOLDER, DATA_FOLDER, OUTPUT_FOLDER = "/etc/codekiln", "/data", "/tmp/output"
CONFIG_FILE = "config.json"

GRACE_S = 30
"""What Spot machines are given at most; a checkpoint has to be written in it."""

UNPRIVILEGED_ID = 65_532


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """One training to launch."""

    key: str
    """Of the artifact that is made; it names all objects."""

    backend: Literal["torch", "jax"]
    config: Mapping[str, Any]
    """The step's config as JSON."""

    inputs: Mapping[str, str]
    """Input name to the URI of its artifact."""

    data_root: str
    fsdp: int = 1
    """Accelerators that share one copy of the weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where it runs."""

    namespace: str
    image: str
    machines: Machines
    deadline_s: int
    """Kubernetes ends the TrainJob after so long, whatever it does."""

    cpu: str = "8"
    memory: str = "64Gi"
    data_claim: str = ""
    """A claim that all pods mount at `/data`; empty where the data root is a URI."""

    service_account: str = "training"
    queue: str = ""
    """A LocalQueue of Kueue, which then starts the TrainJob; empty starts it at once."""

    spot: bool = False
    runtime: str = ""
    """A ClusterTrainingRuntime; empty takes Trainer's own of the backend."""


def object_name(training: Training) -> str:
    """The name of a training's objects: one training a key."""
    return f"training-{training.key[:16]}"


def labels_of(training: Training, placement: Placement) -> dict[str, str]:
    """Labels by which a training's objects are found, and queued."""
    labels = {
        "app.kubernetes.io/part-of": "codekiln",
        "app.kubernetes.io/component": "training",
        "codekiln/key": training.key[:32],
    }
    return labels | ({"kueue.x-k8s.io/queue-name": placement.queue} if placement.queue else {})


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
        ConfigError: the accelerators do not divide.
    """
    machines = placement.machines
    if training.fsdp < 1 or machines.num_accelerators % training.fsdp:
        raise ConfigError(
            f"expected fsdp to divide the {machines.num_accelerators} accelerators, got "
            f"{training.fsdp}: take a divisor, or other machines"
        )
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainJob",
        "metadata": _metadata(training, placement),
        "spec": {
            "runtimeRef": {
                "apiGroup": RUNTIME_API,
                "kind": "ClusterTrainingRuntime",
                "name": placement.runtime or RUNTIMES[training.backend],
            },
            "suspend": bool(placement.queue),
            "activeDeadlineSeconds": placement.deadline_s,
            "trainer": _trainer(training, placement),
            "runtimePatches": [_patch(training, placement)],
        },
    }


def _metadata(training: Training, placement: Placement) -> dict[str, Any]:
    return {
        "name": object_name(training),
        "namespace": placement.namespace,
        "labels": labels_of(training, placement),
    }


def _trainer(training: Training, placement: Placement) -> dict[str, Any]:
    machines = placement.machines
    limits = {
        "cpu": placement.cpu,
        "memory": placement.memory,
        machines.resource: str(machines.accelerators_per_pod),
    }
    command, arguments = _command(training)
    trainer: dict[str, Any] = {
        "image": placement.image,
        "command": command,
        "args": arguments,
        "env": _environment(training),
        "numNodes": machines.num_pods,
        "resourcesPerNode": {"requests": limits, "limits": limits},
    }
    if training.backend == "torch":
        trainer["numProcPerNode"] = machines.accelerators_per_pod  # a process a GPU
    return trainer


def _command(training: Training) -> tuple[list[str], list[str]]:
    step = [
        "training",
        *(f"--{name}={uri}" for name, uri in sorted(training.inputs.items())),
        f"--output={OUTPUT_FOLDER}",
        f"--config={CONFIG_FOLDER}/{CONFIG_FILE}",
        f"--data-root={training.data_root}",
    ]
    if training.backend == "torch":
        return ["torchrun"], ["-m", "pipelines.cli", *step]
    return ["codekiln"], step


def _environment(training: Training) -> list[dict[str, str]]:
    variables = {
        "CODEKILN_FSDP": str(training.fsdp),
        "CODEKILN_KEY": training.key,
        "CODEKILN_LOG": "json",
        "PYTHONSAFEPATH": "1",
    }
    return [{"name": name, "value": value} for name, value in variables.items()]


def _patch(training: Training, placement: Placement) -> dict[str, Any]:
    """What the pods of the runtime need besides: nodes, volumes, an account, time to save."""
    container = {
        "name": NODE,
        "volumeMounts": [
            {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True},
            {"name": "scratch", "mountPath": "/tmp"},
        ],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    volumes: list[dict[str, Any]] = [
        {"name": "config", "configMap": {"name": object_name(training)}},
        {"name": "scratch", "emptyDir": {}},
    ]
    if placement.data_claim:
        claim = {"claimName": placement.data_claim}
        volumes.append({"name": "data", "persistentVolumeClaim": claim})
        container["volumeMounts"].append(  # type: ignore[attr-defined]  # a list, seen above
            {"name": "data", "mountPath": DATA_FOLDER}
        )
    pod = {
        "serviceAccountName": placement.service_account,
        "terminationGracePeriodSeconds": GRACE_S,
        "nodeSelector": placement.machines.node_selector
        | ({SPOT_LABEL: "true"} if placement.spot else {}),
        "tolerations": _tolerations(placement),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UNPRIVILEGED_ID,
            "fsGroup": UNPRIVILEGED_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }
    job = {"name": NODE, "template": {"spec": {"template": {"spec": pod}}}}
    return {
        "manager": MANAGER,
        "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [job]}}},
    }


def _tolerations(placement: Placement) -> list[dict[str, str]]:
    """GKE taints machines with accelerators, and Spot machines."""
    taints = [placement.machines.resource] + ([SPOT_LABEL] if placement.spot else [])
    return [{"key": taint, "operator": "Exists", "effect": "NoSchedule"} for taint in taints]
