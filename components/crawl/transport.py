"""The crawl's HTTP: one asynchronous client that keeps to every limit it is told.

No client library that was tried passes the fault table of `tests/test_crawl_transport.py`; this
one is thin, on httpx2. A request is admitted when it has a slot, its place in the pace, and
neither a pause nor an empty budget against it; its answer is judged by `answers.py`.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import httpx2

from components.artifacts.errors import CodekilnError, ConfigError
from components.crawl.answers import Action, Verdict, judge
from components.crawl.budgets import Backoff, Budget, Pace, Pauses
from components.crawl.config import CrawlConfig
from components.crawl.tokens import Token

Taken = TypeVar("Taken")

MAX_HOPS = 5
MAX_ERROR_BYTES = 4096
SMALL_WAIT_S = 0.001
IDLE_S = 60.0
"""Seconds without a byte after which a connection counts as dead."""


class FetchFailedError(CodekilnError):
    """A request that was given up; `reason` is the class of the dead letter."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class TryAgainError(Exception):
    """Raised by a reader: the answer arrived and is no good, such as a cut body."""

    def __init__(self, reason: str, limited: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.limited = limited
        """Whether the body tells of a limit, as GraphQL's do under status 200."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """One request."""

    url: str
    resource: str
    """The budget that it is taken from: core, search or graphql."""

    method: str = "GET"
    json: Any = None
    onward_headers: Mapping[str, str] = field(default_factory=dict)
    """Sent to a host that the API leads to, not to the API."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How a transport behaves; the limits are those of this process."""

    api_url: str
    user_agent: str
    requests_per_second: float
    concurrency: int
    share: float
    """The part of every budget that this process may use."""

    max_attempts: int
    secondary_wait_s: float
    timeout_s: float
    api_version: str

    @classmethod
    def of(cls, config: CrawlConfig, user_agent: str, num_sharing: int) -> "Settings":
        """The settings of one of `num_sharing` processes that share a crawl's limits."""
        return cls(
            api_url=config.github.api_url.rstrip("/"),
            user_agent=user_agent,
            requests_per_second=config.max_requests_per_second / num_sharing,
            concurrency=max(1, config.max_concurrency // num_sharing),
            share=1.0 / num_sharing,
            max_attempts=config.max_attempts,
            secondary_wait_s=config.secondary_wait_s,
            timeout_s=config.timeout_s,
            api_version=config.github.api_version,
        )


class Slots:
    """Requests at once: up to a limit that halves when asked to slow down and grows back."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._active = 0
        self._freed = asyncio.Condition()

    async def __aenter__(self) -> None:
        async with self._freed:
            await self._freed.wait_for(lambda: self._active < int(self._limit))
            self._active += 1

    async def __aexit__(self, *_error: object) -> None:
        async with self._freed:
            self._active -= 1
            self._freed.notify_all()

    def shrink(self) -> None:
        """After a limit: half as many."""
        self._limit = max(1.0, self._limit / 2)

    def grow(self) -> None:
        """After an answer: one more for every round of answers."""
        self._limit = min(float(self._most), self._limit + 1.0 / self._limit)


class Allowance:
    """What a process has used of its limits: it outlives the transports that use it."""

    def __init__(self, settings: Settings) -> None:
        self.pace = Pace(settings.requests_per_second)
        self._share = settings.share
        self._budgets: dict[tuple[str, str], Budget] = {}

    def budget(self, token: Token, resource: str) -> Budget:
        """What a token has left of a resource."""
        key = (token.name, resource)
        if key not in self._budgets:
            self._budgets[key] = Budget(self._share)
        return self._budgets[key]


class Transport:
    """An asynchronous context manager; belongs to one event loop."""

    def __init__(
        self,
        settings: Settings,
        tokens: tuple[Token, ...],
        pauses: Pauses,
        allowance: Allowance | None = None,
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._pauses = pauses
        self._allowance = allowance or Allowance(settings)
        self._slots = Slots(settings.concurrency)
        self._api_host = urlsplit(settings.api_url).netloc
        self._client = httpx2.AsyncClient(
            headers={"User-Agent": settings.user_agent, "Accept-Encoding": "identity"},
            timeout=httpx2.Timeout(min(IDLE_S, settings.timeout_s)),
            limits=httpx2.Limits(max_connections=settings.concurrency),
        )
        self.requests = 0
        """Requests that were sent."""

    async def __aenter__(self) -> "Transport":
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._client.aclose()

    async def ask(self, ask: Ask, read: Callable[[httpx2.Response], Awaitable[Taken]]) -> Taken:
        """Send a request until its answer is taken, and give what `read` makes of it.

        Args:
            ask: what to send.
            read: takes the open answer, of status 200 to 299 or 304, and reads its body; called
                anew for every attempt. It raises TryAgainError where the body is no good.

        Raises:
            FetchFailedError: the answer is final, or the attempts are used up.
            ConfigError: the token is refused.
        """
        settings = self._settings
        backoff = Backoff(settings.secondary_wait_s, random.Random(ask.url))
        url, hops, reason = ask.url, 0, "network"
        attempt = 0
        while attempt < settings.max_attempts:
            async with self._slots:
                token = await self._admit(url, ask.resource)
                try:
                    async with asyncio.timeout(settings.timeout_s):
                        verdict, taken, onward = await self._send(ask, url, token, read)
                except TryAgainError as again:
                    action: Action = "wait" if again.limited else "retry"
                    verdict = Verdict(action, whole_token=again.limited, reason=again.reason)
                except TimeoutError:
                    verdict = Verdict("retry", reason="timeout")
                except httpx2.TransportError as error:
                    verdict = Verdict("retry", reason=_class_of(error))
                else:
                    if verdict.action == "take":
                        self._slots.grow()
                        assert taken is not None
                        return taken[0]
                    if verdict.action == "follow":
                        url, hops = onward, hops + 1
                        if hops > MAX_HOPS:
                            raise _failed("bad_redirect", ask.url)
                        continue
                if verdict.action == "give_up":
                    raise self._refusal(verdict.reason, ask.url, token)
                reason = verdict.reason
                pause_s = self._note_pause(verdict, url, ask.resource, token, backoff)
            attempt += 1
            await asyncio.sleep(pause_s)
        raise _failed(reason, ask.url)

    @contextlib.asynccontextmanager
    async def place(self, url: str) -> AsyncIterator[None]:
        """A slot and a place in the pace, for a transfer that is not ours to send: git's."""
        async with self._slots:
            await asyncio.sleep(self._allowance.pace.reserve())
            while (wait_s := self._pauses.until(_host_name(url)) - time.time()) > 0:
                await asyncio.sleep(wait_s)
            yield

    @property
    def user_agent(self) -> str:
        """Who asks, and whom to write to."""
        return self._settings.user_agent

    async def _send(
        self,
        ask: Ask,
        url: str,
        token: Token,
        read: Callable[[httpx2.Response], Awaitable[Taken]],
    ) -> tuple[Verdict, tuple[Taken] | None, str]:
        """Send once: the verdict, what was read where it was taken, and where it leads."""
        request = self._client.build_request(
            ask.method, url, json=ask.json, headers=self._headers(ask, url, token)
        )
        response = await self._client.send(request, stream=True)
        try:
            if self._is_api(url):
                self._learn(response.headers, ask.resource, token)
            body = "" if response.is_success else await _read_error(response)
            verdict = judge(response.status_code, response.headers, body, time.time())
            if verdict.action == "take":
                return verdict, (await read(response),), url
            return verdict, None, urljoin(url, response.headers.get("location", ""))
        finally:
            await response.aclose()

    def _headers(self, ask: Ask, url: str, token: Token) -> dict[str, str]:
        """The headers of a request; only the API's own host is shown the token."""
        if not self._is_api(url):
            return dict(ask.onward_headers)
        headers = {
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": self._settings.api_version,
        }
        if authorization := token.authorization():
            headers["Authorization"] = authorization
        return headers

    def _is_api(self, url: str) -> bool:
        return urlsplit(url).netloc == self._api_host

    async def _admit(self, url: str, resource: str) -> Token:
        """Wait until a request may be sent, count it, and name its token.

        The place in the pace is taken behind a pause, so that no burst follows one.
        """
        paced = False
        while True:
            now = time.time()
            ready, token = self._choose(url, resource, now)
            if ready > now:
                paced = False
                await asyncio.sleep(max(SMALL_WAIT_S, ready - now))
            elif paced:
                break
            else:
                await asyncio.sleep(self._allowance.pace.reserve())
                paced = True
        if self._is_api(url):
            self._allowance.budget(token, resource).spend(now)
        self.requests += 1
        return token

    def _choose(self, url: str, resource: str, now: float) -> tuple[float, Token]:
        """The token that may be used first, and from when; of several the one with most left."""
        if not self._is_api(url):
            return self._pauses.until(_host_name(url)), self._tokens[0]
        return min(
            ((self._ready_at(one, resource, now), one) for one in self._tokens),
            key=lambda pair: (pair[0], -self._allowance.budget(pair[1], resource).remaining),
        )

    def _ready_at(self, token: Token, resource: str, now: float) -> float:
        ready = max(
            self._allowance.budget(token, resource).ready_at(now),
            self._pauses.until(token.name),
            self._pauses.until(f"{token.name}-{resource}"),
        )
        return ready if ready > now else 0.0

    def _learn(self, headers: httpx2.Headers, resource: str, token: Token) -> None:
        budget = self._allowance.budget(token, headers.get("x-ratelimit-resource", resource))
        budget.read(headers)
        if budget.remaining <= 0:
            self._pauses.pause(f"{token.name}-{resource}", budget.reset_s)

    def _note_pause(
        self, verdict: Verdict, url: str, resource: str, token: Token, backoff: Backoff
    ) -> float:
        """Write a limit down for everyone it holds for; seconds that this request waits itself."""
        if verdict.action == "retry":
            return backoff.after_fault()
        self._slots.shrink()
        until_s = verdict.until_s or time.time() + backoff.after_limit()
        if not self._is_api(url):
            name = _host_name(url)
        elif verdict.whole_token:
            name = token.name
        else:
            name = f"{token.name}-{resource}"
        self._pauses.pause(name, until_s)
        return 0.0

    def _refusal(self, reason: str, url: str, token: Token) -> CodekilnError:
        if reason == "unauthorized":
            return ConfigError(
                f"expected a valid token, got one that {self._api_host} refuses ({token.name}): "
                "renew it, or take it away to go on without"
            )
        return _failed(reason, url)


async def _read_error(response: httpx2.Response) -> str:
    """The beginning of a body that is not taken."""
    text = b""
    async for chunk in response.aiter_raw():
        text += chunk
        if len(text) >= MAX_ERROR_BYTES:
            break
    return text.decode(errors="replace")


def _class_of(error: httpx2.TransportError) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return "timeout"
    return "truncated" if isinstance(error, httpx2.RemoteProtocolError) else "network"


def _host_name(url: str) -> str:
    """The name under which a pause of another host is kept."""
    return "host-" + urlsplit(url).netloc.replace(":", "-")


def _failed(reason: str, url: str) -> FetchFailedError:
    path = urlsplit(url).path
    return FetchFailedError(reason, f"expected an answer of {path}, got {reason}")
