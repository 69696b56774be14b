"""Objects of a cluster, kept up to date by a thread: list, then watch, again and again.

A watch ends for many reasons: the server restarts, a connection drops, the history that it would
go on from is gone (410). After each, what is known stays right: by watching from the last version,
or by listing anew.
"""

import logging
import threading
import time
from types import TracebackType
from typing import Any, Self

from components.artifacts.errors import ClusterError
from components.cluster.client import ClusterClient, EventStream, GoneError

PAUSE_S = 1.0
PATIENCE_S = 600.0
"""How long the API server may be away before whoever waits is told."""

logger = logging.getLogger("codekiln")


class Watch:
    """The objects of a kind and a selector. Use as a context manager; threads may share it."""

    def __init__(self, client: ClusterClient, kind: str, namespace: str, **selectors: str) -> None:
        """Say what to watch.

        Args:
            client: of the cluster.
            kind: of the objects.
            namespace: where they are.
            selectors: labelSelector, fieldSelector.
        """
        self._client = client
        self._kind, self._namespace, self._selectors = kind, namespace, selectors
        self._changed = threading.Condition()
        self._objects: dict[str, dict[str, Any]] | None = None
        self._changes = 0
        self._error: ClusterError | None = None
        self._stopped = threading.Event()
        self._stream: EventStream | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        if self._stream is not None:
            self._stream.close()
        self._thread.join(2 * PAUSE_S)

    def get(self, name: str) -> dict[str, Any] | None:
        """The object of a name as it was last seen; None where there is none.

        Raises:
            ClusterError: the API server has been away, or refuses.
        """
        with self._changed:
            while self._objects is None and self._error is None:
                self._changed.wait()
            if self._error:
                raise self._error
            assert self._objects is not None
            return self._objects.get(name)

    def wait(self, timeout_s: float, since: int | None = None) -> int:
        """Wait for a change, or for a time.

        Args:
            timeout_s: at most.
            since: what the last call returned: a change after it ends the wait at once.

        Returns:
            The number of changes so far.
        """
        with self._changed:
            seen = self._changes if since is None else since
            self._changed.wait_for(lambda: self._changes > seen or self._error, timeout_s)
            return self._changes

    def _follow(self) -> None:
        version, failing_since = "", 0.0
        while not self._stopped.is_set():
            try:
                if not version:
                    version = self._list()
                version = self._watch(version)
                failing_since = 0.0
            except GoneError:
                version = ""
            except ClusterError as error:
                version = ""
                failing_since = failing_since or time.monotonic()
                if time.monotonic() - failing_since > PATIENCE_S or _is_refusal(error):
                    self._keep(error=error)
                    return
                self._stopped.wait(PAUSE_S)

    def _list(self) -> str:
        found = self._client.list(self._kind, self._namespace, **self._selectors)
        objects = {item["metadata"]["name"]: item for item in found.get("items", ())}
        self._keep(objects=objects)
        return str(found["metadata"]["resourceVersion"])

    def _watch(self, version: str) -> str:
        """Take changes in until the stream ends; the version to go on from."""
        self._stream = self._client.watch(self._kind, self._namespace, version, **self._selectors)
        received = False
        for event, value in self._stream.events():
            received = True
            version = str(value["metadata"]["resourceVersion"])
            if event != "BOOKMARK":
                assert self._objects is not None
                objects = {**self._objects, value["metadata"]["name"]: value}
                if event == "DELETED":
                    del objects[value["metadata"]["name"]]
                self._keep(objects=objects)
            if self._stopped.is_set():
                break
        if not received:
            self._stopped.wait(PAUSE_S / 10)
        return version

    def _keep(
        self, objects: dict[str, dict[str, Any]] | None = None, error: ClusterError | None = None
    ) -> None:
        with self._changed:
            self._objects = objects if objects is not None else self._objects
            self._error = error
            self._changes += 1
            self._changed.notify_all()


def _is_refusal(error: ClusterError) -> bool:
    """Whether asking again cannot help: no permission, or no such kind."""
    return any(f"got {code}:" in str(error) for code in (401, 403, 404, 422))
