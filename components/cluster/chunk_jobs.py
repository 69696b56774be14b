"""Chunk Jobs: many short Jobs, each with an immutable ConfigMap in and its pods' logs out.

At most 32 are in flight; threads share one watch. A Job and its ConfigMap go once its log is read.
"""

import logging
import threading
from types import TracebackType
from typing import Any, Self

from components.artifacts.errors import StepFailedError
from components.cluster.client import ClusterClient, Manifest, Reference
from components.cluster.launching import (
    HEARTBEAT_S,
    Heart,
    launch,
    pods_of,
    remove_and_wait,
    state_of,
)
from components.cluster.watching import Watch

IN_FLIGHT = 32
POLL_S = 5.0

logger = logging.getLogger("codekiln")


class ChunkJobs:
    """The Jobs of one step's chunks. Use as a context manager; threads may share it."""

    def __init__(self, client: ClusterClient, namespace: str, selector: str) -> None:
        """Say where Jobs run.

        Args:
            client: of the cluster.
            namespace: of the Jobs.
            selector: of labels, by which the Jobs of this step are found.
        """
        self._client = client
        self._places = threading.Semaphore(IN_FLIGHT)
        self._watch = Watch(client, "Job", namespace, labelSelector=selector)
        self._heart = Heart(client)
        self._running: set[Reference] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._watch.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watch.__exit__(kind, error, trace)

    def run(self, config_map: Manifest, job: Manifest, max_log_bytes: int) -> bytes:
        """Run a Job to its end, whatever that is, and remove it.

        Args:
            config_map: what the Job mounts.
            job: of the same name, with `activeDeadlineSeconds`.
            max_log_bytes: of each pod's log.

        Returns:
            The logs of its pods, one after another; what a node lost of them is missing.
        """
        with self._places:
            self._launch(config_map)
            launched = launch(self._client, job)
            reference = Reference.of(launched)
            try:
                with self._lock:
                    self._running.add(reference)
                self._wait(reference, launched["metadata"]["uid"])
                logs = [
                    self._client.read_log(
                        reference.namespace, pod["metadata"]["name"], max_bytes=max_log_bytes
                    )
                    for pod in pods_of(self._client, reference)
                ]
            finally:
                with self._lock:
                    self._running.discard(reference)
            self._client.remove(reference, launched["metadata"]["uid"])
            self._client.remove(Reference.of(config_map))
        return b"\n".join(logs)

    def _launch(self, config_map: Manifest) -> None:
        """Create a ConfigMap; one of a launcher that was killed is kept where it is the same."""
        held = launch(self._client, config_map)
        if held.get("binaryData") != config_map.get("binaryData"):
            remove_and_wait(self._client, held)
            launch(self._client, config_map)

    def _wait(self, reference: Reference, uid: str) -> dict[str, Any]:
        changes = 0
        while True:
            held = self._watch.get(reference.name)
            if held is None or held["metadata"]["uid"] != uid:
                held = self._client.read(reference)  # the watch may be behind
            if held is None or held["metadata"]["uid"] != uid:
                raise StepFailedError(
                    f"expected {reference} to run, somebody removed it: run again to go on"
                )
            if state_of(held) != "running":
                return held
            with self._lock:
                self._heart.beat([*self._running])
            changes = self._watch.wait(min(POLL_S, HEARTBEAT_S), changes)
