"""The double's words: a repository as REST and as GraphQL spell it, and the search over them."""

import operator
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.github_double import DoubleRepository

MAX_RESULTS = 1000

_LINKS = """
    archive assignees blobs branches collaborators comments commits compare contents contributors
    deployments downloads events forks git_commits git_refs git_tags hooks issue_comment
    issue_events issues keys labels languages merges milestones notifications pulls releases
    stargazers statuses subscribers subscription tags teams trees
"""
_OWNER_LINKS = """
    followers following gists organizations received_events repos starred subscriptions events
"""
_QUALIFIERS = "created pushed stars language fork archived license is"


def rest_repository(one: "DoubleRepository", api_url: str) -> dict[str, Any]:
    """A repository as REST gives it, every required field of the published schema filled."""
    owner, name = one.full_name.split("/")
    url = f"{api_url}/repos/{one.full_name}"
    html = f"https://github.com/{one.full_name}"
    license_info = None
    if one.license:
        known = one.license != "NOASSERTION"
        license_info = {
            "key": one.license.lower() if known else "other",
            "name": one.license if known else "Other",
            "spdx_id": one.license,
            "url": f"{api_url}/licenses/{one.license.lower()}" if known else None,
            "node_id": "MDc6TGljZW5zZTEz",
        }
    return {
        "id": one.id,
        "node_id": f"R_{one.id}",
        "name": name,
        "full_name": one.full_name,
        "private": False,
        "owner": _owner(owner, api_url),
        "html_url": html,
        "description": None,
        "fork": one.fork,
        "url": url,
        **{f"{link}_url": f"{url}/{link.replace('_', '/')}" for link in _LINKS.split()},
        "created_at": one.created_at,
        "updated_at": one.pushed_at,
        "pushed_at": one.pushed_at,
        "git_url": f"git://github.com/{one.full_name}.git",
        "ssh_url": f"git@github.com:{one.full_name}.git",
        "clone_url": f"{html}.git",
        "svn_url": html,
        "homepage": None,
        "mirror_url": None,
        "size": one.size_kb,
        "stargazers_count": one.stars,
        "watchers_count": one.stars,
        "watchers": one.stars,
        "language": one.language,
        "forks": 0,
        "forks_count": 0,
        "open_issues": 0,
        "open_issues_count": 0,
        "network_count": 0,
        "subscribers_count": 0,
        **{f"has_{what}": True for what in ("issues", "projects", "downloads", "wiki")},
        **{f"has_{what}": False for what in ("pages", "discussions")},
        "archived": one.archived,
        "disabled": False,
        "visibility": "public",
        "default_branch": "main",
        "license": license_info,
    }


def _owner(login: str, api_url: str) -> dict[str, Any]:
    url = f"{api_url}/users/{login}"
    return {
        "login": login,
        "id": 1,
        "node_id": "U_1",
        "avatar_url": "https://avatars.githubusercontent.com/u/1?v=4",
        "gravatar_id": "",
        "url": url,
        "html_url": f"https://github.com/{login}",
        **{f"{link}_url": f"{url}/{link}" for link in _OWNER_LINKS.split()},
        "type": "User",
        "site_admin": False,
    }


def search(
    repositories: list["DoubleRepository"], query: dict[str, list[str]], api_url: str
) -> tuple[int, dict[str, Any]]:
    """`GET /search/repositories`: status and body."""
    page, size = (int(query.get(name, ["1"])[0]) for name in ("page", "per_page"))
    if page * size > MAX_RESULTS:
        message = "Only the first 1000 search results are available"
        return 422, {"message": message, "documentation_url": "https://docs.github.com/rest"}
    found = matches(repositories, query["q"][0])
    items = [
        {**rest_repository(one, api_url), "score": 1.0}
        for one in found[(page - 1) * size : page * size]
    ]
    return 200, {"total_count": len(found), "incomplete_results": False, "items": items}


