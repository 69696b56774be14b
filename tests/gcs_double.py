"""A double of Google Cloud Storage's JSON interface that honours generations, and fails as asked.

What gcp-storage-emulator ignores is the point of it: `ifGenerationMatch` is checked and applied
under one lock. A fault happens once: a status, or a connection that drops before the work, after
it, or in the middle of the answer.
"""

import base64
import json
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

OBJECT = re.compile(r"/(?:download/)?storage/v1/b/([^/]+)/o/(.+)")
BUCKET = re.compile(r"/(?:upload/)?storage/v1/b/([^/]+)/o")


@dataclass
class Fault:
    """What happens once to the first request of a method whose target holds a text."""

    method: str
    target: str
    what: int | str
    """A status, or drop_before, drop_after, drop_middle."""


@dataclass
class Stored:
    data: bytes
    generation: int
    metadata: dict


@dataclass
class Double:
    """The state of the store; `host` for STORAGE_EMULATOR_HOST."""

    buckets: dict[str, dict[str, Stored]] = field(default_factory=lambda: {"bucket": {}})
    faults: list[Fault] = field(default_factory=list)
    forbidden: set[str] = field(default_factory=set)
    counted: Counter = field(default_factory=Counter)
    largest_upload: int = 0
    host: str = ""

    def __post_init__(self):
        self.lock = threading.RLock()
        self.sessions = {}
        self.generation = 1000

    def take_fault(self, method, target):
        with self.lock:
            for fault in self.faults:
                if fault.method == method and fault.target in target:
                    self.faults.remove(fault)
                    return fault.what
        return None

    def store(self, bucket, name, data, metadata, condition):
        with self.lock:
            held = self.buckets[bucket].get(name)
            if condition is not None and int(condition) != (held.generation if held else 0):
                return None
            self.generation += 1
            stored = Stored(data, self.generation, metadata)
            self.buckets[bucket][name] = stored
            return stored

    def __enter__(self):
        double = self

        class Handler(_Handler):
            state = double

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    state: Double

    def log_message(self, *_):
        pass

    def handle_all(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        parts = urlsplit(self.path)
        self.query = {k: v[0] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
        self.target = unquote(parts.path)
        self.state.counted[self.command] += 1
        fault = self.state.take_fault(self.command, f"{self.target}?{parts.query}")
        self.drop = fault if isinstance(fault, str) else ""
        if isinstance(fault, int):
            return self.refuse(fault, "a fault of the test")
        if self.drop == "drop_before":
            return self.hang_up()
        return self.answer(parts.path, body)

    do_GET = do_POST = do_PUT = do_DELETE = handle_all  # noqa: N815

    def answer(self, path, body):
        if self.command == "PUT":
            return self.take_piece(body)
        match = OBJECT.fullmatch(path) or BUCKET.fullmatch(path)
        assert match, path
        bucket = unquote(match[1])
        if bucket in self.state.forbidden:
            return self.refuse(403, "the account has no storage.objects.list access")
        if bucket not in self.state.buckets:
            return self.refuse(404, "The specified bucket does not exist.")
        if self.command == "POST":
            return self.begin_upload(bucket, body)
        if match.re is BUCKET:
            return self.list(bucket)
        return self.serve_object(bucket, unquote(match[2]))

    def serve_object(self, bucket, name):
        with self.state.lock:
            stored = self.state.buckets[bucket].get(name)
            condition = self.query.get("ifGenerationMatch")
            if stored is None:
                return self.refuse(404, f"No such object: {bucket}/{name}")
            if condition is not None and int(condition) != stored.generation:
                return self.refuse(412, "conditionNotMet")
            if self.command == "DELETE":
                del self.state.buckets[bucket][name]
                return self.reply(204, b"")
        if self.query.get("alt") != "media":
            return self.reply_json(self.resource(bucket, name, stored))
        data, status, headers = stored.data, 200, {}
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            last = min(int(wanted[2] or len(data)), len(data) - 1)
            headers["Content-Range"] = f"bytes {wanted[1]}-{last}/{len(data)}"
            data, status = data[int(wanted[1]) : last + 1], 206
        headers["X-Goog-Hash"] = f"crc32c={checksum(stored.data)}"
        return self.reply(status, data, headers)

    def list(self, bucket):
        prefix = self.query.get("prefix", "")
        with self.state.lock:
            held = self.state.buckets[bucket]
            names = sorted(name for name in held if name.startswith(prefix))
        start, size = (
            int(self.query.get("pageToken", 0)),
            min(int(self.query.get("maxResults", 1000)), 7),
        )
        page = names[start : start + size]
        answer = {"items": [{"name": name} for name in page]}
        if start + size < len(names):
            answer["nextPageToken"] = str(start + size)
        return self.reply_json(answer)

    def begin_upload(self, bucket, body):
        condition = self.query.get("ifGenerationMatch")
        if self.query["uploadType"] == "multipart":
            kind = self.headers["Content-Type"]
            message = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
            boundary = message.get_boundary().encode()
            told = json.loads(message.get_payload(0).get_payload())
            data = body.split(b"--" + boundary)[2].partition(b"\r\n\r\n")[2][:-2]
            return self.finish_upload(
                bucket, self.query.get("name") or told["name"], data, told, condition
            )
        told = json.loads(body)
        name = self.query.get("name") or told["name"]
        held = self.state.buckets[bucket].get(name)
        if condition is not None and int(condition) != (held.generation if held else 0):
            return self.refuse(412, "conditionNotMet")
        session = f"{len(self.state.sessions)}"
        self.state.sessions[session] = (bucket, name, told, condition, bytearray())
        address = f"{self.state.host}/upload/storage/v1/b/{bucket}/o?upload_id=secret-{session}"
        return self.reply(200, b"", {"Location": address})

    def take_piece(self, body):
        session = self.query["upload_id"].removeprefix("secret-")
        bucket, name, told, condition, held = self.state.sessions[session]
        self.state.largest_upload = max(self.state.largest_upload, len(body))
        spec = self.headers["Content-Range"].removeprefix("bytes ")
        where, _, total = spec.partition("/")
        if where != "*":
            start = int(where.partition("-")[0])
            assert start <= len(held), (start, len(held))
            held[start:] = body
        if total != "*" and len(held) == int(total):
            return self.finish_upload(bucket, name, bytes(held), told, condition)
        headers = {"Range": f"bytes=0-{len(held) - 1}"} if held else {}
        return self.reply(308, b"", headers)

    def finish_upload(self, bucket, name, data, told, condition):
        stored = self.state.store(bucket, name, data, told.get("metadata", {}), condition)
        if stored is None:
            return self.refuse(412, "conditionNotMet")
        return self.reply_json(self.resource(bucket, name, stored))

    def resource(self, bucket, name, stored):
        return {
            "bucket": bucket,
            "name": name,
            "size": str(len(stored.data)),
            "generation": str(stored.generation),
            "metageneration": "1",
            "metadata": stored.metadata,
            "crc32c": checksum(stored.data),
            "updated": "2026-11-24T00:00:00.000Z",
        }

    def refuse(self, status, text):
        return self.reply(status, json.dumps({"error": {"code": status, "message": text}}).encode())

    def reply_json(self, value):
        return self.reply(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def reply(self, status, data, headers=None):
        if getattr(self, "drop", "") == "drop_after":
            return self.hang_up()
        self.send_response(status)
        for name, value in {"Content-Type": "application/octet-stream", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if getattr(self, "drop", "") == "drop_middle":
            self.wfile.write(data[: len(data) // 2])
            return self.hang_up()
        self.wfile.write(data)
        return None

    def hang_up(self):
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(2)


def checksum(data):
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
