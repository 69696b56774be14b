"""A double of GitHub with state: search, GraphQL, tarballs, limits, faults, and a strict eye.

It runs in a thread with two addresses, the API's and the archive host's. It keeps budgets by token
and resource, names waits as GitHub does, and writes down every violation: a request inside a wait,
too many at once, a token where none belongs, a header that is missing. A test fails when
`violations` is not empty.
"""

import asyncio
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.git_backend import serve_git
from tests.github_answers import graphql_answer, rest_repository, search

TOKEN = "ghp_0123456789abcdefDOUBLE"
GRACE_S = 0.3
"""Requests that were under way when a limit was answered are no violation."""

TRANSIENT = (
    "403_retry_after",
    "403_secondary",
    "429_retry_after",
    "429_secondary",
    "403_primary",
    "429_primary",
    "502",
    "cut",
)
"""Faults that clear: the next attempt may succeed."""

SECONDARY = (
    "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
)
PRIMARY = "API rate limit exceeded for user ID 1."
DOCUMENTATION = "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api"


@dataclass
class DoubleRepository:
    """A repository as the double holds it."""

    id: int
    full_name: str
    created_at: str
    pushed_at: str = "2026-01-01T00:00:00Z"
    stars: int = 0
    language: str = "Python"
    license: str | None = "MIT"
    fork: bool = False
    archived: bool = False
    size_kb: int = 100
    commit: str = "0" * 40
    tarball: bytes | Path | Callable[[], Iterator[bytes]] = b""
    state: str = "public"
    """public, gone (404), blocked (451), empty (409)"""

    old_names: tuple[str, ...] = ()
    """Names that answer 301 to the numeric id."""


@dataclass
class Reply:
    """What goes back."""

    status: int
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    stream: AsyncIterator[bytes] | None = None
    cut: bool = False
    served: DoubleRepository | None = None


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    host: str
    """api or archive"""

    at: float

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def token(self) -> str:
        return self.headers.get("authorization", "").partition(" ")[2]


@dataclass
class Wait:
    """A limit that was answered."""

    token: str
    resource: str
    """Empty: all of the token."""

    since: float
    until: float


