"""What is looked for as a secret or as personal data: a pattern and a check for each kind.

A pattern finds candidates; its check, where it has one, refuses what only looks like one. All
patterns are ASCII and read UTF-8 bytes, so a span never cuts a character. The formats of tokens are
those that their issuers document and that secret scanners (detect-secrets, gitleaks) look for;
addresses follow BigCode's redaction (bigcode-dataset, pii/).
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from components.clean.addresses import is_personal_email, is_personal_ipv4, is_personal_ipv6

KEY, PASSWORD, EMAIL, IP_ADDRESS = b"<KEY>", b"<PASSWORD>", b"<EMAIL>", b"<IP_ADDRESS>"
"""The placeholders; the first three are StarCoder's (bigcode-dataset, pii/README.md), which put
synthetic addresses in the place of IP addresses."""

Check = Callable[[bytes, int, int], bool]
"""Whether the candidate at `text[start:end]` is one."""


@dataclass(frozen=True)
class Kind:
    """One kind of sensitive text."""

    name: str
    placeholder: bytes
    pattern: bytes
    """For `re`: the group `value` is replaced where there is one, else the whole match."""

    prefilter: bytes = b""
    """For RE2: matches wherever `pattern` does; empty where `pattern` is RE2's syntax as it is."""

    check: Check | None = None


MIN_ENTROPY, MIN_HEX_ENTROPY = 3.7, 3.0
"""Bits a character (detect-secrets: 4.5 for base64, 3.0 for hexadecimal, over any string; here the
name in front of the value already speaks for a secret)."""

MIN_DIGITS, MIN_LETTERS = 3, 5

NOT_SECRET = tuple(
    b"example sample dummy fake placeholder change your xxx test foo 12345678 abcdef".split()
)
"""A value that holds one of them was made up to be read."""


def is_random(text: bytes, start: int, end: int) -> bool:
    """A value that no person would make up: letters and digits mixed, of high entropy."""
    value = text[start:end]
    lower = value.lower()
    num_digits = len(value) - len(value.translate(None, b"0123456789"))
    num_letters = len(value) - len(lower.translate(None, b"abcdefghijklmnopqrstuvwxyz"))
    if num_digits < MIN_DIGITS or num_letters < MIN_LETTERS or any(w in lower for w in NOT_SECRET):
        return False
    is_hex = not lower.translate(None, b"0123456789abcdef")
    return entropy(value) >= (MIN_HEX_ENTROPY if is_hex else MIN_ENTROPY)


def is_password(text: bytes, start: int, end: int) -> bool:
    """A password in an address that is no word, no variable, and not made up to be read."""
    lower = text[start:end].lower()
    if lower.isalpha():  # postgres:postgres@, github://organisation:repository@
        return False
    return not any(word in lower for word in (*NOT_SECRET, b"pass", b"pwd", b"secret", b"token"))


def entropy(value: bytes) -> float:
    """Shannon entropy of the bytes, in bits a byte."""
    counts = Counter(value).values()
    return -sum(count / len(value) * math.log2(count / len(value)) for count in counts)


def is_mixed(text: bytes, start: int, end: int) -> bool:
    """No token spelt out of one character or of words, as documentation has them."""
    value = text[start:end]
    lower = value.lower()
    made_up = b"example" in lower or b"xxxx" in lower or b"1234567890" in lower
    return not made_up and entropy(value) >= MIN_HEX_ENTROPY


def _token(name: str, body: bytes, check: Check | None = is_mixed, quick: bytes = b"") -> Kind:
    """A token with a prefix of its own, which nothing before or behind continues."""
    edge = rb"[A-Za-z0-9_]"
    return Kind(name, KEY, rb"(?<!%b)%b(?!%b)" % (edge, body, edge), quick or body, check)


_EMAIL = rb"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9][A-Za-z0-9-]{0,62}\.)+[A-Za-z]{2,24}"
_IPV4 = rb"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}"
_IPV6 = rb"[23][0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}"
_ASSIGNED = (
    rb"(?i)(?:api_?-?key|secret|token|passw(?:or)?d|credential|auth_?-?key|access_?-?key"
    rb"|private_?-?key)[A-Za-z0-9_-]{0,24}[\"']?[ \t]{0,4}(?::|=|:=|=>)[ \t]{0,4}[\"']"
)
_VALUE = rb"[A-Za-z0-9+/_-]{16,200}={0,2}"
_URL = rb"[a-z][a-z0-9+.-]{1,20}://[A-Za-z0-9._%+-]{1,64}:"
_PASSWORD = rb"[^\s:/@\"'<>{}$%\\()\[\],;`|*]{3,64}"
_BEGIN = rb"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"

