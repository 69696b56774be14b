"""Read a gzipped tar as its bytes arrive: nothing is written to a disk, and every bound is kept.

A push parser: the transport feeds what the network gives, in the event loop, and each bound is
checked before memory is spent. (`tarfile` pulls, needs a thread a download, and reads extended
headers of any length whole.) GitHub's archives are made by `git archive`, which writes the commit
into the pax global header.
"""

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from components.artifacts.errors import CodekilnError

BLOCK = 512
GZIP = 31
"""zlib's window bits for gzip with its header and checksum."""

INFLATE_BYTES = 1 << 20
MAX_HEADER_BYTES = 1 << 20
"""An extended header is a name or a few attributes; git's longest path is below 4 KiB."""

RATIO_FROM_BYTES = 1 << 24
"""From here on the ratio of inflated to received bytes is bounded: small files may be all zeros."""

BOMB = "archive_bomb"
TOO_MANY = "too_many_members"
CORRUPT = "corrupt_archive"

LINK = "link"
SPECIAL = "special_file"
UNSAFE_NAME = "unsafe_name"
NAME_NOT_UTF8 = "name_not_utf8"
TOO_LARGE = "too_large"

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


class RefusedArchiveError(CodekilnError):
    """An archive that is not read to its end; `reason` is the class of the dead letter."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(f"expected an archive of a repository, got {text}")
        self.reason = reason


class TruncatedArchiveError(Exception):
    """The bytes ended before the archive did."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveLimits:
    """What an archive may hold."""

    max_members: int = 50_000
    max_inflated_bytes: int = 1 << 30
    max_ratio: int = 100
    """Inflated to received bytes; source code has 3 to 10, zlib reaches 1,032."""

    max_file_bytes: int = 1_000_000
    """Larger members are passed over."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive that was asked for."""

    path: str
    """Inside the repository: without the archive's own folder."""

    data: bytes


