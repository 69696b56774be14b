"""The transport keeps to every limit it is told, and shows its token to nobody but the API."""

import asyncio
import json
import logging
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from components.artifacts.errors import ConfigError
from components.artifacts.storage import open_storage
from components.crawl.answers import judge
from components.crawl.budgets import Backoff, Budget, Pauses
from components.crawl.tokens import Token, read_tokens
from components.crawl.transport import Ask, FetchFailedError, Settings, Transport
from tests.github_double import TOKEN, DoubleRepository, GithubDouble
from tests.github_repositories import CONTACT, repository, small_files

SECONDARY_WAIT_S = 0.6

FAULT_TABLE = {
    "403 with Retry-After": "403_retry_after",
    "403 without": "403_secondary",
    "429 with Retry-After": "429_retry_after",
    "429 without": "429_secondary",
    "primary limit as 403": "403_primary",
    "primary limit as 429": "429_primary",
    "502": "502",
    "truncated body": "cut",
}
FINAL = {
    "404": ("gone", "not_found"),
    "451": ("blocked", "blocked"),
    "409": ("empty", "empty_repository"),
}


def settings_of(double: GithubDouble, **changes: Any) -> Settings:
    fields: dict[str, Any] = {
        "api_url": double.api_url,
        "user_agent": f"codekiln/test (+{CONTACT})",
        "requests_per_second": 500.0,
        "concurrency": 8,
        "share": 1.0,
        "max_attempts": 6,
        "secondary_wait_s": SECONDARY_WAIT_S,
        "timeout_s": 20.0,
        "api_version": "2022-11-28",
    }
    return Settings(**{**fields, **changes})


def ask_for(
    double: GithubDouble, *paths: str, pauses: Pauses | None = None, **changes: Any
) -> list[Any]:
    """Ask for paths at once; the JSON of each, or the error."""

    async def read(response: httpx2.Response) -> Any:
        return json.loads(await response.aread())

    async def run() -> list[Any]:
        tokens = tuple(Token(f"token-{n}", one) for n, one in enumerate(double.tokens))
        settings = settings_of(double, **changes)
        async with Transport(settings, tokens, pauses or Pauses(None)) as transport:
            asks = [Ask(url=f"{double.api_url}{path}", resource="core") for path in paths]
            return await asyncio.gather(
                *(transport.ask(ask, read) for ask in asks), return_exceptions=True
            )

    return asyncio.run(run())


@pytest.fixture
def double_of() -> Iterator[Callable[..., GithubDouble]]:
    """Start a double; a violation fails the test."""
    with_exits = []

    def start(repositories: list[DoubleRepository], **options: Any) -> GithubDouble:
        double = GithubDouble(repositories, secondary_wait_s=SECONDARY_WAIT_S, **options)
        context = double.running()
        with_exits.append((context, double))
        return context.__enter__()

    yield start
    for context, double in with_exits:
        context.__exit__(None, None, None)
        assert double.violations == []


@pytest.mark.parametrize("name", FAULT_TABLE)
def test_a_fault_that_clears_is_outlived(name: str, double_of: Callable[..., GithubDouble]) -> None:
    """The fault table, 8 of 12; no client library that was tried passes all of it."""
    repositories = [repository(n, small_files(n)) for n in range(4)]
    double = double_of(repositories, planned={"name1": [FAULT_TABLE[name]]})
    paths = [f"/repos/{one.full_name}" for one in repositories]
    answers = ask_for(double, *paths)
    assert [one["id"] for one in answers] == [1000, 1001, 1002, 1003]
    assert sum(double.fault_counts.values()) == 1


def test_a_renamed_repository_is_found_by_its_number(
    double_of: Callable[..., GithubDouble],
) -> None:
    """The fault table: 301."""
    moved = repository(1, {}, full_name="new/name", old_names=("old/name",))
    (answer,) = ask_for(double_of([moved]), "/repos/old/name")
    assert (answer["id"], answer["full_name"]) == (1001, "new/name")


