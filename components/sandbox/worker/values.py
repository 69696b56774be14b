"""Values between the model's process and the test's: tagged JSON of exact builtin types, no pickle.

None, bool, str, float, list and short int are JSON's own; the rest is an object of one key, its
tag. A subclass is refused, because its operators are code of whoever made it. Python's JSON carries
nan, infinities and -0.0; a string with surrogates goes as bytes, because JSON would join a pair.
"""

import json
import os
import struct
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 100
MAX_FRAME_BYTES = 4 * 2**20
SHORT_INT_BITS = 64
"""Longer ones go in base 16: Python refuses decimals of more than 4,300 digits."""


class UnsupportedTypeError(Exception):
    """A value that is not of exact builtin types, or nests too deep."""


class ProtocolError(Exception):
    """Bytes that spell no value."""


class TooLargeError(Exception):
    """A value of more than MAX_FRAME_BYTES."""


class ClosedError(Exception):
    """The other side is gone."""


def to_json(value: Any, depth: int = 0) -> Any:
    """Spell a value.

    Raises:
        UnsupportedTypeError: something else than exact builtin types.
    """
    kind = type(value)
    if value is None or kind is bool or kind is float:
        return value
    if kind is str:
        return _text(value)
    if kind is int:
        short = value.bit_length() <= SHORT_INT_BITS
        return value if short else {"i": hex(value)}
    if depth > MAX_DEPTH:
        raise UnsupportedTypeError("too deep")
    return _container(kind, value, depth + 1)


def _text(value: str) -> Any:
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return {"u": value.encode("utf-8", "surrogatepass").hex()}
    return value


def _container(kind: type, value: Any, depth: int) -> Any:
    if kind is list:
        return [to_json(item, depth) for item in value]
    if kind is tuple:
        return {"t": [to_json(item, depth) for item in value]}
    if kind is dict:
        return {"d": [[to_json(k, depth), to_json(v, depth)] for k, v in value.items()]}
    if kind is set:
        return {"s": [to_json(item, depth) for item in value]}
    if kind is frozenset:
        return {"z": [to_json(item, depth) for item in value]}
    if kind is bytes:
        return {"b": value.hex()}
    if kind is complex:
        return {"c": [value.real, value.imag]}
    raise UnsupportedTypeError("not a builtin type")


def from_json(value: Any) -> Any:
    """Read what `to_json` spelt; the bytes may come from anybody.

    Raises:
        ProtocolError: it spells no value.
    """
    try:
        return _read(value)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ProtocolError(type(error).__name__) from None


def _read(value: Any) -> Any:
    if type(value) is list:
        return [_read(item) for item in value]
    if type(value) is dict:
        ((tag, inner),) = value.items()
        return _READERS[tag](inner)
    return value


_READERS: dict[str, Callable[[Any], Any]] = {
    "i": lambda inner: int(inner, 16),
    "u": lambda inner: bytes.fromhex(inner).decode("utf-8", "surrogatepass"),
    "t": lambda inner: tuple([_read(item) for item in inner]),
    "d": lambda inner: {_read(key): _read(item) for key, item in inner},
    "s": lambda inner: {_read(item) for item in inner},
    "z": lambda inner: frozenset([_read(item) for item in inner]),
    "b": bytes.fromhex,
    "c": lambda inner: complex(*[float(part) for part in inner]),
}


def write_back(old: Any, new: Any) -> None:
    """Make a mutable value equal to what the other side made of it, in place where it can be."""
    if type(old) is list and type(new) is list:
        for place in range(min(len(old), len(new))):
            new[place] = _kept(old[place], new[place])
        old[:] = new
    elif type(old) is dict and type(new) is dict:
        kept = {key: _kept(old.get(key), item) for key, item in new.items()}
        old.clear()
        old.update(kept)
    elif type(old) is set and type(new) is set:
        old.clear()
        old.update(new)


def _kept(old: Any, new: Any) -> Any:
    """The old object with new content where it is a container of that type, else the new one."""
    if type(old) is type(new) and type(old) in (list, dict, set):
        write_back(old, new)
        return old
    return new


def send_frame(descriptor: int, value: Any, write: Callable[[int, bytes], int] = os.write) -> None:
    """Write a JSON value with its length before it.

    Raises:
        TooLargeError: it is too long.
        ClosedError: nobody reads.
    """
    data = json.dumps(value).encode()
    if len(data) > MAX_FRAME_BYTES:
        raise TooLargeError
    data = struct.pack("<I", len(data)) + data
    try:
        while data:
            data = data[write(descriptor, data) :]
    except BrokenPipeError:
        raise ClosedError from None


def receive_frame(descriptor: int, max_bytes: int = MAX_FRAME_BYTES) -> Any:
    """Read a JSON value.

    Raises:
        ClosedError: the other side ended.
        TooLargeError: it announces too much.
        ProtocolError: no JSON.
    """
    (size,) = struct.unpack("<I", _read_bytes(descriptor, 4))
    if size > max_bytes:
        raise TooLargeError
    try:
        return json.loads(_read_bytes(descriptor, size))
    except (ValueError, RecursionError):
        raise ProtocolError("no JSON") from None


def _read_bytes(descriptor: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = os.read(descriptor, size - len(data))
        if not chunk:
            raise ClosedError
        data += chunk
    return bytes(data)
