"""GitHub's search in both of its forms: how a window is asked for, and what an answer holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from components.artifacts.licenses import PERMISSIVE_NAME
from components.crawl.selection import ANY_LICENSE, GithubConfig
from components.crawl.source import UNKNOWN, RepositoryRef
from components.crawl.transport import Ask, TryAgainError
from components.crawl.windows import MAX_STARS, Window

WORDS = (PERMISSIVE_NAME, ANY_LICENSE)
"""Entries of `repository_licenses` that are no SPDX identifier."""

PAGE_SIZE = 100
"""The most that either form gives at once."""

REPOSITORY_FIELDS = """
        databaseId nameWithOwner createdAt pushedAt stargazerCount diskUsage
        isFork isArchived isDisabled isEmpty
        primaryLanguage { name }
        licenseInfo { spdxId }
        defaultBranchRef { name target { oid } }
"""

GRAPHQL_QUERY = f"""
query Repositories($query: String!, $first: Int!, $after: String) {{
  search(query: $query, type: REPOSITORY, first: $first, after: $after) {{
    repositoryCount
    pageInfo {{ hasNextPage endCursor }}
    nodes {{
      ... on Repository {{{REPOSITORY_FIELDS}      }}
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class SearchPage:
    """One page of results."""

    total: int
    refs: tuple[RepositoryRef, ...]
    cursor: str
    """What to ask for next: a GraphQL cursor or a page's number; empty at the end."""


def qualifiers(config: GithubConfig, window: Window) -> str:
    """A window as the text of a search. Both ends of a range are included, in whole seconds."""
    parts = [f"created:{_iso(window.start_s)}..{_iso(window.stop_s - 1)}"]
    if window.max_stars < MAX_STARS:
        parts.append(f"stars:{window.min_stars}..{window.max_stars}")
    elif window.min_stars:
        parts.append(f"stars:>={window.min_stars}")
    if config.pushed_from:
        parts.append(f"pushed:>={config.pushed_from}")
    if config.language:
        name = config.language
        parts.append(f'language:"{name}"' if " " in name else f"language:{name}")
    parts.append(f"fork:{'true' if config.forks else 'false'}")
    if not config.archived:
        parts.append("archived:false")
    if len(config.repository_licenses) == 1 and config.repository_licenses[0] not in WORDS:
        parts.append(f"license:{config.repository_licenses[0].lower()}")
    return " ".join([*parts, "is:public"])


def search_ask(config: GithubConfig, query: str, cursor: str) -> Ask:
    """The request for a page of a query; the cursor is empty for the first."""
    api_url = config.api_url.rstrip("/")
    if config.discovery == "graphql":
        variables = {"query": query, "first": PAGE_SIZE, "after": cursor or None}
        return Ask(
            url=f"{api_url}/graphql",
            resource="graphql",
            method="POST",
            json={"query": GRAPHQL_QUERY, "variables": variables},
        )
    parameters = {"q": query, "per_page": PAGE_SIZE, "page": cursor or "1"}
    return Ask(url=f"{api_url}/search/repositories?{urlencode(parameters)}", resource="search")


def read_search(config: GithubConfig, answer: Any, cursor: str) -> SearchPage:
    """The page that an answer holds.

    Raises:
        TryAgainError: the search timed out or hit a limit inside an answer of status 200, or the
            answer is none.
    """
    try:
        if config.discovery == "graphql":
            return _read_graphql(answer)
        return _read_rest(answer, int(cursor or "1"))
    except (KeyError, TypeError, AttributeError, ValueError):
        raise TryAgainError("unexpected_answer") from None


def _read_graphql(answer: Mapping[str, Any]) -> SearchPage:
    for error in answer.get("errors") or ():
        words = f"{error.get('type')} {error.get('message')}".casefold().replace("_", " ")
        limited = "rate limit" in words
        raise TryAgainError("rate_limited" if limited else "search_failed", limited)
    found = answer["data"]["search"]
    refs = tuple(ref_of_graphql(node) for node in found["nodes"] if node)
    info = found["pageInfo"]
    cursor = info["endCursor"] if info["hasNextPage"] else ""
    return SearchPage(found["repositoryCount"], refs, cursor or "")


def _read_rest(answer: Mapping[str, Any], page: int) -> SearchPage:
    if answer["incomplete_results"]:
        raise TryAgainError("search_timed_out")
    refs = tuple(ref_of_rest(item) for item in answer["items"])
    last = page * PAGE_SIZE >= min(answer["total_count"], 1000)
    return SearchPage(answer["total_count"], refs, "" if last else str(page + 1))


def ref_of_graphql(node: Mapping[str, Any]) -> RepositoryRef:
    """A repository of a GraphQL answer."""
    branch = node["defaultBranchRef"] or {}
    return RepositoryRef(
        source="github",
        repo_id=f"github:{int(node['databaseId'])}",
        repo=node["nameWithOwner"],
        commit=(branch.get("target") or {}).get("oid", ""),
        license=_spdx((node["licenseInfo"] or {}).get("spdxId")),
        stars=int(node["stargazerCount"]),
        size_kb=int(node["diskUsage"] or 0),
        created_at=node["createdAt"],
        pushed_at=node["pushedAt"] or "",
        fork=bool(node["isFork"]),
        archived=bool(node["isArchived"]),
        problem=_problem(bool(node["isDisabled"]), bool(node["isEmpty"])),
    )


def ref_of_rest(item: Mapping[str, Any]) -> RepositoryRef:
    """A repository of a REST answer, which names no commit."""
    return RepositoryRef(
        source="github",
        repo_id=f"github:{int(item['id'])}",
        repo=item["full_name"],
        commit="",
        license=_spdx((item.get("license") or {}).get("spdx_id")),
        stars=int(item["stargazers_count"]),
        size_kb=int(item["size"]),
        created_at=item["created_at"],
        pushed_at=item.get("pushed_at") or "",
        fork=bool(item["fork"]),
        archived=bool(item.get("archived")),
        problem=_problem(bool(item.get("disabled")), False),
    )


def _problem(disabled: bool, empty: bool) -> str:
    return "blocked" if disabled else "empty_repository" if empty else ""


def _spdx(name: str | None) -> str:
    """`unknown` where GitHub found no licence, NOASSERTION where it did not recognise it."""
    return str(name) if name else UNKNOWN


def _iso(unix: int) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