@pytest.mark.parametrize("status", FINAL)
def test_a_final_answer_is_given_up_at_once_with_its_class(
    status: str, double_of: Callable[..., GithubDouble]
) -> None:
    """The fault table: 404, 451, 409."""
    state, reason = FINAL[status]
    double = double_of([repository(1, {}, state=state)])
    (error,) = ask_for(double, "/repos/owner1/name1")
    assert isinstance(error, FetchFailedError)
    assert error.reason == reason
    assert len(double.requests) == 1


def test_attempts_end_and_the_last_class_is_told(double_of: Callable[..., GithubDouble]) -> None:
    double = double_of([repository(1, {})], planned={"name1": ["cut"] * 9})
    (error,) = ask_for(double, "/repos/owner1/name1", max_attempts=3)
    assert isinstance(error, FetchFailedError)
    assert (error.reason, len(double.requests)) == ("truncated", 3)


def test_never_more_at_once_than_asked_for(double_of: Callable[..., GithubDouble]) -> None:
    double = double_of([repository(1, {})], max_concurrency=3, delay_s=0.01)
    answers = ask_for(double, *["/repos/owner1/name1"] * 40, concurrency=3)
    assert {one["id"] for one in answers} == {1001}
    assert double.most_at_once == 3


def test_the_double_sees_one_request_too_many() -> None:
    double = GithubDouble([repository(1, {})], max_concurrency=2, delay_s=0.01)
    with double.running():
        ask_for(double, *["/repos/owner1/name1"] * 40, concurrency=8)
    assert any("at once" in one for one in double.violations)


def test_the_double_sees_a_request_inside_a_wait() -> None:
    double = GithubDouble([repository(1, {})], planned={"name1": ["429_retry_after"]})
    with double.running():
        header = {"Authorization": f"Bearer {TOKEN}", "X-GitHub-Api-Version": "2022-11-28"}
        with httpx2.Client(headers={**header, "User-Agent": "codekiln/0 (+a@b)"}) as client:
            for _ in range(2):
                client.get(f"{double.api_url}/repos/owner1/name1")
    assert len(double.violations) == 1
    assert "inside a wait" in double.violations[0]


def test_requests_keep_their_pace(double_of: Callable[..., GithubDouble]) -> None:
    double = double_of([repository(1, {})])
    ask_for(double, *["/repos/owner1/name1"] * 20, requests_per_second=40.0)
    times = sorted(at for at, _, _ in double.requests)
    assert times[-1] - times[0] >= 19 / 40 - 0.05


def test_no_burst_follows_a_pause(double_of: Callable[..., GithubDouble]) -> None:
    repositories = [repository(n, {}) for n in range(16)]
    double = double_of(repositories, planned={"name1": ["429_retry_after"]})
    paths = [f"/repos/{one.full_name}" for one in repositories]
    ask_for(double, *paths, requests_per_second=20.0)
    times = sorted(at for at, _, _ in double.requests)
    assert max(sum(at <= one < at + 0.5 for one in times) for at in times) <= 12


def test_an_empty_budget_waits_for_its_hour(double_of: Callable[..., GithubDouble]) -> None:
    double = double_of([repository(1, {})], limits={"core": (6, 1.0)})
    answers = ask_for(double, *["/repos/owner1/name1"] * 14, concurrency=1)
    assert {one["id"] for one in answers} == {1001}


def test_two_tokens_share_the_work(double_of: Callable[..., GithubDouble]) -> None:
    tokens = (TOKEN, TOKEN + "2")
    double = double_of([repository(1, {})], limits={"core": (8, 1000.0)}, tokens=tokens)
    answers = ask_for(double, *["/repos/owner1/name1"] * 16, concurrency=1)
    assert {one["id"] for one in answers} == {1001}


def test_a_share_of_the_budget_is_kept(double_of: Callable[..., GithubDouble]) -> None:
    double = double_of([repository(1, {})], limits={"core": (10, 2.0)})
    started = time.time()
    ask_for(double, *["/repos/owner1/name1"] * 7, concurrency=1, share=0.5)
    first_hour = [at for at, _, _ in double.requests if at < int(started + 2.0) + 1]
    assert len(first_hour) == 5


