"""Requests to the stub of the Kubernetes API server, answered as a real one does.

Bodies, status codes and events are those of kube-apiserver 1.20.2: `tests/test_cluster_*.py` run on
both. What differs on purpose: a version is never too old unless a test says so, and what a server
fills in (defaults of pods, managed fields) is left out.
"""

import contextlib
import json
import re
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from tests.kubernetes_double import Stub

PATH = re.compile(
    r"/(?:api|apis)/(?:([^/]+)/)?(?:v1|v1alpha1|v1alpha2)/namespaces/([^/]+)/([a-z]+)"
    r"(?:/([^/]+))?(?:/(log|status))?"
)
KINDS = {
    "configmaps": ("ConfigMap", "v1", ""),
    "pods": ("Pod", "v1", ""),
    "jobs": ("Job", "batch/v1", "batch"),
    "trainjobs": ("TrainJob", "trainer.kubeflow.org/v1alpha1", "trainer.kubeflow.org"),
}
"""By the name in a path: kind, apiVersion, group."""

CUSTOM = "TrainJob"
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
MAX_DATA_BYTES = 2**20
MERGE = "application/merge-patch+json"
WATCH_S, BOOKMARK_S = 20, 2.0
REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    404: "NotFound",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    503: "ServiceUnavailable",
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    state: "Stub"

    def log_message(self, *_):
        pass

    def handle(self):
        with contextlib.suppress(ConnectionError):  # a watcher has gone
            super().handle()

    def handle_all(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        match = PATH.fullmatch(parts.path)
        if match is None or (match[1] or "") != KINDS.get(match[3], (0, 0, 0))[2]:
            return self.reply(404, b"404 page not found\n", "text/plain; charset=utf-8")
        self.resource, self.name = match[3], match[4]
        kind = KINDS[self.resource][0]
        self.state.seen[f"{self.command} {kind}"] += 1
        if self.headers.get("Authorization") != "Bearer secret-of-the-stub":
            return self.refuse(401, "Unauthorized")
        if self.state.take("refuse_requests"):
            return self.fail()
        if self.command == "POST":
            return self.create(kind, match[2], json.loads(body))
        if self.name is None:
            return self.watch(kind, query) if "watch" in query else self.list(kind, query)
        key = (kind, match[2], self.name)
        if match[5] == "log":
            return self.log(query)
        with self.state.changed:
            held = self.state.objects.get(key)
            if held is None:
                return self.refuse(404, f"{self.title()} not found")
            if self.command == "PATCH":
                return self.patch(kind, held, json.loads(body), match[5] == "status")
        if self.command == "DELETE":
            return self.delete(key, held, json.loads(body or b"{}"))
        return self.reply(200, held)

    do_GET = do_POST = do_DELETE = do_PATCH = handle_all  # noqa: N815

    def title(self):
        group = KINDS[self.resource][2]
        return f'{self.resource}{"." * bool(group)}{group} "{self.name}"'

    def fail(self):
        how = self.state.chance.choice((503, 429, 0))
        if how:
            return self.refuse(how, "a fault of the test")
        return self.hang_up()

    def hang_up(self):
        self.close_connection = True
        return self.connection.shutdown(2)

    def create(self, kind, namespace, value):
        value = {"kind": kind, "apiVersion": KINDS[self.resource][1], **value}
        self.name = value["metadata"]["name"]
        if not NAME.fullmatch(self.name):
            return self.refuse(
                422,
                f'{kind} "{self.name}" is invalid: metadata.name: Invalid value: "{self.name}": a '
                "lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters",
            )
        if sum(map(len, value.get("binaryData", {}).values())) * 3 // 4 > MAX_DATA_BYTES:
            text = f"[]: Too long: must have at most {MAX_DATA_BYTES} bytes"
            return self.refuse(422, f'{kind} "{self.name}" is invalid: {text}')
        value["metadata"]["namespace"] = namespace
        with self.state.changed:
            held = self.state.objects.get((kind, namespace, self.name))
            made = self.state.create(kind, value)
        if made is None:
            going = "object is being deleted: " * ("deletionTimestamp" in held["metadata"])
            return self.refuse(409, f"{going}{self.title()} already exists", "AlreadyExists")
        if kind == "Job" and self.state.take("lose_answers"):
            return self.hang_up()
        return self.reply(201, made)

    def patch(self, kind, held, change, of_status):
        """A merge patch: the status by its subresource alone; what changes nothing is no event."""
        if self.headers["Content-Type"] != MERGE:
            return self.refuse(415, "415: Unsupported Media Type")
        metadata = held["metadata"]
        if (
            change.get("metadata", {}).get("resourceVersion", metadata["resourceVersion"])
            != (metadata["resourceVersion"])
        ):
            return self.refuse(409, f"Operation cannot be fulfilled on {self.title()}: {MODIFIED}")
        merged = merge(held, {name: change[name] for name in change if name != "status"})
        if of_status:
            merged = merge(held, {"status": change["status"]})
        for field in ("data", "binaryData", "immutable"):
            if held.get("immutable") and merged.get(field) != held.get(field):
                text = f"{field}: Forbidden: field is immutable when `immutable` is set"
                return self.refuse(422, f'{kind} "{self.name}" is invalid: {text}')
        if merged != held:
            self.state.store(kind, merged, "MODIFIED")
        return self.reply(200, merged)

    def delete(self, key, held, options):
        uid = options.get("preconditions", {}).get("uid")
        if uid and uid != held["metadata"]["uid"]:
            return self.refuse(
                409,
                f"Operation cannot be fulfilled on {self.title()}: the UID in the precondition "
                f"({uid}) does not match the UID in record ({held['metadata']['uid']}). The object "
                "might have been deleted and then recreated",
            )
        going = self.state.delete(key, options.get("propagationPolicy") == "Foreground")
        if going:
            return self.reply(200, going)
        return self.reply(200, {"kind": "Status", "status": "Success", "metadata": {}})

    def log(self, query):
        if self.name in self.state.silent_pods:
            address = f"https://127.0.0.1:9/containerLogs/{self.name}"
            return self.refuse(500, f'Get "{address}": dial tcp 127.0.0.1:9: connection refused')
        data = self.state.logs.get(self.name)
        if data is None:
            return self.refuse(404, f'pods "{self.name}" not found')
        if "tailLines" in query:
            data = b"".join(data.splitlines(keepends=True)[-int(query["tailLines"]) :])
        return self.reply(200, data[: int(query.get("limitBytes", len(data)))], "text/plain")

    def list(self, kind, query):
        """Items of a kind of the server's own have no kind in a list; custom ones have."""
        left_out = () if kind == CUSTOM else ("kind", "apiVersion")
        with self.state.changed:
            items = [
                {name: part for name, part in held.items() if name not in left_out}
                for (one, *_), held in self.state.objects.items()
                if one == kind and selected(held, query)
            ]
            version = str(self.state.version)
        head = {"kind": f"{kind}List", "apiVersion": KINDS[self.resource][1]}
        return self.reply(200, {**head, "metadata": {"resourceVersion": version}, "items": items})

    def watch(self, kind, query):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        sent = int(query["resourceVersion"])
        if self.state.take("gone_watches"):
            self.state.forget()
        if sent < self.state.oldest:
            text = f"too old resource version: {sent} ({self.state.version})"
            self.send_event("ERROR", status(410, text))
            return self.send_chunk(b"")
        drop = self.state.take("drop_watches")
        deadline = time.monotonic() + WATCH_S
        marked = time.monotonic()
        while time.monotonic() < deadline:
            with self.state.changed:
                fresh = [event for event in self.state.events if event[0] > sent]
                if not fresh:
                    self.state.changed.wait(0.5)
            for version, one, event, value, before in fresh:
                sent = version
                if one != kind or not (event := seen_as(event, value, before, query)):
                    continue
                if drop:
                    text = json.dumps({"type": event, "object": value}).encode()
                    self.send_chunk(text[: len(text) // 2])
                    return self.connection.shutdown(2)
                self.send_event(event, value)
            if not fresh and time.monotonic() - marked > BOOKMARK_S:
                marked = time.monotonic()
                known = {"kind": kind, "metadata": {"resourceVersion": str(sent)}}
                self.send_event("BOOKMARK", known)
        return self.send_chunk(b"")

    def send_event(self, event, value):
        self.send_chunk(json.dumps({"type": event, "object": value}).encode() + b"\n")

    def send_chunk(self, data):
        """One chunk of a body without a known length; an empty one ends it."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def refuse(self, code, message, reason=""):
        return self.reply(code, status(code, message, reason))

    def reply(self, code, value, media_type="application/json"):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


MODIFIED = (
    "the object has been modified; please apply your changes to the latest version and try again"
)


def seen_as(event, value, before, query):
    """The event as a selector sees it: what it loses is deleted, what it wins is added."""
    now = selected(value, query)
    if event != "MODIFIED":
        return event if now else ""
    earlier = before is not None and selected(before, query)
    return {(True, True): "MODIFIED", (False, True): "ADDED", (True, False): "DELETED"}.get(
        (earlier, now), ""
    )


def selected(value, query):
    labels = value["metadata"].get("labels", {})
    wanted = dict(part.split("=") for part in query.get("labelSelector", "").split(",") if part)
    named = query.get("fieldSelector", "").removeprefix("metadata.name=")
    return labels.items() >= wanted.items() and named in ("", value["metadata"]["name"])


def merge(held, patch):
    """RFC 7396: null takes a field away."""
    if not isinstance(patch, dict):
        return patch
    result = dict(held) if isinstance(held, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), value)
    return result


def status(code, message, reason=""):
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason or REASONS.get(code, "Conflict"),
        "code": code,
    }
