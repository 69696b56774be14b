"""Windows over a search: nothing missed, few requests, and a plan that can be gone on with."""

import asyncio
import bisect
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.artifacts.opt_out import OptOut
from components.artifacts.storage import open_storage
from components.crawl import discovery
from components.crawl.discovery import discover, read_whole, read_window
from components.crawl.harvest import Rules
from components.crawl.search import qualifiers
from components.crawl.selection import GithubConfig
from components.crawl.windows import MAX_RESULTS, MAX_STARS, Window, find_windows

DAY_S = 86_400


class Simulation:
    """Creation times and stars; answers counts, and counts requests of 100 results."""

    def __init__(self, times: list[int], stars: list[int] | None = None) -> None:
        order = sorted(range(len(times)), key=times.__getitem__)
        self.times = [times[i] for i in order]
        self.stars = [stars[i] for i in order] if stars else [0] * len(times)
        self.requests = 0
        self.seen: list[int] = []

    async def ask(self, window: Window) -> tuple[int, list[int]]:
        low = bisect.bisect_left(self.times, window.start_s)
        high = bisect.bisect_left(self.times, window.stop_s)
        found: Any = range(low, high)
        if window.max_stars < MAX_STARS or window.min_stars:
            found = [i for i in found if window.min_stars <= self.stars[i] <= window.max_stars]
        self.requests += 1
        return len(found), found

    def cover(self, whole: Window) -> list[Window]:
        windows = []

        async def run() -> None:
            async for found in find_windows(whole, self.ask):
                windows.append(found.window)
                self.requests += max(1, math.ceil(min(found.total, MAX_RESULTS) / 100)) - 1
                self.seen += list(found.page)[:MAX_RESULTS]

        asyncio.run(run())
        return windows


def years_of_repositories(number: int, days: int, seed: int) -> list[int]:
    """Creation times that grow 25-fold over the years, fewer at weekends and at night."""
    draw = random.Random(seed)
    weights = [math.exp(3.2 * day / days) * (0.6 if day % 7 > 4 else 1) for day in range(days)]
    total = sum(weights)
    return [
        day * DAY_S + min(DAY_S - 1, int(draw.random() ** 0.7 * DAY_S))
        for day in range(days)
        for _ in range(int(weights[day] / total * number))
    ]


@pytest.mark.slow
def test_of_a_million_repositories_none_is_missed_for_few_requests() -> None:
    times = years_of_repositories(1_200_000, 365 * 15, 1)
    simulated = Simulation(times)
    windows = simulated.cover(Window(0, 365 * 15 * DAY_S, 0, MAX_STARS))
    assert simulated.seen == list(range(len(times)))
    assert [one.stop_s for one in windows[:-1]] == [one.start_s for one in windows[1:]]
    assert simulated.requests <= 1.15 * len(times) / 100


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 4000))
def test_bursts_are_read_whole(seed: int, bursts: int, size: int) -> None:
    draw = random.Random(seed)
    times = [draw.randrange(DAY_S * 400) for _ in range(300)]
    for _ in range(bursts):
        at = draw.randrange(DAY_S * 400)
        times += [min(at + draw.randrange(20), DAY_S * 400 - 1) for _ in range(size)]
    stars = [min(int(draw.expovariate(0.01)), 10**6) for _ in times]
    simulated = Simulation(times, stars)
    simulated.cover(Window(0, DAY_S * 400, 0, MAX_STARS))
    assert sorted(simulated.seen) == list(range(len(times)))


def test_a_second_with_too_many_repositories_is_split_by_stars() -> None:
    draw = random.Random(3)
    times, stars = [500] * 5000, [int(draw.expovariate(0.001)) for _ in range(5000)]
    simulated = Simulation(times, stars)
    windows = simulated.cover(Window(0, 1000, 0, MAX_STARS))
    assert sorted(simulated.seen) == list(range(5000))
    assert sum(one.max_stars < MAX_STARS for one in windows) >= 5


def rules() -> Rules:
    return Rules(
        languages=frozenset({"Python"}),
        max_file_bytes=1000,
        licenses=(),
        opt_out=OptOut.read(["unwanted"]),
    )


