"""Start an object of a name, follow it to its end, and say why where it failed.

A name is a key (and a chunk), so a launcher that was killed and is started again finds what it
started: it goes on with what runs or has succeeded, and replaces what has failed.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from components.artifacts.canonical import digest_of
from components.artifacts.errors import ClusterError, StepFailedError
from components.cluster.client import ClusterClient, ConflictError, Manifest, Reference
from components.cluster.watching import Watch

HEARTBEAT = "codekiln/heartbeat"
"""Annotation: when the launcher was last alive. `codekiln reap` goes by it."""

CONTENT = "codekiln/content"
"""Annotation: a hash of the manifest, by which a launcher knows its own."""

LAUNCHED = "codekiln/launched"
"""Label of every object that a launcher starts."""

PART_OF = {"app.kubernetes.io/part-of": "codekiln", LAUNCHED: "true"}

HEARTBEAT_S = 60.0
POLL_S = 0.2
REMOVED_S = 300.0
"""What an object and its pods may take to go."""

TAIL_LINES = 20
POD_LABELS = {
    "Job": "batch.kubernetes.io/job-name",
    "TrainJob": "jobset.sigs.k8s.io/jobset-name",
    "JobSet": "jobset.sigs.k8s.io/jobset-name",
}
"""By which label the pods of a kind are found."""

State = Literal["running", "succeeded", "failed"]

logger = logging.getLogger("codekiln")


def now_text() -> str:
    """The time as annotations spell it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def stamp(manifest: Manifest) -> dict[str, Any]:
    """A manifest with the labels and annotations of what is launched."""
    metadata = manifest["metadata"]
    annotations = {
        **metadata.get("annotations", {}),
        CONTENT: digest_of(manifest)[:32],
        HEARTBEAT: now_text(),
    }
    labels = {**metadata.get("labels", {}), **PART_OF}
    return {**manifest, "metadata": {**metadata, "labels": labels, "annotations": annotations}}


def launch(client: ClusterClient, manifest: Manifest) -> dict[str, Any]:
    """Create an object; where its name is taken, adopt it or replace it.

    An object of another content is replaced whatever its state: one key has one launcher, and it is
    of another version.

    Returns:
        The object as it is on the server.

    Raises:
        ClusterError: the server refuses, or the old one does not go.
    """
    assert manifest["kind"] == "ConfigMap" or manifest["spec"]["activeDeadlineSeconds"] > 0, (
        "whatever is launched ends by itself"
    )
    stamped = stamp(manifest)
    reference = Reference.of(stamped)
    while True:
        try:
            return client.create(stamped)
        except ConflictError:
            held = client.read(reference)
        if held is None:
            continue
        if _is_own(held, stamped) and state_of(held) != "failed":
            logger.info("%s is there already (%s)", reference, state_of(held))
            client.annotate(reference, {HEARTBEAT: now_text()})
            return held
        logger.warning("%s is there already (%s) and is replaced", reference, state_of(held))
        remove_and_wait(client, held)


def remove_and_wait(client: ClusterClient, held: Manifest) -> None:
    """Delete an object, and return once it and its pods are gone.

    Raises:
        ClusterError: it does not go.
    """
    reference, uid = Reference.of(held), str(held["metadata"]["uid"])
    deadline = time.monotonic() + REMOVED_S
    try:
        client.remove(reference, uid)
    except ConflictError:
        return  # another one of that name is there by now
    while time.monotonic() < deadline:
        left = client.read(reference)
        if left is None or left["metadata"]["uid"] != uid:
            return
        time.sleep(POLL_S)
    raise ClusterError(
        f"expected {reference} to go within {REMOVED_S:g} s, it is still there: look at its "
        "finalizers, delete it, then run again"
    )


def state_of(held: Manifest) -> State:
    """Whether a Job, TrainJob or JobSet has ended, and how."""
    conditions = {
        condition["type"]
        for condition in held.get("status", {}).get("conditions", ())
        if condition.get("status") == "True"
    }
    if conditions & {"Complete", "Completed"}:
        return "succeeded"
    return "failed" if "Failed" in conditions else "running"


