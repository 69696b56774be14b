"""What an HTTP answer of GitHub means: take it, follow it, wait, try again, or give up and why.

The order of the waits is the documented one (docs.github.com, "Rate limits for the REST API",
"Exceeding the rate limit"): `retry-after`; else, where nothing remains, until `x-ratelimit-reset`;
else a minute, doubled every time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

Action = Literal["take", "follow", "wait", "retry", "give_up"]

REDIRECTS = frozenset({301, 302, 303, 307, 308})
FAULTS = frozenset({408, 500, 502, 503, 504, 520, 521, 522, 523, 524})
LIMIT_WORDS = (
    "secondary rate limit",
    "rate limit exceeded",
    "abuse detection",
    "too many requests",
)

CLASSES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    409: "empty_repository",
    410: "not_found",
    413: "too_large",
    422: "bad_request",
    451: "blocked",
}
"""Why a request is given up at once, by status: a repository that is deleted or private, has no
commit, or is closed for legal reasons."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with an answer."""

    action: Action
    until_s: float = 0.0
    """With `wait`: Unix time, 0 where the server names none."""

    whole_token: bool = False
    """With `wait`: whether it holds for the token, not for one resource of it alone."""

    reason: str = ""
    """With `retry` and `give_up`: the class of the dead letter."""


def judge(status: int, headers: Mapping[str, str], body: str, now: float) -> Verdict:
    """Say what an answer means.

    Args:
        status: HTTP status.
        headers: by lower-case name.
        body: the text of an answer that is not taken; may be cut.
        now: Unix time.
    """
    if status == 304 or 200 <= status < 300:
        return Verdict("take")
    if status in REDIRECTS:
        return Verdict("follow") if headers.get("location") else _give_up("bad_redirect")
    if status in (403, 429, 503) and (limited := _limit(status, headers, body, now)):
        return limited
    if status in FAULTS:
        return Verdict("retry", reason="server_error")
    return _give_up(CLASSES.get(status, "refused"))


def _limit(status: int, headers: Mapping[str, str], body: str, now: float) -> Verdict | None:
    """The wait that an answer asks for, None where it is no limit."""
    after = _retry_after_s(headers.get("retry-after", ""), now)
    if after is not None:
        return Verdict("wait", until_s=now + after, whole_token=True, reason="rate_limited")
    if status == 503:
        return None
    if headers.get("x-ratelimit-remaining") == "0":
        reset = headers.get("x-ratelimit-reset", "")
        until_s = float(reset) if reset.isdecimal() else 0.0
        return Verdict("wait", until_s=until_s, reason="rate_limited")
    words = body.casefold()
    if status == 429 or any(word in words for word in LIMIT_WORDS):
        return Verdict("wait", whole_token=True, reason="rate_limited")
    return None


def _retry_after_s(text: str, now: float) -> float | None:
    """Seconds that a Retry-After header names: a number or a date (RFC 9110, 10.2.3)."""
    if text.strip().isdecimal():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, date.timestamp() - datetime.fromtimestamp(now, UTC).timestamp())


def _give_up(reason: str) -> Verdict:
    return Verdict("give_up", reason=reason)
