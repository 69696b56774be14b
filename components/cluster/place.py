"""Where launched pods run: image, namespace, account, nodes, queue, and for how long.

The options of the execution say what changes from run to run; the environment of the launching pod
says what belongs to the cluster.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from components.artifacts.errors import ConfigError
from components.artifacts.storage import open_storage
from components.stage.execution import Execution

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
SPOT_LABEL = "cloud.google.com/gke-spot"
ACCOUNT_VARIABLE = "CODEKILN_SERVICE_ACCOUNT"
ACCOUNT = "codekiln-map"
"""Bound to the bucket, and to nothing of the cluster (k8s/base)."""

CLAIM_VARIABLE = "CODEKILN_DATA_CLAIM"
"""A claim that many pods can write, with the data root in it where that is a folder."""

PASSED_ON = ("CODEKILN_LOG", "STORAGE_EMULATOR_HOST")
"""Variables of the launcher that its pods get too."""

UNPRIVILEGED_ID = 65532
SCRATCH_FOLDER = "/scratch"
DATA_VOLUME = "data"
TTL_S = 3600
"""A finished object stays for this long, for its log."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where pods of a launched object run."""

    namespace: str
    image: str
    service_account: str = ACCOUNT
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    queue: str = ""
    """Kueue's LocalQueue; empty for none."""

    max_hours: float = 24.0
    environment: Mapping[str, str] = field(default_factory=dict)
    data_folder: str = ""
    """The data root where it is a folder, which pods must see; empty for a URI."""

    data_claim: str = ""
    """The claim that pods mount at that folder."""

    @classmethod
    def of(cls, execution: Execution, namespace: str, image: str) -> "Place":
        """Read the options of an execution.

        Raises:
            ConfigError: a selector or a toleration is spelt otherwise.
        """
        selector = read_selector(execution.node_selector)
        tolerations = [*read_tolerations(execution.tolerations)]
        if execution.spot:
            selector = {**selector, SPOT_LABEL: "true"}
            tolerations.append({"key": SPOT_LABEL, "operator": "Equal", "value": "true"})
        return cls(
            namespace=namespace,
            image=image,
            service_account=os.environ.get(ACCOUNT_VARIABLE, ACCOUNT),
            node_selector=selector,
            tolerations=tuple(tolerations),
            queue=execution.queue,
            max_hours=execution.max_hours,
            environment={name: os.environ[name] for name in PASSED_ON if name in os.environ},
            data_folder=data_folder(execution.data_root),
            data_claim=os.environ.get(CLAIM_VARIABLE, ""),
        )

    @property
    def deadline_s(self) -> int:
        """Seconds after which Kubernetes ends what runs here."""
        return int(self.max_hours * 3600)

    def labels(self) -> dict[str, str]:
        """Labels of the launched object: its queue."""
        return {QUEUE_LABEL: self.queue} if self.queue else {}

    def variables(self) -> dict[str, str]:
        """The environment of a container of ours."""
        return {
            "CODEKILN_SCRATCH": SCRATCH_FOLDER,
            "TMPDIR": SCRATCH_FOLDER,
            "PYTHONSAFEPATH": "1",
            "CODEKILN_LOG": "json",
            **self.environment,
        }

    def data_volumes(self) -> list[dict[str, Any]]:
        """The claim with the data root, for pods that read and write it; none for a URI.

        Raises:
            ConfigError: the data root is a folder, and no claim holds it.
        """
        if not self.data_folder:
            return []
        if not self.data_claim:
            raise ConfigError(
                f"expected a data root that pods of {self.namespace} see, got the folder "
                f"{self.data_folder!r}: name the claim that is mounted there in {CLAIM_VARIABLE}, "
                "or take a gs:// data root"
            )
        return [{"name": DATA_VOLUME, "persistentVolumeClaim": {"claimName": self.data_claim}}]

    def data_mounts(self) -> list[dict[str, Any]]:
        """Where a container has those volumes: under the name that the launcher knows."""
        return [
            {"name": volume["name"], "mountPath": self.data_folder}
            for volume in self.data_volumes()
        ]

    def pod(self, container: Mapping[str, Any], scratch_bytes: int) -> dict[str, Any]:
        """The pod of a container: no privilege, a read-only root, scratch and data root to write.

        Raises:
            ConfigError: it would not see the data root.
        """
        return {
            "restartPolicy": "Never",
            "serviceAccountName": self.service_account,
            "enableServiceLinks": False,
            "nodeSelector": dict(self.node_selector),
            "tolerations": [dict(toleration) for toleration in self.tolerations],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": UNPRIVILEGED_ID,
                "runAsGroup": UNPRIVILEGED_ID,
                "fsGroup": UNPRIVILEGED_ID,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "image": self.image,
                    "env": [
                        {"name": name, "value": value} for name, value in self.variables().items()
                    ],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [
                        {"name": "scratch", "mountPath": SCRATCH_FOLDER},
                        *self.data_mounts(),
                    ],
                    **container,
                }
            ],
            "volumes": [
                {"name": "scratch", "emptyDir": {"sizeLimit": str(scratch_bytes)}},
                *self.data_volumes(),
            ],
        }


def data_folder(data_root: str) -> str:
    """The whole path of a data root that is a folder; empty for a URI of a store."""
    if "://" in data_root and not data_root.startswith("file://"):
        return ""
    return open_storage(data_root).uri


def read_selector(text: str) -> dict[str, str]:
    """Read `label=value,label=value`.

    Raises:
        ConfigError: it is spelt otherwise.
    """
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        label, separator, value = part.partition("=")
        if not (label and separator and value):
            raise ConfigError(
                f"expected node_selector as label=value,label=value, got {part!r} in {text!r}"
            )
        found[label.strip()] = value.strip()
    return found


def read_tolerations(text: str) -> list[Mapping[str, Any]]:
    """Read `key=value:Effect,key:Effect,key`, as kubectl spells taints; or a JSON list.

    Raises:
        ConfigError: it is spelt otherwise.
    """
    if text.lstrip().startswith("["):
        try:
            listed = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(
                f"expected tolerations as JSON or key=value:Effect, got {text[:80]!r} ({error})"
            ) from None
        return list(listed)
    found: list[Mapping[str, Any]] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        taint, _, effect = part.partition(":")
        key, separator, value = taint.partition("=")
        if not key or effect not in ("", "NoSchedule", "PreferNoSchedule", "NoExecute"):
            raise ConfigError(
                f"expected tolerations as key=value:Effect with the effect NoSchedule, "
                f"PreferNoSchedule or NoExecute, got {part!r}"
            )
        one = {"key": key, "operator": "Equal" if separator else "Exists"}
        found.append(
            one | ({"value": value} if separator else {}) | ({"effect": effect} if effect else {})
        )
    return found