def test_a_pause_outlives_the_process_that_was_told(tmp_path: Path) -> None:
    first = Pauses(open_storage(str(tmp_path)))
    first.pause("token-0", time.time() + 100)
    assert Pauses(open_storage(str(tmp_path))).until("token-0") > time.time() + 90


def test_a_refused_token_is_named_by_its_number(caplog: pytest.LogCaptureFixture) -> None:
    double = GithubDouble([repository(1, {})], tokens=("right",))

    async def run() -> None:
        settings = settings_of(double)
        async with Transport(settings, (Token("token-0", "s3cret"),), Pauses(None)) as transport:
            ask = Ask(url=f"{double.api_url}/repos/owner1/name1", resource="core")

            async def read(response: httpx2.Response) -> None:
                raise AssertionError

            await transport.ask(ask, read)

    with (
        double.running(),
        caplog.at_level(logging.DEBUG),
        pytest.raises(ConfigError, match="token-0") as caught,
    ):
        asyncio.run(run())
    assert "s3cret" not in str(caught.value) + repr(caught.value) + caplog.text


def test_a_token_is_neither_shown_nor_pickled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "first, second")
    first, second = read_tokens()
    assert (repr(first), second.name) == ("Token('token-0')", "token-1")
    with pytest.raises(TypeError):
        pickle.dumps(first)
    (tmp_path / "token").write_text("mounted\n")
    monkeypatch.setenv("GITHUB_TOKEN", "")
    monkeypatch.setenv("GITHUB_TOKEN_FILE", str(tmp_path / "token"))
    assert [one.authorization() for one in read_tokens()] == ["Bearer mounted"]
    (tmp_path / "token").write_text("two\nlines of text; no token")
    with pytest.raises(ConfigError) as caught:
        read_tokens()
    assert "text" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "headers", "body", "action", "until"),
    [
        (429, {"retry-after": "7", "x-ratelimit-remaining": "0"}, "", "wait", 1007.0),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1050"}, "", "wait", 1050.0),
        (403, {"retry-after": "Thu, 01 Jan 1970 00:17:00 GMT"}, "", "wait", 1020.0),
        (429, {}, "", "wait", 0.0),
        (403, {"x-ratelimit-remaining": "9"}, "secondary rate limit", "wait", 0.0),
        (403, {"x-ratelimit-remaining": "9"}, "Must have admin rights", "give_up", 0.0),
        (503, {"retry-after": "2"}, "", "wait", 1002.0),
        (503, {}, "", "retry", 0.0),
        (301, {"location": "/x"}, "", "follow", 0.0),
        (301, {}, "", "give_up", 0.0),
        (304, {}, "", "take", 0.0),
    ],
)
def test_waits_are_taken_in_the_documented_order(
    status: int, headers: dict[str, str], body: str, action: str, until: float
) -> None:
    verdict = judge(status, headers, body, now=1000.0)
    assert (verdict.action, verdict.until_s) == (action, until)


def test_unnamed_waits_double_and_faults_are_jittered() -> None:
    backoff = Backoff(60.0)
    assert [backoff.after_limit() for _ in range(4)] == [60.0, 120.0, 240.0, 480.0]
    waits = [backoff.after_fault() for _ in range(50)]
    assert max(waits) <= backoff.cap_s
    assert len({round(one, 6) for one in waits}) == 50


def test_the_lowest_count_of_answers_under_way_holds() -> None:
    budget = Budget(1.0)

    def told(remaining: int, reset: int) -> None:
        budget.read(
            {
                "x-ratelimit-limit": "50",
                "x-ratelimit-remaining": str(remaining),
                "x-ratelimit-reset": str(reset),
            }
        )

    told(3, 100)
    told(9, 100)
    assert budget.remaining == 3
    told(0, 50)
    assert budget.remaining == 3
    told(49, 200)
    assert budget.remaining == 49
