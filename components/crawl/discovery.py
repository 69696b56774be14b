"""Discovery of GitHub's repositories: windows, their pages, and the plan that is left of them.

    plan/00012.json     window 12: its span and stars, what is in it, where to go on
    plan/whole.json     written last: how many windows there are, and under which rules

Each file is published create-only, so a killed discovery goes on behind its last window.
"""

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx2

from components.artifacts.canonical import digest_of
from components.artifacts.licenses import is_allowed
from components.artifacts.storage import Storage
from components.crawl.harvest import LICENSE, OPTED_OUT, Rules
from components.crawl.search import SearchPage, qualifiers, read_search, search_ask
from components.crawl.selection import ANY_LICENSE, GithubConfig, unix_s
from components.crawl.source import UNKNOWN, RepositoryRef
from components.crawl.transport import Transport, TryAgainError
from components.crawl.windows import (
    FIRST_SPAN_S,
    MAX_RESULTS,
    MAX_STARS,
    Found,
    Window,
    find_windows,
)

WHOLE = "whole.json"
COUNT_AGAIN = 3
"""How often a window is read again whose pages held fewer repositories than its count: they were
moved between pages while these were read."""

TOO_LARGE = "repository_too_large"

logger = logging.getLogger("codekiln")

AskWindow = Callable[[str, str], Awaitable[SearchPage]]
"""Query and cursor to a page."""


