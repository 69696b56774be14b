"""The double speaks as GitHub describes itself, and the client reads what GitHub really sent.

Both come from npm: GitHub's OpenAPI description and GraphQL schema, and replies that were recorded
from the real API. Without npm, or without its registry, these tests are skipped.
"""

import asyncio
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from components.artifacts.opt_out import OptOut
from components.crawl.budgets import Pauses
from components.crawl.clone import Patience
from components.crawl.earlier import EarlierCrawls
from components.crawl.fetching import Fetcher
from components.crawl.harvest import Harvest, Rules
from components.crawl.search import GRAPHQL_QUERY, search_ask
from components.crawl.selection import GithubConfig
from components.crawl.source import RepositoryRef
from components.crawl.tokens import Token
from components.crawl.transport import Allowance, Ask, FetchFailedError, Settings, Transport
from tests.github_double import TOKEN, GithubDouble, Reply, Request
from tests.github_repositories import CONTACT, repository, small_files

PACKAGES = (
    "@octokit/openapi@23.0.2",
    "@octokit/fixtures@23.1.2",
    "@octokit/graphql-schema@15.26.1",
    "ajv@8.20.0",
    "graphql@16.15.0",
)

VALIDATE = """
const fs = require('fs')
const Ajv = require('ajv')
const { buildSchema, parse, validate, execute } = require('graphql')
const told = JSON.parse(fs.readFileSync(process.argv[2]))
const problems = []
const openapi = require('@octokit/openapi/generated/api.github.com.json')
const ajv = new Ajv({ strict: false, validateFormats: false, allErrors: true })
ajv.addSchema(openapi, 'github')
for (const { name, pointer, body } of told.answers) {
  const check = ajv.compile({ $ref: 'github#' + pointer })
  if (!check(body)) problems.push(name + ': ' + ajv.errorsText(check.errors))
}
const text = fs.readFileSync(
  __dirname + '/node_modules/@octokit/graphql-schema/schema.graphql', 'utf8')
const schema = buildSchema(text, { assumeValid: true })
const document = parse(told.query)
for (const error of validate(schema, document)) problems.push('query: ' + error.message)
for (const { variables, answer } of told.graphql) {
  const done = execute({ schema, document, rootValue: answer.data, variableValues: variables,
    typeResolver: (_value, _context, _info, kind) =>
      kind.name === 'GitObject' ? 'Commit' : 'Repository' })
  for (const error of done.errors || []) problems.push('answer: ' + error.message)
  if (JSON.stringify(done.data) !== JSON.stringify(answer.data)) {
    problems.push('answer: other fields than were asked for')
  }
}
console.log(JSON.stringify(problems))
"""


