"""Planted secrets and addresses go; what only looks like one stays.

Tokens are put together at run time: no scanner shall take this file for a leak.
"""

import ast
import base64
import hashlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.clean.redaction import find_spans, possible_kinds, redact
from components.clean.sensitive import KINDS


def noise(length: int, alphabet: str, seed: str = "codekiln") -> str:
    """Letters that look random, and are the same in every run."""
    digest = b"".join(hashlib.sha256(f"{seed}{i}".encode()).digest() for i in range(length))
    return "".join(alphabet[byte % len(alphabet)] for byte in digest[:length])


UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
WORD = UPPER + UPPER.lower() + "0123456789"
HEX = "0123456789abcdef"
AT = "@"


def block(kind: str) -> str:
    body = base64.b64encode(noise(150, WORD, kind).encode()).decode()
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    return "\n".join(
        (f"-----BEGIN {kind}" + "PRIVATE KEY-----", *lines, f"-----END {kind}KEY-----")
    )


SECRETS = {
    "aws_access_key_id": "AK" + "IA" + noise(16, UPPER + "234567"),
    "github_token": "gh" + "p_" + noise(36, WORD),
    "gitlab_token": "glp" + "at-" + noise(20, WORD),
    "google_api_key": "AI" + "za" + noise(35, WORD),
    "slack_token": "xo" + "xb-" + noise(12, "0123456789") + "-" + noise(24, WORD),
    "slack_webhook": "hooks.slack"
    + ".com/services/T"
    + noise(8, UPPER)
    + "/B"
    + noise(8, UPPER)
    + "/"
    + noise(24, WORD),
    "stripe_key": "sk_" + "live_" + noise(24, WORD),
    "openai_key": "s" + "k-" + noise(48, WORD),
    "huggingface_token": "h" + "f_" + noise(34, UPPER),
    "pypi_token": "py" + "pi-AgE" + noise(80, WORD),
    "npm_token": "np" + "m_" + noise(36, WORD),
    "sendgrid_key": "S" + "G." + noise(22, WORD) + "." + noise(43, WORD),
    "jwt": ".".join(("ey" + "J" + noise(20, WORD), "ey" + "J" + noise(40, WORD), noise(43, WORD))),
    "email": "jane.doe+spam" + AT + "mail.uni-x.de",
    "ipv4": ".".join(("52", "31", "7", "200")),
    "ipv6": ":".join(("2a01", "4f8", "c17", "", "2")),
}
"""By kind: a text that stands for itself."""

PLACEHOLDERS = {kind.name: kind.placeholder.decode() for kind in KINDS}


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    "line", ["x = '{}'\n", '# see <{}>, "{}".\n', "f({!r})", "\u4e2d {}\r\n{}", "{}"]
)
def test_a_planted_secret_is_replaced_by_its_placeholder(name: str, line: str) -> None:
    number = line.count("{")
    text, counts = redact(line.replace("{!r}", "'{}'").replace("{}", SECRETS[name]).encode())
    assert text.decode() == line.replace("{!r}", "'{}'").replace("{}", PLACEHOLDERS[name])
    assert counts == {name: number}


def test_every_kind_is_planted_somewhere() -> None:
    assert {kind.name for kind in KINDS} - set(SECRETS) == {
        "private_key",
        "assigned_secret",
        "url_password",
    }


@pytest.mark.parametrize("kind", ["", "RSA ", "OPENSSH ", "EC "])
def test_of_a_private_key_only_the_key_goes(kind: str) -> None:
    text, counts = redact(f"KEY = '''{block(kind)}'''\n".encode())
    assert counts["private_key"] == 4
    assert re.fullmatch(
        rf"KEY = '''-----BEGIN {kind}PRIVATE KEY-----\n(<KEY>\n)+-----END {kind}KEY-----'''\n",
        text.decode(),
    )


def test_a_key_in_pieces_of_strings_stays_a_program() -> None:
    lines = block("RSA ").split("\n")
    program = "KEY = (\n" + "".join(f'    "{line}\\n"\n' for line in lines) + ")\n"
    text, _ = redact(program.encode())
    assert ast.literal_eval(text.decode().removeprefix("KEY = ")).count("<KEY>\n") == 4
    joined = "\\n".join(lines)
    assert b"\\n<KEY>\\n<KEY>\\n" in redact(f"k = '{joined}'\n".encode())[0]


def test_code_that_looks_for_keys_holds_none() -> None:
    program = (
        "if text.startswith('-----BEGIN PRIVATE" + " KEY-----'):\n"
        "    return decode_private_information(text)\n"
        "elif text.endswith('-----END PRIVATE" + " KEY-----'):\n    pass\n"
    ).encode()
    assert redact(program) == (program, {})


VALUE = noise(32, WORD, "value")
HEX_VALUE = noise(40, HEX, "value")


@pytest.mark.parametrize(
    "line",
    [
        "API_KEY = '{}'",
        'client_secret="{}"',
        "'auth-token': '{}',",
        'password := "{}"',
        "db_passwd => '{}'",
        "secretAccessKey: '{}'",
    ],
)
@pytest.mark.parametrize("value", [VALUE, HEX_VALUE])
def test_a_random_value_under_a_telling_name_goes(line: str, value: str) -> None:
    text, counts = redact(line.format(value).encode())
    assert (text.decode(), counts) == (line.format("<KEY>"), {"assigned_secret": 1})