class FakeTransport:
    """Answers GraphQL searches over a simulation; may be told to break after some requests."""

    def __init__(self, simulated: Simulation, break_after: int = 1 << 60) -> None:
        self.simulated, self.left, self.requests = simulated, break_after, 0

    async def ask(self, ask: Any, read: Callable[[Any], Any]) -> Any:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.requests += 1
        variables = ask.json["variables"]
        span = variables["query"].partition("created:")[2].partition(" ")[0].split("..")
        low, high = (int(discovery.unix_s(one)) for one in span)
        _, found = await self.simulated.ask(Window(low, high + 1, 0, MAX_STARS))
        at = int(variables["after"] or 0)
        nodes = [self._node(i) for i in found[at : at + 100]]
        end = at + len(nodes)
        answer = {
            "data": {
                "search": {
                    "repositoryCount": len(found),
                    "pageInfo": {"hasNextPage": end < len(found), "endCursor": str(end)},
                    "nodes": nodes,
                }
            }
        }

        class Response:
            async def aread(self) -> bytes:
                return json.dumps(answer).encode()

        return await read(Response())

    def _node(self, index: int) -> dict[str, Any]:
        owner = "unwanted" if index % 10 == 0 else "owner"
        return {
            "databaseId": index,
            "nameWithOwner": f"{owner}/r{index}",
            "createdAt": "2020-01-01T00:00:00Z",
            "pushedAt": "2020-01-01T00:00:00Z",
            "stargazerCount": 1,
            "diskUsage": 5_000_000 if index % 10 == 1 else 5,
            "isFork": False,
            "isArchived": False,
            "isDisabled": False,
            "isEmpty": False,
            "primaryLanguage": None,
            "licenseInfo": None if index % 10 == 2 else {"spdxId": "MIT"},
            "defaultBranchRef": {"name": "main", "target": {"oid": "a" * 40}},
        }


CONFIG = GithubConfig(
    as_of="2010-01-01", created_from="2009-01-01", repository_licenses=("permissive",)
)
START = 1_230_768_000


def simulated_year() -> Simulation:
    return Simulation([START + one % (365 * DAY_S) for one in range(0, 40_000_000, 9_973)])


def discovered(path: Path, transport: FakeTransport) -> dict[str, Any]:
    plan = open_storage(str(path))
    return asyncio.run(discover(transport, CONFIG, rules(), plan))  # type: ignore[arg-type]


def test_a_discovery_that_was_killed_goes_on_behind_its_last_window(tmp_path: Path) -> None:
    whole = discovered(tmp_path / "whole", FakeTransport(simulated_year()))
    broken = 0
    for _ in range(20):
        try:
            again = discovered(tmp_path / "killed", FakeTransport(simulated_year(), 15))
            break
        except KeyboardInterrupt:
            broken += 1
    assert broken >= 2
    assert {**again, "requests": 0} == {**whole, "requests": 0}
    names = sorted(one.name for one in (tmp_path / "whole").iterdir())
    for name in names[:-1]:
        read = [(tmp_path / folder / name).read_bytes() for folder in ("whole", "killed")]
        assert read[0] == read[1]


def test_a_plan_says_why_a_repository_is_not_fetched(tmp_path: Path) -> None:
    discovered(tmp_path, FakeTransport(simulated_year()))
    refs = read_window(open_storage(str(tmp_path)), 0).refs
    by_digit = {int(ref.repo_id.rpartition(":")[2]) % 10: ref.problem for ref in refs}
    assert by_digit == {
        0: "opted_out",
        1: "repository_too_large",
        2: "license",
        **dict.fromkeys(range(3, 10), ""),
    }
    whole = read_whole(open_storage(str(tmp_path)))
    assert whole is not None
    assert whole["missed"] == 0
    assert whole["repositories"] == len(simulated_year().times)


def test_qualifiers_are_those_of_the_search() -> None:
    config = GithubConfig(
        as_of="2026-11-24",
        language="Jupyter Notebook",
        min_stars=11,
        archived=False,
        pushed_from="2024-01-01",
        repository_licenses=("MIT",),
    )
    window = Window(0, 86_400, 11, MAX_STARS)
    assert qualifiers(config, window) == (
        "created:1970-01-01T00:00:00Z..1970-01-01T23:59:59Z stars:>=11 pushed:>=2024-01-01 "
        'language:"Jupyter Notebook" fork:false archived:false license:mit is:public'
    )
