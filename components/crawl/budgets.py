"""When a request may be sent: budgets by token and resource, pauses, pace.

GitHub counts every resource (core, search, graphql) of every token by itself and says in headers
what is left (docs.github.com, "Rate limits for the REST API"). A limit that was answered is a
pause: it is kept in a file, so that a crawl that was killed, and the other indexes of one plan,
keep to it as well.
"""

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from components.artifacts.storage import Storage

READ_AGAIN_S = 0.1
"""How old what was read of the others' pauses may be."""

UNLIMITED = 1 << 60

Clock = Callable[[], float]


@dataclass
class Budget:
    """What one token has left of one resource, as the headers of its answers say."""

    share: float
    """The part of the limit that this process may use, 1/N of N that share a token."""

    limit: int = UNLIMITED
    remaining: int = UNLIMITED
    reset_s: float = 0.0
    """Unix time at which the count begins again."""

    used: int = 0
    """Requests of this process since then."""

    def ready_at(self, now: float) -> float:
        """Unix time from which a request may be sent."""
        if now >= self.reset_s:
            return 0.0
        mine = max(1, int(self.limit * self.share))
        return self.reset_s if self.remaining <= 0 or self.used >= mine else 0.0

    def spend(self, now: float) -> None:
        """Count a request that is sent now."""
        if now >= self.reset_s:
            self.used, self.remaining = 0, UNLIMITED
        self.used += 1
        self.remaining -= 1

    def read(self, headers: Mapping[str, str]) -> None:
        """Learn from an answer; of several that were under way the lowest count holds."""
        try:
            limit = int(headers["x-ratelimit-limit"])
            remaining = int(headers["x-ratelimit-remaining"])
            reset_s = float(headers["x-ratelimit-reset"])
        except (KeyError, ValueError):
            return
        if reset_s < self.reset_s:
            return  # an answer of the hour before
        self.remaining = remaining if reset_s > self.reset_s else min(self.remaining, remaining)
        self.limit, self.reset_s = limit, reset_s


class Pauses:
    """Until when nothing may be asked, by name; shared through a folder where one is given."""

    def __init__(self, storage: Storage | None, clock: Clock = time.time) -> None:
        self._storage = storage
        self._clock = clock
        self._until: dict[str, float] = {}
        self._read_at: dict[str, float] = {}

    def until(self, name: str) -> float:
        """Unix time at which a pause ends; 0 where there is none."""
        now = self._clock()
        if self._storage and now - self._read_at.get(name, 0.0) >= READ_AGAIN_S:
            self._read_at[name] = now
            if self._storage.exists(f"{name}.json"):
                held = json.loads(self._storage.read(f"{name}.json"))
                self._until[name] = max(self._until.get(name, 0.0), held["until_unix_s"])
        return self._until.get(name, 0.0)

    def pause(self, name: str, until_s: float) -> None:
        """Ask nothing under a name until then; a longer pause stays as it is."""
        if until_s <= self.until(name):
            return
        self._until[name] = until_s
        if self._storage:
            self._storage.replace(f"{name}.json", json.dumps({"until_unix_s": until_s}).encode())


class Pace:
    """At most so many requests a second, evenly; no burst follows a pause."""

    def __init__(self, requests_per_second: float, clock: Clock = time.monotonic) -> None:
        self._interval_s = 1.0 / requests_per_second
        self._clock = clock
        self._next_s = 0.0

    def reserve(self) -> float:
        """Take the next place; seconds until it comes."""
        now = self._clock()
        mine = max(now, self._next_s)
        self._next_s = mine + self._interval_s
        return mine - now


@dataclass
class Backoff:
    """Waits between attempts at one thing: full jitter after a fault, doubling after a limit."""

    secondary_wait_s: float
    """The first wait after a limit that names no time."""

    jitter: random.Random = field(default_factory=random.Random)
    base_s: float = 0.5
    cap_s: float = 60.0
    faults: int = 0
    limits: int = 0

    def after_fault(self) -> float:
        """Seconds to wait after a server's or a line's fault."""
        self.faults += 1
        longest: float = min(self.cap_s, self.base_s * 2.0 ** (self.faults - 1))
        return self.jitter.uniform(0.0, longest)

    def after_limit(self) -> float:
        """Seconds to wait after a limit that names no time."""
        self.limits += 1
        return float(self.secondary_wait_s * 2.0 ** (self.limits - 1))
