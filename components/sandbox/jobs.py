"""The Job that runs a batch of programs under gVisor, and what must be true around it.

Builders alone: dicts as the Kubernetes API takes them. Nothing trusted shares the pod; no token, no
network, no volume that can be written but memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.sandbox.batches import PROGRAMS_FILE, Batch
from components.sandbox.config import SandboxConfig
from components.sandbox.worker.confinement import UNPRIVILEGED_ID

PROGRAMS_FOLDER, SCRATCH_FOLDER = "/programs", "/tmp"
START_S = 300
"""What a node may take to pull the image and start gVisor."""

BACKOFF_LIMIT = 2
TTL_S = 3600
"""A finished Job stays for this long: its log has been read by then, or the batch runs again."""

SCRATCH_FILES = 8


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where Jobs run."""

    namespace: str
    image: str
    service_account: str = "sandbox-programs"
    """One without any binding."""

    runtime_class: str = "gvisor"
    worker_root: str = "/opt/codekiln"
    """What holds `components/sandbox/worker` in the image."""

    queue: str = ""
    """Kueue's LocalQueue; empty for none."""


def labels_of(batch: Batch) -> dict[str, str]:
    """Labels by which a batch's objects are found: by step and key."""
    return {
        "app.kubernetes.io/part-of": "codekiln",
        "app.kubernetes.io/component": "sandbox-programs",
        "codekiln/key": batch.key[:32],
    }


def deadline_s(batch: Batch, config: SandboxConfig) -> int:
    """Seconds after which Kubernetes ends a Job: every program to its wall-clock limit, and start.

    The worst case of a batch of loops; a usual one takes a hundredth of it.
    """
    return START_S + len(batch.programs) * (config.timeout_s * config.wall_factor + 1)


def batch_job(batch: Batch, config: SandboxConfig, place: Place) -> dict[str, Any]:
    """The Job of a batch; its name is the batch's, so that a second one cannot be made."""
    labels = labels_of(batch)
    queued = {"kueue.x-k8s.io/queue-name": place.queue} if place.queue else {}
    metadata = {"name": batch.name, "namespace": place.namespace, "labels": {**labels, **queued}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": BACKOFF_LIMIT,
            "activeDeadlineSeconds": deadline_s(batch, config),
            "ttlSecondsAfterFinished": TTL_S,
            "template": {"metadata": {"labels": labels}, "spec": _pod(batch, config, place)},
        },
    }


def _pod(batch: Batch, config: SandboxConfig, place: Place) -> dict[str, Any]:
    return {
        "runtimeClassName": place.runtime_class,
        "serviceAccountName": place.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "hostNetwork": False,
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["127.0.0.1"]},
        "terminationGracePeriodSeconds": 0,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UNPRIVILEGED_ID,
            "runAsGroup": UNPRIVILEGED_ID,
            "fsGroup": UNPRIVILEGED_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(config, place)],
        "volumes": [
            {"name": "programs", "configMap": {"name": batch.name, "defaultMode": 0o444}},
            {
                "name": "scratch",
                "emptyDir": {"medium": "Memory", "sizeLimit": str(_scratch_bytes(config))},
            },
        ],
    }


def _scratch_bytes(config: SandboxConfig) -> int:
    return SCRATCH_FILES * config.max_file_bytes + 2**24


def _container(config: SandboxConfig, place: Place) -> dict[str, Any]:
    memory = 2 * config.max_memory_bytes + _scratch_bytes(config) + 2**28
    limits = {"cpu": "1", "memory": str(memory), "ephemeral-storage": "64Mi"}
    return {
        "name": "programs",
        "image": place.image,
        "command": ["sh", "-c", _command(config)],
        "workingDir": SCRATCH_FOLDER,
        "env": [
            {"name": "PYTHONHASHSEED", "value": "0"},
            {"name": "PYTHONPATH", "value": place.worker_root},
            {"name": "TMPDIR", "value": SCRATCH_FOLDER},
        ],
        "resources": {"requests": limits, "limits": limits},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "programs", "mountPath": PROGRAMS_FOLDER, "readOnly": True},
            {"name": "scratch", "mountPath": SCRATCH_FOLDER},
        ],
    }


def _command(config: SandboxConfig) -> str:
    """Nothing of a batch enters the command line: programs come by the standard input alone."""
    flags = {
        "--cpu-s": config.timeout_s,
        "--wall-s": config.timeout_s * config.wall_factor,
        "--memory-bytes": config.max_memory_bytes,
        "--file-bytes": config.max_file_bytes,
        "--floor": "L4",
    }
    spelt = " ".join(f"{name} {value}" for name, value in flags.items())
    return (
        f"gzip -dc {PROGRAMS_FOLDER}/{PROGRAMS_FILE} | "
        f"python -P -s -S -B -m components.sandbox.worker --prove-no-network {spelt}"
    )


def network_policy(namespace: str) -> dict[str, Any]:
    """What must be true around the Jobs: no packet in or out, DNS included."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "deny-all", "namespace": namespace},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    }


def namespace_of(name: str) -> dict[str, Any]:
    """The Jobs' own namespace: pods that are not restricted are not let in."""
    enforce: Mapping[str, str] = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": dict(enforce)},
    }