@pytest.mark.parametrize(
    "line",
    [
        f"checksum = '{VALUE}'",
        "API_KEY = 'your-api-key-goes-here-123'",
        "token = 'get_token_from_the_vault'",
        "SECRET = 'django.contrib.auth.models.Secret1'",
        "password_hasher = 'aaaaaaaaaaaaaaaaaaaa1111'",
        "token_url = '/oauth/v2/access_token_12345678'",
        "secret = os.environ['SECRET_KEY_BASE_PRODUCTION']",
    ],
)
def test_a_value_that_a_person_wrote_stays(line: str) -> None:
    assert redact(line.encode()) == (line.encode(), {})


@pytest.mark.parametrize(
    ("line", "rest"),
    [
        ("'postgres://app:{}@db.host:5432/x'", "'postgres://app:<PASSWORD>@db.host:5432/x'"),
        ("amqp://me:{}@10.0.0.1", "amqp://me:<PASSWORD>@10.0.0.1"),
    ],
)
def test_a_password_in_an_address_goes(line: str, rest: str) -> None:
    text, counts = redact(line.format("hunt" + "er2!x").encode())
    assert (text.decode(), counts) == (rest, {"url_password": 1})


@pytest.mark.parametrize(
    "text",
    [
        "user" + AT + "example.com",
        "user" + AT + "mail.example.org",
        "root" + AT + "localhost",
        "git" + AT + "github.com:owner/name.git",
        "12+jane" + AT + "users.noreply.github.com",
        "noreply" + AT + "github.com",
        "y = weights" + AT + "inputs.mean(axis=0)",
        "y = a" + AT + "b.to(device)",
        "q" + AT + "k.mT",
        "image" + AT + "2x.png",
        "module" + AT + "1.2.3",
        "@decorator.name",
        "127.0.0.1 0.0.0.0 192.168.1.77 10.11.12.13 172.16.254.1 255.255.255.0 224.0.0.251",
        "192.0.2.17 198.51.100.23 203.0.113.99 169.254.169.254 100.64.10.10",
        "8.8.8.8 1.1.1.1 8.8.4.4",
        "1.2.3.4",
        "version 10.20.30.40",
        "__version__ = '52.31.7.200'",
        "lib==52.31.7.200",
        "Chrome/91.0.4472.124",
        "v52.31.7.200",
        "oid 2.16.840.1.101.3",
        "2.5.29.15 ObjectIdentifier('1.3.132.0') univ.ObjectIdentifier(\"2.23.140.12\")",
        "postgres://postgres:postgres" + AT + "localhost github://org:repo" + AT + "sha/",
        "52.31.7.200.1 1.52.31.7.200 52.31.7.300 52.031.7.20",
        "::1 fe80::1 2001:db8::1:2 ff02::fb fd00:1234::1",
        "x[2000::5] y[2000:3000:5] std::abs 12:34:56 2024:10:11",
        "https://user:password@host https://user:{password}@host http://user:$PASS@host",
        "-----BEGIN CERTIFICATE-----\nMIIB" + "A" * 60 + "\n-----END CERTIFICATE-----",
        "AK" + "IA" + "IOSFODNN7EXAMPLE",
        "gh" + "p_" + "x" * 36,
        "risk-assessment-of-the-whole-portfolio-2020",
    ],
)
def test_what_only_looks_like_a_secret_or_an_address_stays(text: str) -> None:
    assert redact(f"# {text} \n".encode()) == (f"# {text} \n".encode(), {})


def test_a_text_without_any_is_the_same_object() -> None:
    text = b"def f(x):\n    return x\n"
    assert redact(text)[0] is text


PIECES = st.sampled_from(
    [
        *SECRETS.values(),
        *("'", '"', "\n", " ", "@", ":", "/", "token='", "<EMAIL>", "a", "-", "."),
        *("postgres://u:", block("RSA "), VALUE, "\u00e9", "\\n"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once, counts = redact(text.encode())
    assert redact(once) == (once, {})
    assert (once == text.encode()) == (not counts)
    once.decode()


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join))
def test_the_prefilter_misses_nothing(text: str) -> None:
    data = text.encode()
    possible = {kind.name for kind in possible_kinds(data)}
    for kind in KINDS:
        if kind.name != "private_key" and re.search(kind.pattern, data):
            assert kind.name in possible
    assert {span.kind.name for span in find_spans(data)} <= possible


def test_a_program_with_secrets_in_strings_and_comments_still_parses() -> None:
    program = "".join(f"x{i} = '{text}'  # {text}\n" for i, text in enumerate(SECRETS.values()))
    text, counts = redact(program.encode())
    ast.parse(text)
    assert set(counts) == set(SECRETS)


def test_a_line_of_100_mb_is_searched_in_time_that_grows_with_it() -> None:
    text = b"x = '" + b"a1." * 33_000_000 + b"'  # " + SECRETS["email"].encode()
    assert redact(text)[1] == {"email": 1}