@pytest.fixture(scope="module")
def modules() -> Iterator[Path]:
    """A folder with the packages installed."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("needs npm and node")
    with tempfile.TemporaryDirectory(prefix="codekiln-npm-") as folder:
        command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
        quick = ["--fetch-retries=1", "--fetch-timeout=60000", "--prefix", folder]
        done = subprocess.run([*command, *quick, *PACKAGES], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"npm cannot install its packages: {done.stderr.strip()[-200:]}")
        yield Path(folder)


def ask_both(double: GithubDouble) -> list[dict[str, Any]]:
    """Ask the double for everything it answers; the GraphQL answers with their variables."""
    headers = {
        "Authorization": f"Bearer {TOKEN}",
        "X-GitHub-Api-Version": "2022-11-28",
        "User-Agent": f"codekiln/0 (+{CONTACT})",
    }
    found = []
    with httpx2.Client(headers=headers) as client:
        for path in ("owner1/name1", "owner2/name2", "old/name", "owner4/name4", "no/thing"):
            client.get(f"{double.api_url}/repos/{path}")
        client.get(f"{double.api_url}/repos/owner5/name5")
        for discovery, query in (("rest", "is:public"), ("graphql", "stars:>=0 fork:false")):
            config = GithubConfig(api_url=double.api_url, discovery=discovery)  # type: ignore[arg-type]
            for cursor in ("", "2") if discovery == "rest" else ("", "100"):
                ask = search_ask(config, query, cursor)
                answer = client.request(ask.method, ask.url, json=ask.json)
                if discovery == "graphql":
                    variables = ask.json["variables"]
                    found.append({"variables": variables, "answer": answer.json()})
        client.get(f"{double.api_url}/search/repositories?q=is:public&per_page=100&page=11")
    return found


def pointer_of(path: str, status: int) -> str:
    """Where the description says what an answer holds; empty where it says nothing."""
    errors = {301, 403, 404, 409, 422, 429, 451, 502}
    if status in errors:
        return "/components/schemas/basic-error"
    if path == "/search/repositories":
        return "/paths/~1search~1repositories/get/responses/200/content/application~1json/schema"
    return "/components/schemas/full-repository" if path.startswith("/repos/") else ""


@pytest.mark.slow
def test_the_double_answers_as_github_describes_itself(modules: Path, tmp_path: Path) -> None:
    repositories = [repository(n, small_files(n)) for n in range(150)]
    repositories[2].license = None
    repositories[3].license = "NOASSERTION"
    repositories[4].state = "blocked"
    repositories[5].state = "empty"
    repositories[6].old_names = ("old/name",)
    double = GithubDouble(repositories)
    with double.running():
        asked = ask_both(double)
    answers = [
        {"name": f"{path} {status}", "pointer": pointer, "body": body}
        for _, path, status, body in double.answers
        if (pointer := pointer_of(path, status))
    ]
    statuses = {int(one["name"].rpartition(" ")[2]) for one in answers}
    assert statuses == {200, 301, 404, 409, 422, 451}
    told = {"answers": answers, "query": GRAPHQL_QUERY, "graphql": asked}

    def problems_of(value: Any) -> list[str]:
        (tmp_path / "told.json").write_text(json.dumps(value))
        (modules / "validate.cjs").write_text(VALIDATE)
        command = ["node", str(modules / "validate.cjs"), str(tmp_path / "told.json")]
        done = subprocess.run(command, capture_output=True, text=True, cwd=modules)
        assert done.returncode == 0, done.stderr[-2000:]
        problems: list[str] = json.loads(done.stdout)
        return problems

    assert problems_of(told) == []
    wrong = json.loads(json.dumps(told))
    del next(one for one in wrong["answers"] if "/search" in one["name"])["body"]["items"][0]["id"]
    wrong["graphql"][0]["answer"]["data"]["search"]["nodes"][0]["stargazerCount"] = "many"
    wrong["query"] = wrong["query"].replace("diskUsage", "diskUse")
    assert len(problems_of(wrong)) >= 3


class Replay(GithubDouble):
    """Answers with what was recorded; addresses are those of here."""

    def __init__(self, scenario: list[dict[str, Any]]) -> None:
        super().__init__([])
        self._scenario = scenario

    def _route(self, request: Request) -> Reply:
        for one in self._scenario:
            if one["method"].lower() == request.method.lower() and one["path"] == request.target:
                return Reply(one["status"], self._body(one), self._headers(one))
        return Reply(500, {"message": f"not recorded: {request.target}"})

    def _body(self, one: dict[str, Any]) -> Any:
        if isinstance(one["response"], str) and one["response"].startswith("1f8b"):
            return bytes.fromhex(one["response"])
        return one["response"] if isinstance(one["response"], dict) else b""

    def _headers(self, one: dict[str, Any]) -> dict[str, str]:
        dropped = ("connection", "content-length", "transfer-encoding", "content-encoding")
        told = one.get("headers") or _pairs(one["rawHeaders"])
        headers = {k.lower(): str(v) for k, v in told.items() if k.lower() not in dropped}
        if "location" in headers:
            for host, url in (("api", self.api_url), ("codeload", self.archive_url)):
                headers["location"] = headers["location"].replace(f"https://{host}.github.com", url)
        return headers


def _pairs(flat: Any) -> dict[str, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True)) if isinstance(flat, list) else flat


def recorded(modules: Path, scenario: str, form: str = "normalized") -> list[dict[str, Any]]:
    folder = modules / "node_modules/@octokit/fixtures/scenarios/api.github.com" / scenario
    value: list[dict[str, Any]] = json.loads((folder / f"{form}-fixture.json").read_text())
    return value


def settings_of(double: GithubDouble) -> Settings:
    return Settings(
        api_url=double.api_url,
        user_agent=f"codekiln/test (+{CONTACT})",
        requests_per_second=500.0,
        concurrency=4,
        share=1.0,
        max_attempts=1,
        secondary_wait_s=1.0,
        timeout_s=20.0,
        api_version="2022-11-28",
    )


@pytest.mark.slow
def test_a_recorded_archive_is_fetched(modules: Path) -> None:
    """GitHub's own 302 to its archive host, and the archive that it sent."""
    scenario = recorded(modules, "get-archive", "raw")  # the other has no pax header any more
    asked = next(one for one in scenario if "/tarball/" in one["path"])
    repo = asked["path"].removeprefix("/repos/").partition("/tarball/")[0]
    asked["path"] = f"/repos/{repo}/tarball/HEAD"  # as a fetch without a commit asks
    double = Replay(scenario)
    rules = Rules(
        languages=frozenset({"Markdown"}), max_file_bytes=10**6, licenses=(), opt_out=OptOut()
    )

    async def run() -> Harvest:
        token = Token("token-0", "0000000000000000000000000000000000000001")
        async with Transport(settings_of(double), (token,), Pauses(None)) as transport:
            config = GithubConfig(api_url=double.api_url)
            fetcher = Fetcher(
                config, rules, transport, EarlierCrawls(), token, Patience(20.0, 1, 1.0)
            )
            ref = RepositoryRef(source="github", repo_id="github:1000", repo=repo)
            return await fetcher.fetch(ref)

    with double.running():
        harvest = asyncio.run(run())
    assert harvest.outcome == "fetched"
    assert [row["path"] for row in harvest.rows] == ["README.md"]
    assert len(harvest.record["commit"]) == 40
    assert harvest.record["swhid"] == f"swh:1:rev:{harvest.record['commit']}"


