"""Indexed Jobs: the indexes of one map as pods, for the engine of `components/stage/indexed.py`.

Each map of a step is one Job, named by the step's key and the map's number. A pod that is lost or
evicted is started again by Kubernetes at no cost of its budget; one that dies has
`backoffLimitPerIndex` further starts; one whose work raised ends with exit code 3, which fails its
index at once, and the error is in the data root.
"""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from components.artifacts.errors import StepFailedError
from components.cluster.client import ClusterClient, Reference
from components.cluster.launching import (
    HEARTBEAT_S,
    Heart,
    explain_failure,
    launch,
    remove_and_wait,
    state_of,
)
from components.cluster.place import TTL_S, Place
from components.cluster.watching import Watch
from components.stage.indexed import RESTARTS, Indexes
from components.stage.plan import EXIT_WORK_FAILED

POLL_S = 2.0
"""Between two looks at the data root for a result."""

KEY_LABEL = "codekiln/key"
KEY_DIGITS = 16
COMPONENT_LABEL = "app.kubernetes.io/component"
COMPONENT = "map"

CPUS, MEMORY_BYTES, SCRATCH_BYTES = "1", 4 * 2**30, 16 * 2**30
"""Of a pod: one process and a shard of about 128 MB, which takes about 2 GB (docs/scale.md)."""

logger = logging.getLogger("codekiln")


def index_job(name: str, key: str, plan_uri: str, num_indexes: int, place: Place) -> dict[str, Any]:
    """The Job of a map.

    Args:
        name: of the Job.
        key: of the step's artifact, by which Jobs are found.
        plan_uri: where the plan lies.
        num_indexes: pods.
        place: where they run.
    """
    labels = {COMPONENT_LABEL: COMPONENT, KEY_LABEL: key[:KEY_DIGITS]}
    resources = {
        "cpu": CPUS,
        "memory": str(MEMORY_BYTES),
        "ephemeral-storage": str(SCRATCH_BYTES),
    }
    container = {
        "name": "index",
        "command": ["python", "-P", "-m", "components.stage.map_index", plan_uri],
        "resources": {"requests": resources, "limits": resources},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": place.namespace,
            "labels": {**labels, **place.labels()},
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": num_indexes,
            "parallelism": num_indexes,
            "backoffLimitPerIndex": RESTARTS,
            "activeDeadlineSeconds": place.deadline_s,
            "ttlSecondsAfterFinished": TTL_S,
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "Ignore",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    },
                    {
                        "action": "FailIndex",
                        "onExitCodes": {
                            "containerName": "index",
                            "operator": "In",
                            "values": [EXIT_WORK_FAILED],
                        },
                    },
                ]
            },
            "template": {
                "metadata": {"labels": labels},
                "spec": place.pod(container, SCRATCH_BYTES),
            },
        },
    }


class IndexedJobLauncher:
    """Indexes as the pods of an Indexed Job, see `Launcher` of `components/stage/indexed.py`."""

    def __init__(self, client: ClusterClient, place: Place, step: str, key: str) -> None:
        """Take over the Jobs of a key.

        Args:
            client: of the cluster.
            place: where pods run.
            step: whose maps.
            key: of the step's artifact.
        """
        self._client = client
        self._place = place
        self._step, self._key = step, key
        self._maps = 0

    @contextlib.contextmanager
    def launch(self, plan_uri: str, num_indexes: int) -> Iterator[Indexes]:
        """Run the indexes of a plan; leaving removes their Job."""
        name = f"{self._step}-{self._key[:KEY_DIGITS]}-{self._maps}"
        self._maps += 1
        manifest = index_job(name, self._key, plan_uri, num_indexes, self._place)
        held = launch(self._client, manifest)
        try:
            with Watch(
                self._client,
                "Job",
                self._place.namespace,
                fieldSelector=f"metadata.name={name}",
            ) as watch:
                yield _JobIndexes(self._client, held, watch)
        finally:
            self._client.remove(Reference.of(held), held["metadata"]["uid"])

    def remove_left(self) -> None:
        """Remove the Jobs of a launcher of this key that was killed: their plans are gone."""
        selector = f"{COMPONENT_LABEL}={COMPONENT},{KEY_LABEL}={self._key[:KEY_DIGITS]}"
        found = self._client.list("Job", self._place.namespace, labelSelector=selector)
        for held in found.get("items", ()):
            remove_and_wait(self._client, held)


class _JobIndexes:
    """The pods of one Job."""

    def __init__(self, client: ClusterClient, held: dict[str, Any], watch: Watch) -> None:
        self._client, self._watch = client, watch
        self._reference, self._uid = Reference.of(held), held["metadata"]["uid"]
        self._heart = Heart(client)
        self._changes = 0

    def tend(self) -> bool:
        """Wait a moment for a change; whether the Job runs, see `Indexes`."""
        self._heart.beat([self._reference])
        self._changes = self._watch.wait(min(POLL_S, HEARTBEAT_S), self._changes)
        held = self._held()
        return held is not None and state_of(held) == "running"

    def ending(self) -> str:
        """How the Job ended, see `Indexes`."""
        held = self._held()
        if held is None:
            return f"{self._reference} was removed by somebody"
        if state_of(held) == "failed":
            return explain_failure(self._client, held)
        return f"all pods of {self._reference} ended without one"

    def _held(self) -> dict[str, Any] | None:
        held = self._watch.get(self._reference.name)
        if held is None or held["metadata"]["uid"] != self._uid:
            held = self._client.read(self._reference)  # the watch may be behind
        if held is not None and held["metadata"]["uid"] != self._uid:
            raise StepFailedError(
                f"expected {self._reference} to be this run's, another run has replaced it: let "
                "one of them end"
            )
        return held
