"""Which e-mail and IP addresses in a source text may be somebody's, and which never are.

The tables of networks stand here, not in `ipaddress`, whose answers change with the Python that
runs: what is redacted must not.
"""

import ipaddress
import re

GENERIC_ENDINGS = frozenset(
    b"com org net edu gov mil int info biz name dev app cloud tech online site xyz".split()
)
FILE_ENDINGS = frozenset(b"py js ts rs md sh pl cc so".split())
"""Countries too, but in code nearly always a file or a module."""

EXAMPLE_DOMAINS = (
    *(b"example.com", b"example.org", b"example.net", b"example.edu"),
    *(b"example", b"test", b"invalid", b"localhost"),
    b"users.noreply.github.com",
)
"""Reserved for examples (RFC 2606, RFC 6761), and GitHub's addresses that reach nobody."""

MACHINES = frozenset(b"git hg svn noreply no-reply donotreply".split())
"""Names before the @ that are no person's: `git@host` is how a repository is fetched."""

SPECIAL_IPV4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    )
)
"""IANA's special-purpose registry: private, loopback, documentation, multicast, reserved."""

PUBLIC_SERVICES = frozenset(
    b"8.8.8.8 8.8.4.4 1.1.1.1 1.0.0.1 9.9.9.9 208.67.222.222 208.67.220.220".split()
)
"""Resolvers that everybody knows."""

GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")
SPECIAL_IPV6 = tuple(map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "3fff::/20")))
"""Of IPv6 only these are handed out, without protocols and documentation."""

OBJECT_IDENTIFIERS = (b"2.5.4.", b"2.5.29.", b"1.3.101.")
"""X.500's attributes and extensions, and Edwards curves: in code they outnumber such addresses."""

MIN_IPV6_GROUPS = 3
"""`x[2000::5]` is a slice."""

CONTEXT_BYTES = 24
_VERSION_BEFORE = re.compile(
    rb"(?:version|release|revision|\bver\b|\bv\b|build|[=<>~^]=|oid|identifier|section|chapter)[^\n0-9]{0,12}$"
    rb"|[A-Za-z][\w-]*/$",  # Chrome/91.0.4472.124
    re.IGNORECASE,
)


def is_personal_email(text: bytes, start: int, end: int) -> bool:
    """No address of an example or of a machine, and no product of matrices."""
    local, _, domain = text[start:end].lower().partition(b"@")
    ending = text[start:end].rpartition(b".")[2]
    country = len(ending) == 2 and ending.lower() not in FILE_ENDINGS
    if not (country or ending.lower() in GENERIC_ENDINGS):
        return False
    if ending not in (ending.lower(), ending.upper()):  # q@k.mT
        return False
    if text[end : end + 1] in (b"(", b"["):  # a@b.to(device)
        return False
    example = any(domain == name or domain.endswith(b"." + name) for name in EXAMPLE_DOMAINS)
    return not example and local not in MACHINES and b".." not in domain


def is_personal_ipv4(text: bytes, start: int, end: int) -> bool:
    """An address that is handed out to somebody, and no version number."""
    value = text[start:end]
    parts = value.split(b".")
    if any((len(part) > 1 and part.startswith(b"0")) or int(part) > 255 for part in parts):
        return False
    if all(len(part) == 1 for part in parts):  # 1.2.3.4: a version, as BigCode reads it
        return False
    before = text[max(0, start - CONTEXT_BYTES) : start]
    if (
        value in PUBLIC_SERVICES
        or value.startswith(OBJECT_IDENTIFIERS)
        or _VERSION_BEFORE.search(before)
    ):
        return False
    address = ipaddress.IPv4Address(value.decode())
    return not any(address in network for network in SPECIAL_IPV4)


def is_personal_ipv6(text: bytes, start: int, end: int) -> bool:
    """An address that is handed out to somebody."""
    value = text[start:end].decode()
    if sum(map(bool, value.split(":"))) < MIN_IPV6_GROUPS:
        return False
    try:
        address = ipaddress.IPv6Address(value)
    except ValueError:
        return False
    return address in GLOBAL_IPV6 and not any(address in network for network in SPECIAL_IPV6)