@pytest.mark.slow
def test_a_recorded_rename_and_recorded_limits_are_read(modules: Path) -> None:
    double = Replay([*recorded(modules, "rename-repository"), *recorded(modules, "search-issues")])

    async def read(response: httpx2.Response) -> Any:
        return json.loads(await response.aread())

    async def run() -> tuple[Any, Allowance, BaseException]:
        settings, token = settings_of(double), Token("token-0", "secret")
        allowance = Allowance(settings)
        async with Transport(settings, (token,), Pauses(None), allowance) as transport:
            url = f"{double.api_url}/repos/octokit-fixture-org/rename-repository"
            moved = await transport.ask(Ask(url=url, resource="core"), read)
            query = "q=sesame%20repo%3Aoctokit-fixture-org%2Fsearch-issues"
            await transport.ask(
                Ask(url=f"{double.api_url}/search/issues?{query}", resource="search"), read
            )
            try:
                await transport.ask(Ask(url=f"{double.api_url}/none", resource="core"), read)
            except FetchFailedError as error:
                return moved, allowance, error
            raise AssertionError

    with double.running():
        moved, allowance, error = asyncio.run(run())
    assert moved["id"] == 1000
    token = Token("token-0", "")
    assert (allowance.budget(token, "core").limit, allowance.budget(token, "search").limit) == (
        5000,
        30,
    )
    assert allowance.budget(token, "search").remaining == 29
    assert "server_error" in str(error)