def matches(repositories: list["DoubleRepository"], text: str) -> list["DoubleRepository"]:
    """The repositories that a search's qualifiers admit."""
    asked = dict(re.findall(r'(\w+):("[^"]*"|\S+)', text))
    leftover = re.sub(r'\w+:("[^"]*"|\S+)', "", text).strip()
    assert not leftover, f"words that are no qualifiers: {leftover!r}"
    unknown = asked.keys() - set(_QUALIFIERS.split())
    assert not unknown, f"qualifiers that GitHub does not know: {unknown}"

    def admits(one: "DoubleRepository") -> bool:
        license_key = (one.license or "").lower()
        return (
            one.state != "gone"
            and _in_range(asked.get("created"), _unix(one.created_at), _unix)
            and _in_range(asked.get("pushed"), _unix(one.pushed_at), _unix)
            and _in_range(asked.get("stars"), one.stars, float)
            and asked.get("language", one.language).strip('"').lower() == one.language.lower()
            and (not one.fork or asked.get("fork") in ("true", "only"))
            and asked.get("archived", str(one.archived).lower()) == str(one.archived).lower()
            and asked.get("license", license_key) == license_key
        )

    return sorted((one for one in repositories if admits(one)), key=lambda one: -one.stars)


def _in_range(spec: str | None, value: float, read: Any) -> bool:
    if spec is None:
        return True
    if ".." in spec:
        low, high = spec.split("..")
        return bool((low == "*" or read(low) <= value) and (high == "*" or value <= read(high)))
    for sign, holds in ((">=", operator.ge), ("<=", operator.le), (">", operator.gt)):
        if spec.startswith(sign):
            return bool(holds(value, read(spec.removeprefix(sign))))
    return bool(value == read(spec))


def _unix(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).replace(tzinfo=UTC).timestamp()


def graphql_answer(repositories: list["DoubleRepository"], asked: dict[str, Any]) -> dict[str, Any]:
    """The subset of GraphQL that a search of repositories is: the fields that were asked for."""
    variables = asked["variables"]
    selection = _selection(asked["query"])["search"]
    found = matches(repositories, variables["query"])
    start, size = int(variables["after"] or 0), variables["first"]
    assert size <= 100, "GitHub refuses more than 100 nodes"
    stop = min(start + size, len(found), MAX_RESULTS)
    whole = {
        "repositoryCount": len(found),
        "pageInfo": {
            "hasNextPage": stop < min(len(found), MAX_RESULTS),
            "endCursor": str(stop) if stop else None,
        },
        "nodes": [_node(one) for one in found[start:stop]],
    }
    return {"data": {"search": _select(whole, selection)}}


def _node(one: "DoubleRepository") -> dict[str, Any]:
    branch = {"name": "main", "target": {"oid": one.commit}}
    return {
        "databaseId": one.id,
        "nameWithOwner": one.full_name,
        "createdAt": one.created_at,
        "pushedAt": one.pushed_at,
        "stargazerCount": one.stars,
        "diskUsage": one.size_kb,
        "isFork": one.fork,
        "isArchived": one.archived,
        "isDisabled": False,
        "isEmpty": one.state == "empty",
        "primaryLanguage": {"name": one.language},
        "licenseInfo": {"spdxId": one.license} if one.license else None,
        "defaultBranchRef": None if one.state == "empty" else branch,
    }


def _selection(query: str) -> dict[str, Any]:
    """The fields of a query as nested dictionaries; arguments and fragments' types are dropped."""
    text = re.sub(r"\([^)]*\)", "", query[query.index("{") :])
    text = re.sub(r"\.\.\.\s*on\s+\w+", "...", text)
    stack: list[dict[str, Any]] = [{}]
    last = ""
    for word in re.findall(r"[{}]|\.\.\.|\w+", text):
        if word == "{":
            stack.append(stack[-1] if last == "..." else stack[-1].setdefault(last, {}))
        elif word == "}":
            stack.pop()
        elif word != "...":
            stack[-1][word] = {}
        last = word
    whole: dict[str, Any] = stack[0].get("", stack[0])
    return whole


def _select(value: Any, selection: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_select(one, selection) for one in value]
    if not isinstance(value, dict):
        return value
    return {name: _select(value[name], inner) for name, inner in selection.items()}