@dataclass(frozen=True, slots=True)
class PlannedWindow:
    """A window and what is in it."""

    window: Window
    total: int
    refs: tuple[RepositoryRef, ...]
    next_span_s: int

    def to_bytes(self) -> bytes:
        """Spell it for the plan."""
        window = self.window
        value = {
            "window": [window.start_s, window.stop_s, window.min_stars, window.max_stars],
            "total": self.total,
            "next_span_s": self.next_span_s,
            "refs": [ref.to_json() for ref in self.refs],
        }
        return (json.dumps(value, sort_keys=True) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "PlannedWindow":
        """Read what `to_bytes` wrote."""
        value = json.loads(data)
        refs = tuple(RepositoryRef.from_json(one) for one in value["refs"])
        return cls(Window(*value["window"]), value["total"], refs, value["next_span_s"])


def read_window(plan: Storage, index: int) -> PlannedWindow:
    """A window of a plan."""
    return PlannedWindow.from_bytes(plan.read(_window_name(index)))


def read_whole(plan: Storage) -> dict[str, Any] | None:
    """What a finished discovery says of itself: windows, repositories, requests, missed."""
    if not plan.exists(WHOLE):
        return None
    value: dict[str, Any] = json.loads(plan.read(WHOLE))
    return value


async def discover(
    transport: Transport, config: GithubConfig, rules: Rules, plan: Storage
) -> dict[str, Any]:
    """Find all windows, or the rest of them.

    Args:
        transport: to ask through.
        config: the search.
        rules: whom to leave out.
        plan: where windows are published.

    Returns:
        What `read_whole` reads.
    """

    async def ask(query: str, cursor: str) -> SearchPage:
        return await _ask(transport, config, query, cursor)

    windows = _resume(plan)
    whole, span_s = _remaining(config, windows)
    held = sum(len(one.refs) for one in windows)
    cap = config.max_repositories
    if not cap or held < cap:
        async for planned in _plan(config, rules, whole, span_s, ask):
            if cap:
                planned = replace(planned, refs=planned.refs[: cap - held])
            plan.create(_window_name(len(windows)), planned.to_bytes())
            windows.append(planned)
            held += len(planned.refs)
            logger.info("discovered %d repositories in %d windows", held, len(windows))
            if cap and held >= cap:
                break
    value = _whole(windows, transport.requests, config, rules)
    plan.create(WHOLE, (json.dumps(value, sort_keys=True) + "\n").encode())
    return read_whole(plan) or value


def rules_digest(config: GithubConfig, rules: Rules) -> str:
    """What decides the rows of a commit, the list of opt-outs apart."""
    return digest_of(
        {
            "languages": sorted(rules.languages),
            "max_file_bytes": rules.max_file_bytes,
            "licenses": [*rules.licenses],
            "clone_from_mb": config.clone_from_mb,
            "export_attributes": config.export_attributes,
            "api_url": config.api_url,
        }
    )


async def _plan(
    config: GithubConfig, rules: Rules, whole: Window, span_s: int, ask: AskWindow
) -> AsyncIterator[PlannedWindow]:
    async def count(window: Window) -> tuple[int, SearchPage]:
        page = await ask(qualifiers(config, window), "")
        return page.total, page

    async for found in find_windows(whole, count, span_s):
        refs = await _read_all(config, found, ask)
        marked = tuple(mark(ref, config, rules) for ref in refs)
        yield PlannedWindow(found.window, found.total, marked, found.next_span_s)


def mark(ref: RepositoryRef, config: GithubConfig, rules: Rules) -> RepositoryRef:
    """Write down why a repository is not to be fetched, where the search says so already."""
    problem = ref.problem
    wanted = config.repository_licenses
    if rules.opt_out.of_repository(ref.repo_id, ref.repo):
        problem = OPTED_OUT
    elif not problem and wanted and not _is_wanted(ref.license, wanted):
        problem = LICENSE
    elif not problem and ref.size_kb * 1024 > config.max_repository_mb * 1_000_000:
        problem = TOO_LARGE
    return replace(ref, problem=problem)


def _is_wanted(license_name: str, wanted: Sequence[str]) -> bool:
    if ANY_LICENSE in wanted:
        return license_name != UNKNOWN
    return is_allowed(license_name, wanted)


async def _read_all(
    config: GithubConfig, found: Found[SearchPage], ask: AskWindow
) -> Sequence[RepositoryRef]:
    """All pages of a window, in the order of ids; read again while some are missing."""
    query = qualifiers(config, found.window)
    refs: dict[str, RepositoryRef] = {}
    page = found.page
    for attempt in range(COUNT_AGAIN):
        if attempt:
            page = await ask(query, "")
        refs.update((ref.repo_id, ref) for ref in page.refs)
        while page.cursor:
            page = await ask(query, page.cursor)
            refs.update((ref.repo_id, ref) for ref in page.refs)
        if len(refs) >= min(found.total, MAX_RESULTS):
            break
    return [refs[repo_id] for repo_id in sorted(refs)]


async def _ask(transport: Transport, config: GithubConfig, query: str, cursor: str) -> SearchPage:
    async def read(response: httpx2.Response) -> SearchPage:
        body = await response.aread()
        try:
            answer = json.loads(body)
        except ValueError:
            raise TryAgainError("truncated") from None
        return read_search(config, answer, cursor)

    return await transport.ask(search_ask(config, query, cursor), read)


def _resume(plan: Storage) -> list[PlannedWindow]:
    """The windows of a discovery that was killed; bands of a second that is not whole go."""
    held = plan.names()
    windows: list[PlannedWindow] = []
    while _window_name(len(windows)) in held:
        windows.append(read_window(plan, len(windows)))
    while windows and windows[-1].window.max_stars < MAX_STARS:
        plan.remove(_window_name(len(windows) - 1))
        windows.pop()
    return windows


def _remaining(config: GithubConfig, windows: Sequence[PlannedWindow]) -> tuple[Window, int]:
    """What is still to be covered, and the span to begin with."""
    start = windows[-1].window.stop_s if windows else unix_s(config.created_from)
    span_s = windows[-1].next_span_s if windows else FIRST_SPAN_S
    # The search's own bound on stars is a qualifier; a band below MAX_STARS is a split second.
    return Window(start, unix_s(config.as_of), config.min_stars, MAX_STARS), span_s


def _whole(
    windows: Sequence[PlannedWindow], requests: int, config: GithubConfig, rules: Rules
) -> dict[str, Any]:
    short = [max(0, one.total - len(one.refs)) for one in windows]
    return {
        "windows": [[one.window.start_s, one.window.stop_s] for one in windows],
        "repositories": sum(len(one.refs) for one in windows),
        "kilobytes": sum(ref.size_kb for one in windows for ref in one.refs if not ref.problem),
        "to_fetch": sum(not ref.problem for one in windows for ref in one.refs),
        "missed": 0 if config.max_repositories else sum(short),
        "requests": requests,
        "rules": rules_digest(config, rules),
        "opt_out": [*rules.opt_out.entries],
    }


def _window_name(index: int) -> str:
    return f"{index:05d}.json"
