"""Canonical JSON and the hashes made of it: equal values give equal bytes on every machine."""

import hashlib
import json
from typing import Any

KEY_HEX_DIGITS = 32
"""Length of a key: 128 bits of sha256, enough that no two identities of one data root meet."""


# One for all rows: `json.dumps` with such options makes one a call.
_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
)


def canonical_json(value: Any) -> str:
    """Spell a JSON value in one way only: sorted keys, no blanks, no NaN, ASCII."""
    return _ENCODER.encode(value)


def sha256_hex(data: bytes) -> str:
    """Hash bytes; 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def digest_of(value: Any) -> str:
    """Hash a JSON value by its canonical spelling; 64 hex digits."""
    return sha256_hex(canonical_json(value).encode())


def key_of(step: str, version: int, identity: Any, parents: dict[str, str]) -> str:
    """Name what a step will compute.

    Args:
        step: the step's name.
        version: the step's version, raised by hand when its output changes.
        identity: the config that decides what comes out, as JSON.
        parents: digest of each input artifact by input name.

    Returns:
        The first KEY_HEX_DIGITS hex digits of the sha256.
    """
    value = {"step": step, "version": version, "identity": identity, "parents": parents}
    return digest_of(value)[:KEY_HEX_DIGITS]