def _is_own(held: Manifest, stamped: Manifest) -> bool:
    metadata = held["metadata"]
    same = (metadata.get("annotations") or {}).get(CONTENT) == stamped["metadata"]["annotations"][
        CONTENT
    ]
    return same and "deletionTimestamp" not in metadata


class Heart:
    """Tells the cluster that the launcher lives."""

    def __init__(self, client: ClusterClient) -> None:
        self._client = client
        self._last = time.monotonic()

    def beat(self, references: Iterable[Reference]) -> None:
        """Refresh the annotation of what is launched, where it is time to."""
        if time.monotonic() - self._last < HEARTBEAT_S:
            return
        self._last = time.monotonic()
        for reference in references:
            try:
                self._client.annotate(reference, {HEARTBEAT: now_text()})
            except ClusterError as error:  # the reaper waits for many more beats
                logger.warning("the heartbeat of %s failed: %s", reference, error)


def run_to_end(
    client: ClusterClient, manifest: Manifest, beside: Sequence[Reference] = ()
) -> dict[str, Any]:
    """Launch a Job or a TrainJob and wait until it has succeeded.

    Args:
        client: of the cluster.
        manifest: with `activeDeadlineSeconds`; its name is the key of what it makes.
        beside: objects that it needs, which get its heartbeat too.

    Returns:
        The object at its end. It is left to its time to live, or to the reaper.

    Raises:
        StepFailedError: it failed, or somebody removed it; the last lines of its log are logged.
    """
    reference = Reference.of(manifest)
    launched = launch(client, manifest)
    heart, changes = Heart(client), 0
    with Watch(
        client,
        reference.kind,
        reference.namespace,
        fieldSelector=f"metadata.name={reference.name}",
    ) as watch:
        while True:
            held = watch.get(reference.name)
            if held is None or held["metadata"]["uid"] != launched["metadata"]["uid"]:
                held = client.read(reference)  # the watch may be behind
            if held is None or held["metadata"]["uid"] != launched["metadata"]["uid"]:
                raise StepFailedError(
                    f"expected {reference} to run, somebody removed it: run again to go on"
                )
            state = state_of(held)
            if state == "succeeded":
                return held
            if state == "failed":
                raise StepFailedError(explain_failure(client, held))
            heart.beat([reference, *beside])
            changes = watch.wait(HEARTBEAT_S / 4, changes)


def explain_failure(client: ClusterClient, held: Manifest) -> str:
    """Why an object failed, in one line; the last lines of its failed pods' logs are logged."""
    reference = Reference.of(held)
    reasons = [
        f"{condition.get('reason', '')} {condition.get('message', '')}".strip()
        for condition in held.get("status", {}).get("conditions", ())
        if condition["type"] == "Failed"
    ]
    last = ""
    for pod in failed_pods(client, reference)[-1:]:
        name = pod["metadata"]["name"]
        log = client.read_log(reference.namespace, name, tail_lines=TAIL_LINES)
        lines = log.decode("utf-8", "replace").splitlines()
        for line in lines:
            logger.error("%s: %s", name, line)
        last = next((line for line in reversed(lines) if line.strip()), "")
    reason = " ".join((reasons[-1] if reasons else "no reason").split())[:300]
    shown = f"; its last line: {' '.join(last.split())[:300]}" if last else ""
    return f"{reference} failed: {reason}{shown}; run again to go on"


def failed_pods(client: ClusterClient, reference: Reference) -> list[dict[str, Any]]:
    """The failed pods of an object, the oldest first."""
    return [
        pod for pod in pods_of(client, reference) if pod.get("status", {}).get("phase") == "Failed"
    ]


def pods_of(client: ClusterClient, reference: Reference) -> list[dict[str, Any]]:
    """The pods of an object, the oldest first."""
    selector = f"{POD_LABELS[reference.kind]}={reference.name}"
    pods = client.list("Pod", reference.namespace, labelSelector=selector).get("items", [])
    return sorted(
        pods, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"])
    )