@dataclass
class TarReader:
    """Feed it bytes, then `finish`."""

    limits: ArchiveLimits
    wants: Callable[[str], bool]
    """Whether a path is to be kept."""

    on_refused: Callable[[str, str, int], None]
    """Told of each member that is no file to keep: reason, path, bytes."""

    members: list[Member] = field(default_factory=list, repr=False)
    commit: str = ""
    """Of the pax global header; empty where there is none."""

    num_members: int = 0
    received_bytes: int = 0
    inflated_bytes: int = 0

    def __post_init__(self) -> None:
        self._inflate = zlib.decompressobj(GZIP)
        self._buffer = bytearray()
        self._state: Literal["header", "keep", "extend", "skip", "end"] = "header"
        self._left = 0
        """Bytes of data and padding to come, of the member at hand."""
        self._size = 0
        self._path = ""
        self._kind = b""
        self._pax: dict[str, bytes] = {}
        self._long_name: bytes | None = None
        self._root: str | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            RefusedArchiveError: a bound is passed, or it is no such archive.
        """
        self.received_bytes += len(data)
        while data:
            try:
                inflated = self._inflate.decompress(data, INFLATE_BYTES)
            except zlib.error:
                raise RefusedArchiveError(CORRUPT, "bytes that are no gzip") from None
            self._take(inflated)
            data = self._inflate.unconsumed_tail
            if self._inflate.eof:
                data = self._inflate.unused_data
                if not data.startswith(b"\x1f\x8b"):
                    return  # padding behind the last gzip member
                self._inflate = zlib.decompressobj(GZIP)

    def finish(self) -> None:
        """Check that the archive came to its end.

        Raises:
            TruncatedArchiveError: it did not.
        """
        while self._state != "end" and not self._inflate.eof:
            inflated = self._inflate.decompress(b"", INFLATE_BYTES)
            if not inflated:
                break
            self._take(inflated)
        if self._state != "end" or not self._inflate.eof:
            raise TruncatedArchiveError

    def _take(self, inflated: bytes) -> None:
        self.inflated_bytes += len(inflated)
        if self.inflated_bytes > self.limits.max_inflated_bytes:
            raise RefusedArchiveError(BOMB, f"more than {self.limits.max_inflated_bytes:,} bytes")
        if self.inflated_bytes > max(RATIO_FROM_BYTES, self.limits.max_ratio * self.received_bytes):
            raise RefusedArchiveError(
                BOMB, f"{self.inflated_bytes:,} bytes of {self.received_bytes:,} received"
            )
        if self._state == "skip" and len(inflated) < self._left and not self._buffer:
            self._left -= len(inflated)
            return
        self._buffer += inflated
        self._parse()

    def _parse(self) -> None:
        at, buffer = 0, self._buffer
        while True:
            held = len(buffer) - at
            if self._state == "end":
                at = len(buffer)
                break
            if self._state == "header":
                if held < BLOCK:
                    break
                self._read_header(bytes(buffer[at : at + BLOCK]))
                at += BLOCK
            elif self._state == "skip":
                step = min(held, self._left)
                at += step
                self._left -= step
                if self._left:
                    break
                self._state = "header"
            else:
                if held < self._left:
                    break
                self._read_data(bytes(buffer[at : at + self._size]))
                at += self._left
                self._state = "header"
        del buffer[:at]

    def _read_header(self, block: bytes) -> None:
        if not block.strip(b"\0"):
            self._state = "end"
            return
        if _octal(block[148:156]) != sum(block[:148]) + 8 * 32 + sum(block[156:]):
            raise RefusedArchiveError(CORRUPT, "a header with another checksum")
        kind = block[156:157]
        self._size = _number(block[124:136])
        if kind in (b"g", b"x", b"L", b"K"):
            if self._size > MAX_HEADER_BYTES:
                raise RefusedArchiveError(BOMB, f"an extended header of {self._size:,} bytes")
            self._state, self._kind = "extend", kind
            self._left = _padded(self._size)
            return
        self.num_members += 1
        if self.num_members > self.limits.max_members:
            raise RefusedArchiveError(TOO_MANY, f"more than {self.limits.max_members:,} members")
        self._begin_member(kind, self._name_of(block))

    def _name_of(self, block: bytes) -> bytes:
        """The member's name, of an extended header where there was one."""
        name, prefix = (part.split(b"\0", 1)[0] for part in (block[:100], block[345:500]))
        if prefix and block[257:263] == b"ustar\0":
            name = prefix + b"/" + name
        if self._long_name is not None:
            name = self._long_name
        name = self._pax.get("path", name)
        if size := self._pax.get("size"):
            if not size.isdigit() or len(size) > 18:
                raise RefusedArchiveError(CORRUPT, f"a size of {size[:20]!r}")
            self._size = int(size)
        self._pax, self._long_name = {}, None
        return name

    def _begin_member(self, kind: bytes, name: bytes) -> None:
        regular = kind in (b"0", b"\0", b"7") and not name.endswith(b"/")
        if self._size < 0:
            raise RefusedArchiveError(CORRUPT, f"a member of {self._size} bytes")
        has_data = kind not in (b"1", b"2", b"3", b"4", b"5", b"6")
        self._left = _padded(self._size) if has_data else 0
        if self.inflated_bytes - len(self._buffer) + self._left > self.limits.max_inflated_bytes:
            raise RefusedArchiveError(BOMB, f"a member of {self._size:,} bytes")
        self._state = "skip"
        path = self._inner_path(name)
        if not regular:
            if kind in (b"1", b"2"):
                self.on_refused(LINK, path or "", 0)
            elif kind != b"5" and not name.endswith(b"/"):
                self.on_refused(SPECIAL, path or "", self._size)
        elif path is not None and self.wants(path):
            if self._size > self.limits.max_file_bytes:
                self.on_refused(TOO_LARGE, path, self._size)
            else:
                self._state, self._path = "keep", path

    def _inner_path(self, name: bytes) -> str | None:
        """The path inside the repository; None, and told, where the name is none."""
        try:
            text = name.decode()
        except UnicodeDecodeError:
            self.on_refused(NAME_NOT_UTF8, "", self._size)
            return None
        root, _, inner = text.partition("/")
        parts = PurePosixPath(text).parts
        safe = root and self._root in (None, root) and ".." not in parts and text.isprintable()
        if not safe or "\\" in text or inner.startswith("/"):
            self.on_refused(UNSAFE_NAME, "", self._size)
            return None
        self._root = root
        return inner

    def _read_data(self, data: bytes) -> None:
        if self._state == "keep":
            self.members.append(Member(self._path, data))
            return
        if self._kind == b"L":
            self._long_name = data.rstrip(b"\0")
        elif self._kind != b"K":
            fields = _read_pax(data)
            comment = fields.get("comment", b"").decode("ascii", "replace")
            if self._kind == b"g" and _COMMIT.fullmatch(comment):
                self.commit = comment
            if self._kind == b"x":
                self._pax = fields


def _read_pax(data: bytes) -> dict[str, bytes]:
    r"""The records `<length> <key>=<value>\\n` of a pax header (POSIX.1-2001, pax)."""
    fields, at = {}, 0
    while at < len(data):
        blank = data.find(b" ", at, at + 20)
        length = data[at:blank]
        end = at + int(length) if blank > 0 and length.isdigit() else 0
        key, equals, value = data[blank + 1 : end - 1].partition(b"=")
        if not at < end <= len(data) or not equals or data[end - 1 : end] != b"\n":
            raise RefusedArchiveError(CORRUPT, "a pax header that is none")
        fields[key.decode("ascii", "replace")] = value
        at = end
    return fields


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _octal(field_bytes: bytes) -> int:
    text = field_bytes.strip(b" \0")
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise RefusedArchiveError(CORRUPT, "a header that is none") from None


def _number(field_bytes: bytes) -> int:
    """A size: octal, or base 256 where the first bit is set."""
    if field_bytes[0] & 0x80:
        return int.from_bytes(bytes([field_bytes[0] & 0x7F]) + field_bytes[1:], "big")
    return _octal(field_bytes)