KINDS: tuple[Kind, ...] = (
    _token("aws_access_key_id", rb"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}"),
    _token(
        "github_token",
        rb"(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{82})",
        quick=rb"gh[pousr]_[A-Za-z0-9]{20}|github_pat_[A-Za-z0-9_]{20}",
    ),
    _token("gitlab_token", rb"glpat-[A-Za-z0-9_-]{20,64}", quick=rb"glpat-"),
    _token("google_api_key", rb"AIza[A-Za-z0-9_-]{35}", quick=rb"AIza[A-Za-z0-9_-]{20}"),
    _token("slack_token", rb"xox[abeoprs]-[A-Za-z0-9-]{10,250}", quick=rb"xox[abeoprs]-"),
    _token(
        "slack_webhook",
        rb"hooks\.slack\.com/services/T[A-Z0-9]{6,12}/B[A-Z0-9]{6,12}/[A-Za-z0-9]{20,28}",
        quick=rb"hooks\.slack\.com/services/T",
    ),
    _token("stripe_key", rb"[sr]k_live_[A-Za-z0-9]{20,247}", quick=rb"[sr]k_live_"),
    _token(
        "openai_key",
        rb"sk-(?:proj-|svcacct-)?[A-Za-z0-9_-]{20,200}",
        is_random,
        rb"\bsk-[A-Za-z0-9_-]{20}",
    ),
    _token("huggingface_token", rb"hf_[A-Za-z0-9]{34}", quick=rb"hf_[A-Za-z0-9]{20}"),
    _token("pypi_token", rb"pypi-AgE[A-Za-z0-9_-]{50,250}", quick=rb"pypi-AgE"),
    _token("npm_token", rb"npm_[A-Za-z0-9]{36}", quick=rb"npm_[A-Za-z0-9]{20}"),
    _token(
        "sendgrid_key",
        rb"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}",
        quick=rb"SG\.[A-Za-z0-9_-]{22}\.",
    ),
    _token(
        "jwt",
        rb"eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{10,1000}",
        quick=rb"eyJ[A-Za-z0-9_-]+\.eyJ",
    ),
    # Of a block only the runs of base64 go: quotes, escapes and line ends around them stay.
    Kind(
        "private_key",
        KEY,
        rb"(?:(?<=\\n)|(?<![A-Za-z0-9+/\\]))[A-Za-z0-9+/]{8,}={0,2}",
        _BEGIN,
    ),
    Kind(
        "assigned_secret",
        KEY,
        _ASSIGNED + rb"(?P<value>" + _VALUE + rb")[\"']",
        _ASSIGNED + rb"[A-Za-z0-9+/_-]{16}",
        is_random,
    ),
    Kind(
        "url_password",
        PASSWORD,
        _URL + rb"(?P<value>" + _PASSWORD + rb")@",
        _URL + _PASSWORD + rb"@",
        is_password,
    ),
    Kind(
        "email",
        EMAIL,
        rb"(?<![A-Za-z0-9._%+@/-])" + _EMAIL + rb"(?![A-Za-z0-9_@-])",
        rb"[A-Za-z0-9._%+-]@[A-Za-z0-9-]+\.[A-Za-z]",
        is_personal_email,
    ),
    Kind(
        "ipv4",
        IP_ADDRESS,
        rb"(?<![\w.+-])" + _IPV4 + rb"(?![\w+-]|\.\w)",
        rb"\b" + _IPV4 + rb"\b",
        is_personal_ipv4,
    ),
    Kind("ipv6", IP_ADDRESS, rb"(?<![\w:.])" + _IPV6 + rb"(?![\w:.])", _IPV6, is_personal_ipv6),
)
"""In the order in which they are looked for. Where two find the same place the earlier start wins,
then the longer span."""

PRIVATE_KEY_BLOCK = _BEGIN + rb"(?P<body>[^-]{1,20000}(?:-(?!----)[^-]{0,20000}){0,50})-----END"
"""A whole block: `private_key` is looked for in its body, where it holds a line of a key."""

KEY_LINE = rb"[A-Za-z0-9+/]{40}"
"""Code that only looks for the marks of a block has no such run between them."""
