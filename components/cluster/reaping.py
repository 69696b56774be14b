"""Remove what was launched and whose launcher is gone: no heartbeat for a quarter of an hour.

A step of a run that is terminated cannot be trusted to clean up, so this runs on a schedule beside
the runs (a CronJob: `codekiln reap`).
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from components.artifacts.errors import ClusterError
from components.cluster.client import ClusterClient, Manifest, Reference
from components.cluster.launching import HEARTBEAT, LAUNCHED, state_of
from components.cluster.place import TTL_S

SILENT_S = 15 * 60
"""15 heartbeats missed."""

KINDS = ("TrainJob", "Job", "ConfigMap")


def find_silent(
    client: ClusterClient, namespaces: Sequence[str], silent_s: float, now: datetime
) -> Iterator[Reference]:
    """What was launched and has had no heartbeat for a time.

    Objects that have ended are left to their time to live; a TrainJob has none of its own, so here
    it is given that of the others.

    Args:
        client: of the cluster.
        namespaces: where to look.
        silent_s: the time.
        now: what is compared with heartbeats.
    """
    for namespace in namespaces:
        for kind in KINDS:
            try:
                found = client.list(kind, namespace, labelSelector=f"{LAUNCHED}=true")
            except ClusterError as error:
                if kind == "TrainJob" and any(f"got {code}:" in str(error) for code in (403, 404)):
                    continue  # no trainer here, or none of its objects are ours to see
                raise
            for item in found.get("items", ()):
                ended = kind != "ConfigMap" and state_of(item) != "running"
                if ended and kind != "TrainJob":
                    continue
                limit_s = max(silent_s, TTL_S) if ended else silent_s
                if _silent_for_s(item, now) > limit_s:
                    yield Reference(kind, namespace, item["metadata"]["name"])


def _silent_for_s(item: Manifest, now: datetime) -> float:
    """Since the last heartbeat, or since it was made where there is none that can be read."""
    metadata = item["metadata"]
    for text in ((metadata.get("annotations") or {}).get(HEARTBEAT), metadata["creationTimestamp"]):
        try:
            when = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
        except ValueError:
            continue
        return (now - when.astimezone(UTC)).total_seconds()
    return 0.0
