"""A thin client of the Kubernetes API: JSON in and out, retries, errors in one line.

Address, certificates and credentials are read by the `kubernetes` package: the pod's own service
account (its token is read again when it turns), else KUBECONFIG or ~/.kube/config. Requests are
ours: objects are plain dictionaries, so any kind is served without a model of it.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import urllib3

from components.artifacts.errors import ClusterError, MissingExtraError

Manifest = Mapping[str, Any]

PATHS = {
    "ConfigMap": "api/v1/namespaces/{}/configmaps",
    "Pod": "api/v1/namespaces/{}/pods",
    "Job": "apis/batch/v1/namespaces/{}/jobs",
    "TrainJob": "apis/trainer.kubeflow.org/v1alpha1/namespaces/{}/trainjobs",
    "JobSet": "apis/jobset.x-k8s.io/v1alpha2/namespaces/{}/jobsets",
}
"""Where objects of a kind lie, by namespace."""

TOKEN_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
NAMESPACE_VARIABLE = "CODEKILN_NAMESPACE"
NAMESPACE = "codekiln"
"""Where Jobs run; steps of Kubeflow run in another one (k8s/base)."""

RETRIED = (408, 429, 500, 502, 503, 504)
PAUSES_S = (0.2, 0.5, 1, 2, 5, 10, 20, 30)
"""Before each further try: an API server that restarts is back within a minute."""

CONNECT_S, READ_S = 10.0, 60.0
WATCH_READ_S = 90.0
"""Of silence in a watch: about every minute a server marks a version, though nothing changes."""

MAX_REASON_CHARACTERS = 300

logger = logging.getLogger("codekiln")


class ConflictError(ClusterError):
    """An object of that name exists, or it has changed since it was read."""


class GoneError(ClusterError):
    """The server has no history as old as was asked for."""


@dataclass(frozen=True)
class Reference:
    """Which object."""

    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """The object that a manifest describes."""
        metadata = manifest["metadata"]
        return cls(manifest["kind"], metadata["namespace"], metadata["name"])

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class ClusterClient:
    """Requests to one API server. Threads may share it."""

    def __init__(
        self,
        host: str,
        pool: Any,
        authorize: Callable[[], Mapping[str, str]] = dict,
        namespace: str = NAMESPACE,
    ) -> None:
        """Take over a connection pool.

        Args:
            host: `https://address:port`.
            pool: of urllib3, with certificates.
            authorize: the headers that authorize a request, made anew for each.
            namespace: where Jobs are started.
        """
        self.namespace = namespace
        self._host = host.rstrip("/")
        self._pool = pool
        self._authorize = authorize

    @classmethod
    def connect(cls) -> Self:
        """Connect as the pod that this is, else as KUBECONFIG says.

        Raises:
            ClusterError: neither is there, or KUBECONFIG cannot be read.
            MissingExtraError: the package is not installed.
        """
        try:
            from kubernetes import client, config
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                "Jobs on a cluster need the package 'kubernetes', which is not installed: "
                "pip install 'codekiln[cluster]'"
            ) from error
        configuration = client.Configuration()
        try:
            if TOKEN_FILE.exists() and "KUBECONFIG" not in os.environ:
                config.load_incluster_config(client_configuration=configuration)
            else:
                file = os.environ.get("KUBECONFIG")  # the package reads it at its import alone
                config.load_kube_config(file, client_configuration=configuration)
        except (config.ConfigException, OSError, KeyError, ValueError) as error:
            raise ClusterError(
                f"expected a pod's service account or a KUBECONFIG, got {type(error).__name__} "
                f"({_short(str(error))}): run on a cluster, or set KUBECONFIG"
            ) from None
        return cls(
            configuration.host,
            client.ApiClient(configuration).rest_client.pool_manager,
            lambda: _headers_of(configuration),
            os.environ.get(NAMESPACE_VARIABLE, NAMESPACE),
        )

    def create(self, manifest: Manifest) -> dict[str, Any]:
        """Create an object.

        Raises:
            ConflictError: the name is taken.
        """
        reference = Reference.of(manifest)
        path = PATHS[reference.kind].format(reference.namespace)
        return self._json("POST", path, f"create {reference}", body=manifest)

    def read(self, reference: Reference) -> dict[str, Any] | None:
        """The object as it is; None where there is none."""
        return self._json_or_none("GET", _path_of(reference), f"read {reference}")

    def remove(self, reference: Reference, uid: str = "") -> None:
        """Delete an object and what it owns; nothing happens where there is none.

        Args:
            reference: which.
            uid: only if it is still this one.
        """
        options: dict[str, Any] = {"propagationPolicy": "Foreground"}
        if uid:
            options["preconditions"] = {"uid": uid}
        self._json_or_none("DELETE", _path_of(reference), f"remove {reference}", body=options)

    def annotate(self, reference: Reference, annotations: Mapping[str, str]) -> None:
        """Set annotations; nothing happens where the object is gone."""
        body = {"metadata": {"annotations": dict(annotations)}}
        self._json_or_none(
            "PATCH",
            _path_of(reference),
            f"annotate {reference}",
            body=body,
            kind="merge-patch+json",
        )

    def list(self, kind: str, namespace: str, **selectors: str) -> dict[str, Any]:
        """The list of objects: `items`, and the `metadata.resourceVersion` to watch from.

        Servers leave the kind out of the items of a list; here every object has one.

        Args:
            kind: of PATHS.
            namespace: where.
            selectors: labelSelector, fieldSelector.
        """
        path = PATHS[kind].format(namespace)
        found = self._json("GET", path, f"list {kind}s in {namespace}", query=selectors)
        return {**found, "items": [{**item, "kind": kind} for item in found.get("items") or ()]}

    def watch(
        self, kind: str, namespace: str, resource_version: str, **selectors: str
    ) -> "EventStream":
        """The stream of changes from a version on."""
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            **selectors,
        }
        path = PATHS[kind].format(namespace)
        return EventStream(self._send("GET", path, query, None, stream=True))

    def read_log(self, namespace: str, pod: str, tail_lines: int = 0, max_bytes: int = 0) -> bytes:
        """A pod's log; empty where it is gone, has not begun, or its node does not answer.

        Args:
            namespace: where.
            pod: its name.
            tail_lines: only so many of the last; 0 for all.
            max_bytes: at most so many from the start; 0 for all.
        """
        limits = {"tailLines": tail_lines, "limitBytes": max_bytes}
        query = {name: str(value) for name, value in limits.items() if value}
        path = f"{PATHS['Pod'].format(namespace)}/{pod}/log"
        answer = self._send("GET", path, query, None)
        if answer.status in (400, 404):  # the container has not started; the pod is gone
            return b""
        if answer.status == 500:  # the server's own request to the node failed, again and again
            logger.warning("the node of %s/%s does not give its log", namespace, pod)
            return b""
        _check(answer, f"read the log of {namespace}/{pod}")
        return bytes(answer.data)

    def _json(
        self,
        method: str,
        path: str,
        what: str,
        query: Mapping[str, str] | None = None,
        body: Manifest | None = None,
        kind: str = "json",
    ) -> dict[str, Any]:
        answer = self._send(method, path, query or {}, body, kind)
        _check(answer, what)
        value: dict[str, Any] = json.loads(answer.data)
        return value

    def _json_or_none(
        self, method: str, path: str, what: str, body: Manifest | None = None, kind: str = "json"
    ) -> dict[str, Any] | None:
        answer = self._send(method, path, {}, body, kind)
        if answer.status == 404:
            return None
        _check(answer, what)
        value: dict[str, Any] = json.loads(answer.data)
        return value

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Manifest | None,
        kind: str = "json",
        stream: bool = False,
    ) -> Any:
        """One request, tried again where that may help. A create that was done twice conflicts."""
        address = f"{self._host}/{path}" + (f"?{urlencode(query)}" if query else "")
        timeout = urllib3.Timeout(connect=CONNECT_S, read=WATCH_READ_S if stream else READ_S)
        for pause_s in (*PAUSES_S, None):
            try:
                answer = self._pool.request(
                    method,
                    address,
                    body=None if body is None else json.dumps(body),
                    headers={**self._authorize(), "Content-Type": f"application/{kind}"},
                    timeout=timeout,
                    retries=False,
                    preload_content=not stream,
                )
            except urllib3.exceptions.HTTPError as error:
                if pause_s is None:
                    raise ClusterError(
                        f"expected an answer of the API server, got {type(error).__name__}: is "
                        "the cluster up, and may this pod reach it? run again to go on"
                    ) from None
            else:
                if answer.status not in RETRIED or pause_s is None:
                    return answer
            time.sleep(pause_s)
        raise AssertionError("unreachable")


class EventStream:
    """The events of one watch. Another thread may close it."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Type and object of every event, until the server or the network ends the stream.

        Raises:
            GoneError: the version is too old: list again.
            ClusterError: the server refuses.
        """
        _check(self._answer, "watch")
        try:
            for line in _lines(self._answer):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise _error(int(status.get("code", 0)), status, "watch")
                yield event["type"], event["object"]
        except ClusterError:  # a ValueError too
            raise
        except (urllib3.exceptions.HTTPError, ValueError, OSError):
            return  # torn, or closed: the watcher goes on from the last version
        finally:
            self._answer.close()

    def close(self) -> None:
        """End the stream, also while it is being read."""
        try:
            self._answer.shutdown()
        except (ValueError, OSError, RuntimeError):  # it has ended
            self._answer.close()


def _lines(answer: Any) -> Iterator[bytes]:
    pending = b""
    while chunk := answer.read1(2**16):
        *whole, pending = (pending + chunk).split(b"\n")
        yield from (line for line in whole if line)


def _headers_of(configuration: Any) -> dict[str, str]:
    """The authorizing header; asking for it reads a token again that has turned."""
    setting = configuration.auth_settings().get("BearerToken")
    return {"Authorization": setting["value"]} if setting else {}


def _path_of(reference: Reference) -> str:
    return f"{PATHS[reference.kind].format(reference.namespace)}/{reference.name}"


def _check(answer: Any, what: str) -> None:
    if answer.status < 300:
        return
    try:
        status = json.loads(answer.read() if not answer.closed and not answer.data else answer.data)
    except (ValueError, urllib3.exceptions.HTTPError):
        status = {}
    raise _error(answer.status, status if isinstance(status, dict) else {}, what)


def _error(code: int, status: Mapping[str, Any], what: str) -> ClusterError:
    reason = _short(str(status.get("message") or status.get("reason") or "no reason"))
    kinds = {409: ConflictError, 410: GoneError}
    advice = {
        401: "log in again",
        403: "bind this service account to the role of k8s/base",
        404: "install what serves that kind, or mend the namespace",
        422: "mend the manifest",
    }.get(code, "run again")
    if "exceeded quota" in reason:
        advice = "wait until others end, or raise the quota"
    elif "being terminated" in reason:
        advice = "make the namespace anew once it is gone"
    return kinds.get(code, ClusterError)(f"expected to {what}, got {code}: {reason}: {advice}")


def _short(text: str) -> str:
    return " ".join(text.split())[:MAX_REASON_CHARACTERS]
