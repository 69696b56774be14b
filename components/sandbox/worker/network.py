"""Does anything answer that must not: metadata server, DNS, API server, the internet?"""

import os
import random
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress

TIMEOUT_S = 2.0
METADATA = ("169.254.169.254", 80)
INTERNET = (("1.1.1.1", 443), ("8.8.8.8", 53), ("2606:4700:4700::1111", 443))
"""Addresses of public name servers; only a connection is tried, nothing is sent."""

DNS_PORT = 53
RESOLVER_FILE = "/etc/resolv.conf"
API_SERVER_NAMES = ("kubernetes.default.svc", "metadata.google.internal")


def find_answers(timeout_s: float = TIMEOUT_S, resolver_file: str = RESOLVER_FILE) -> list[str]:
    """What answers, in words; empty where the network is as it must be.

    A refused connection is an answer too: a packet came back, so something is within reach.
    """
    targets = [("metadata server", *METADATA)]
    targets += [("internet", host, port) for host, port in INTERNET]
    if host := os.environ.get("KUBERNETES_SERVICE_HOST"):
        port = int(os.environ.get("KUBERNETES_SERVICE_PORT", "443"))
        targets.append(("API server", host, port))
    found = [
        f"{name} {host}:{port}" for name, host, port in targets if answers(host, port, timeout_s)
    ]
    servers = name_servers(resolver_file)
    found += [f"DNS {server}" for server in servers if dns_answers(server, DNS_PORT, timeout_s)]
    return found + [f"name {name}" for name in API_SERVER_NAMES if not servers and _resolves(name)]


def answers(host: str, port: int, timeout_s: float) -> bool:
    """Whether anything comes back from a TCP port, a refusal included."""
    try:
        socket.create_connection((host, port), timeout_s).close()
    except ConnectionRefusedError:
        return True
    except OSError:  # no route, no such address family, no answer in time
        return False
    return True


def name_servers(resolver_file: str) -> Iterable[str]:
    """The name servers that the system would ask."""
    with suppress(OSError), open(resolver_file, encoding="utf-8", errors="replace") as file:
        lines = [line.split() for line in file]
        return [parts[1] for parts in lines if len(parts) > 1 and parts[0] == "nameserver"]
    return []


def dns_answers(server: str, port: int, timeout_s: float) -> bool:
    """Whether a name server answers a question over UDP."""
    labels = b"".join(bytes([len(part)]) + part for part in (b"kubernetes", b"default", b"svc"))
    question = struct.pack(">HHHHHH", random.getrandbits(16), 0x100, 1, 0, 0, 0)
    question += labels + b"\0" + struct.pack(">HH", 1, 1)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.settimeout(timeout_s)
            asking.connect((server, port))
            asking.send(question)
            asking.recv(512)
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True


def _resolves(name: str) -> bool:
    try:
        socket.getaddrinfo(name, 443)
    except OSError:
        return False
    return True