class GithubDouble:
    """Start it with `running()`."""

    def __init__(
        self,
        repositories: list[DoubleRepository],
        *,
        fault_rate: float = 0.0,
        seed: int = 0,
        faults: tuple[str, ...] = TRANSIENT,
        planned: dict[str, list[str]] | None = None,
        max_concurrency: int = 8,
        limits: dict[str, tuple[int, float]] | None = None,
        secondary_wait_s: float = 60.0,
        git_root: Path | None = None,
        tokens: tuple[str, ...] = (TOKEN,),
        delay_s: float = 0.0,
    ) -> None:
        self.repositories = repositories
        self.git_root = git_root
        self.tokens = tokens
        self.violations: list[str] = []
        self.requests: list[tuple[float, str, str]] = []
        """Time, host and target of each."""
        self.served: list[tuple[float, str]] = []
        """Time and name of each archive that was sent whole."""
        self.answers: list[tuple[str, str, int, Any]] = []
        """Method, path, status and body of JSON answers, for the contract tests."""
        self.fault_counts: Counter[str] = Counter()
        self.api_url = self.archive_url = ""
        self.most_at_once = 0
        self._delay_s = delay_s
        self._fault_rate = fault_rate
        self._random = random.Random(seed)
        self._faults = faults
        self._planned = planned or {}
        self._max_concurrency = max_concurrency
        self._limits = limits or {
            "core": (5000, 3600.0),
            "search": (30000, 60.0),
            "graphql": (5000, 3600.0),
        }
        self._secondary_wait_s = secondary_wait_s
        self._budgets: dict[tuple[str, str], tuple[int, float]] = {}
        self._waits: list[Wait] = []
        self._active = 0
        self._limited: dict[str, float] = {}

    def forget_waits(self, since: float) -> None:
        """Forget limits answered since then: a client that was killed may not have read them."""
        self._waits = [one for one in self._waits if one.since < since]

    @contextmanager
    def running(self) -> Iterator["GithubDouble"]:
        """Serve in a thread."""
        started, loop = threading.Event(), asyncio.new_event_loop()

        async def serve() -> None:
            servers = [await self._listen("api"), await self._listen("archive")]
            self.api_url, self.archive_url = (
                f"http://127.0.0.1:{one.sockets[0].getsockname()[1]}" for one in servers
            )
            started.set()
            await stop.wait()
            for one in servers:
                one.close()

        stop = asyncio.Event()
        thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
        thread.start()
        started.wait(10)
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(10)
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0.05))
            loop.close()

    async def _listen(self, host: str) -> asyncio.Server:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while request := await _read_request(reader, host):
                    if not await self._handle(request, writer):
                        break
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass  # the client is gone, or the double ends
            finally:
                writer.close()

        return await asyncio.start_server(connected, "127.0.0.1", 0, limit=1 << 20)

    async def _handle(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        self._active += 1
        self.most_at_once = max(self.most_at_once, self._active)
        if self._active > self._max_concurrency:
            self.violations.append(f"{self._active} requests at once: {request.target}")
        self.requests.append((request.at, request.host, request.target))
        released = False
        try:
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            if request.host == "archive" and request.path.startswith("/git/"):
                self._watch(request)
                if fault := self._fault(request, "git"):
                    head, body = _spell(fault)
                    writer.write(head + body)
                    return True
                assert self.git_root is not None
                await serve_git(self.git_root, request, writer)
                return False
            reply = self._route(request)
            head, body = _spell(reply)
            whole = head + body
            if reply.cut:
                whole = whole[: len(head) + len(body) // 2] if body else head[: len(head) // 2]
            if not reply.cut and reply.stream is None:
                self._active -= 1  # before the last bytes: the client may ask again at once
                released = True
                if reply.served:
                    self.served.append((time.time(), reply.served.full_name))
            writer.write(whole)
            await writer.drain()
            if reply.stream is not None:
                await self._stream(reply, writer)
            return not reply.cut
        finally:
            if not released:
                self._active -= 1

    async def _stream(self, reply: Reply, writer: asyncio.StreamWriter) -> None:
        assert reply.stream is not None
        async for chunk in reply.stream:
            writer.write(b"%x\r\n" % len(chunk) + chunk + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    def _route(self, request: Request) -> Reply:
        self._watch(request)
        if request.host == "archive":
            return self._fault(request, "archive") or self._archive(request)
        resource = {"/graphql": "graphql", "/search/repositories": "search"}.get(
            request.path, "core"
        )
        if request.token not in self.tokens:
            reply = Reply(401, {"message": "Bad credentials", "documentation_url": DOCUMENTATION})
        elif limited := self._spend(request, resource):
            reply = limited
        else:
            reply = self._fault(request, resource) or self._answer(request, resource)
        reply.headers = {**self._rate_headers(request, resource), **reply.headers}
        if isinstance(reply.body, dict) and not reply.cut:
            self.answers.append((request.method, request.path, reply.status, reply.body))
        return reply

    def _watch(self, request: Request) -> None:
        """Write down what a polite client does not do."""
        shown = request.target + "".join(
            value for name, value in request.headers.items() if name != "authorization"
        )
        if any(token in shown for token in self.tokens) or "access_token" in shown:
            self.violations.append(f"a token is shown: {request.path}")
        git = request.path.startswith("/git/")
        if request.host == "archive" and "authorization" in request.headers and not git:
            self.violations.append(f"a token reached the archive host: {request.path}")
        if not re.search(r"codekiln/\S+ \(\+\S+\)", request.headers.get("user-agent", "")):
            self.violations.append(f"no contact in the User-Agent: {request.path}")
        if request.host == "api" and "x-github-api-version" not in request.headers:
            self.violations.append(f"no API version: {request.path}")
        resource = {"/graphql": "graphql", "/search/repositories": "search"}.get(
            request.path, "core"
        )
        scope = "archive" if request.host == "archive" else request.token
        for wait in self._waits:
            grace = 0.0 if self._limited.get(request.target, 0) == wait.since else GRACE_S
            inside = wait.since + grace < request.at < wait.until
            if inside and wait.token == scope and wait.resource in ("", resource):
                early = wait.until - request.at
                self.violations.append(f"{early:.2f} s inside a wait: {request.target[:80]}")

    def _spend(self, request: Request, resource: str) -> Reply | None:
        limit, window_s = self._limits[resource]
        used, reset = self._budgets.get((request.token, resource), (0, 0.0))
        if request.at >= reset:
            used, reset = 0, float(int(request.at + window_s) + 1)
        if used >= limit:
            self._budgets[request.token, resource] = (used, reset)
            self._note_wait(request, request.token, resource, reset)
            return Reply(403, _message(PRIMARY), {"X-RateLimit-Remaining": "0"})
        self._budgets[request.token, resource] = (used + 1, reset)
        return None

    def _rate_headers(self, request: Request, resource: str) -> dict[str, str]:
        limit, _ = self._limits[resource]
        used, reset = self._budgets.get((request.token, resource), (0, time.time() + 1))
        return {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(max(0, limit - used)),
            "X-RateLimit-Used": str(used),
            "X-RateLimit-Reset": str(int(reset)),
            "X-RateLimit-Resource": resource,
        }

    def _note_wait(self, request: Request, token: str, resource: str, until: float) -> None:
        now = time.time()
        self._limited[request.target] = now
        self._waits.append(Wait(token, resource, now, until))

    def _fault(self, request: Request, resource: str) -> Reply | None:
        key = request.path.rpartition("/tarball/")[0] or request.path
        if resource == "archive":
            key = "archive:" + "/".join(request.path.split("/")[1:3])
        if resource == "git":
            key = "git:" + "/".join(request.path.split("/")[2:4]).removesuffix(".git")
        planned = self._planned.get(key) or self._planned.get(key.rpartition("/")[2])
        if planned:
            kind = planned.pop(0)
        elif resource != "git" and self._random.random() < self._fault_rate:
            kind = self._random.choice(self._faults)
        else:
            return None
        self.fault_counts[kind] += 1
        if kind == "cut":
            reply = (
                self._archive(request) if resource == "archive" else self._answer(request, resource)
            )
            reply.cut, reply.served = True, None
            return reply
        if kind == "200_limited":
            self._note_wait(request, request.token, "", time.time() + self._secondary_wait_s)
            return Reply(200, {"errors": [{"type": "RATE_LIMITED", "message": SECONDARY}]})
        if kind == "502":
            return Reply(502, {"message": "Server Error"})
        status = int(kind[:3])
        scope = resource if resource in ("archive", "git") else request.token
        if kind.endswith("retry_after"):
            self._note_wait(request, scope, "", time.time() + 1.0)
            return Reply(status, _message(SECONDARY), {"Retry-After": "1"})
        if kind.endswith("secondary") or resource in ("archive", "git"):
            self._note_wait(request, scope, "", time.time() + self._secondary_wait_s)
            return Reply(status, _message(SECONDARY))
        reset = int(time.time()) + 1
        self._note_wait(request, scope, resource, reset)
        limits = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(reset)}
        return Reply(status, _message(PRIMARY), limits)

    def _answer(self, request: Request, resource: str) -> Reply:
        if resource == "graphql":
            return Reply(200, graphql_answer(self.repositories, json.loads(request.body)))
        if resource == "search":
            query = parse_qs(urlsplit(request.target).query)
            return Reply(*search(self.repositories, query, self.api_url))
        match = re.fullmatch(
            r"/(?:repos/([^/]+/[^/]+)|repositories/(\d+))(?:/tarball(?:/(.*))?)?", request.path
        )
        if not match:
            return Reply(404, _message("Not Found"))
        name, number, ref = match.groups()
        repository = self._find(name, number)
        if isinstance(repository, Reply):
            suffix = request.path.partition(name or "")[2] if name else ""
            repository.headers["Location"] += suffix
            return repository
        if repository is None or repository.state == "gone":
            return Reply(404, {**_message("Not Found"), "status": "404"})
        if repository.state == "blocked":
            block = {"reason": "dmca", "created_at": "2026-01-01T00:00:00Z"}
            return Reply(451, {**_message("Repository access blocked"), "block": block})
        if repository.state == "empty":
            return Reply(409, _message("Git Repository is empty."))
        if "/tarball" in request.path:
            wanted = ref if ref and ref != "HEAD" else "refs/heads/main"
            location = f"{self.archive_url}/{repository.full_name}/legacy.tar.gz/{wanted}"
            return Reply(302, b"", {"Location": location})
        return Reply(200, rest_repository(repository, self.api_url))

    def _find(self, name: str | None, number: str | None) -> DoubleRepository | Reply | None:
        for one in self.repositories:
            if number and one.id == int(number):
                return one
            if name and one.full_name.lower() == name.lower():
                return one
            if name and name.lower() in (old.lower() for old in one.old_names):
                url = f"{self.api_url}/repositories/{one.id}"
                return Reply(301, {**_message("Moved Permanently"), "url": url}, {"Location": url})
        return None

    def _archive(self, request: Request) -> Reply:
        owner, name, _, ref = request.path[1:].split("/", 3)
        repository = self._find(f"{owner}/{name}", None)
        if not isinstance(repository, DoubleRepository):
            return Reply(404, b"404: Not Found")
        if not ref.startswith("refs/") and ref != repository.commit:
            return Reply(404, b"404: Not Found")
        etag = f'"{repository.commit}"'
        if request.headers.get("if-none-match") == etag:
            return Reply(304, b"", {"ETag": etag})
        tarball = repository.tarball
        headers = {"Content-Type": "application/x-gzip", "ETag": etag}
        if callable(tarball):
            stream = _paced(tarball())
            return Reply(200, b"", {**headers, "Transfer-Encoding": "chunked"}, stream)
        data = tarball.read_bytes() if isinstance(tarball, Path) else tarball
        return Reply(200, data, headers, served=repository)


async def _paced(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def _read_request(reader: asyncio.StreamReader, host: str) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    at = time.time()
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = first.split(" ")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    body = b""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    elif length := int(headers.get("content-length", "0")):
        body = await reader.readexactly(length)
    return Request(method, target, headers, body, host, at)


def _spell(reply: Reply) -> tuple[bytes, bytes]:
    headers = dict(reply.headers)
    body = reply.body
    if isinstance(body, dict):
        body = json.dumps(body).encode()
        headers["Content-Type"] = "application/json; charset=utf-8"
    if reply.stream is None:
        headers["Content-Length"] = str(len(body))
    if reply.cut:
        headers["Connection"] = "close"
    lines = [f"HTTP/1.1 {reply.status} X", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"), body


def _message(text: str) -> dict[str, Any]:
    return {"message": text, "documentation_url": DOCUMENTATION}
