"""Storage by URI: one small interface, and its backend for the local disk (`gcs.py` has another).

A `Storage` is a folder of named files. Publication is create-only: a name is written once, whole,
or not at all. The backends differ only below this interface.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from components.artifacts.errors import (
    CorruptArtifactError,
    LeaseHeldError,
    MissingExtraError,
    StorageError,
)

TEMPORARY_SUFFIX = ".tmp"


class Storage(Protocol):
    """A folder of named files behind a URI. Names are relative and use `/`."""

    @property
    def uri(self) -> str:
        """The folder's address, as a user would write it."""

    def child(self, name: str) -> "Storage":
        """A folder inside this one."""

    def exists(self, name: str) -> bool:
        """Whether a file of that name was published."""

    def read(self, name: str) -> bytes:
        """The file's bytes. Raises CorruptArtifactError where there is none."""

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Bytes start to stop of a file, or to its end. Raises as `read` does."""

    def local_path(self, name: str) -> Path:
        """A path on this machine that holds the file's bytes (for memory maps and loaders)."""

    def create(self, name: str, data: bytes) -> bool:
        """Publish a file whole. False, and nothing written, where the name is taken."""

    def replace(self, name: str, data: bytes) -> None:
        """Write a file whole over whatever is there: for what no digest covers."""

    def remove(self, name: str) -> None:
        """Take a file away; nothing happens where there is none."""

    def clear(self) -> None:
        """Take every file of this folder and below away, unfinished ones too."""

    def names(self) -> list[str]:
        """The published names in this folder and below, sorted; unfinished files left out."""

    def modified_unix_s(self, name: str) -> float:
        """When a file was published. Raises as `read` does."""

    def lease(self) -> contextlib.AbstractContextManager[None]:
        """Hold this folder as its only writer. Raises LeaseHeldError where a living process does:
        at once on a disk, after a few seconds in a bucket, where only a renewal shows life.
        """

    def scratch(self) -> Path:
        """A folder on this machine for unfinished work of the lease holder, kept after a crash."""

    def unfinished(self) -> "Storage | None":
        """A folder beside this one for unfinished work that must outlive this machine; None where
        `scratch()` lies on the same disk as this folder, and so does that.
        """


def open_storage(uri: str) -> Storage:
    """Open the folder behind a URI: a path, `file://` or `gs://`.

    Raises:
        StorageError: the scheme is not known.
        MissingExtraError: the client of that store is not installed.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return LocalStorage(Path(uri).absolute())
    if scheme == "file":
        return LocalStorage(Path(rest))
    if scheme == "gs":
        return _open_gcs(uri)
    raise StorageError(
        f"expected a path, file:// or gs://, got {uri!r}: no storage is known for {scheme!r}"
    )


def _open_gcs(uri: str) -> Storage:
    try:
        from components.artifacts.gcs import GcsStorage
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "components":
            raise
        raise MissingExtraError(
            f"{uri!r} needs the package 'google-cloud-storage', which is not installed: "
            "pip install 'codekiln[gcs]'"
        ) from error
    return GcsStorage.at(uri)


@dataclass(frozen=True)
class LocalStorage:
    """A folder on the local disk.

    Create-only is a temporary file, fsync, and `link(2)`, which fails where the name is taken.
    The lease is `flock(2)` on a file beside the folder: the kernel frees it with the process.
    """

    root: Path

    @property
    def uri(self) -> str:
        return str(self.root)

    def child(self, name: str) -> "LocalStorage":
        return LocalStorage(self.root / name)

    def exists(self, name: str) -> bool:
        return (self.root / name).is_file()

    def read(self, name: str) -> bytes:
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            raise _missing(name, self.uri) from None

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        with self.local_path(name).open("rb") as file:
            file.seek(start)
            return file.read(max(stop - start, 0))

    def local_path(self, name: str) -> Path:
        path = self.root / name
        if not path.is_file():
            raise _missing(name, self.uri)
        return path

    def create(self, name: str, data: bytes) -> bool:
        temporary = self._write_temporary(name, data)
        try:
            os.link(temporary, self.root / name)
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        _sync_folder((self.root / name).parent)
        return True

    def replace(self, name: str, data: bytes) -> None:
        temporary = self._write_temporary(name, data)
        temporary.replace(self.root / name)
        _sync_folder((self.root / name).parent)

    def remove(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    def clear(self) -> None:
        for path in self.root.rglob("*"):
            if not path.is_dir():
                self.remove(path.relative_to(self.root).as_posix())
        # What fails now is a folder into which another process just wrote.
        shutil.rmtree(self.root, ignore_errors=True)

    def names(self) -> list[str]:
        if not self.root.is_dir():
            return []
        paths = (path for path in self.root.rglob("*") if path.is_file())
        return sorted(
            path.relative_to(self.root).as_posix()
            for path in paths
            if path.suffix != TEMPORARY_SUFFIX
        )

    def modified_unix_s(self, name: str) -> float:
        return self.local_path(name).stat().st_mtime

    @contextlib.contextmanager
    def lease(self) -> Iterator[None]:
        path = self.root.with_name(f".{self.root.name}.lease")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise LeaseHeldError(
                    f"another run is writing {self.uri} ({holder}): wait for it or stop it, "
                    "then start again"
                ) from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            self._sweep()
            yield

    def scratch(self) -> Path:
        path = self.root.with_name(f".{self.root.name}.scratch")
        path.mkdir(parents=True, exist_ok=True)
        return path

    def unfinished(self) -> None:
        return None

    def _write_temporary(self, name: str, data: bytes) -> Path:
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        token = f"{os.getpid()}-{secrets.token_hex(4)}"
        temporary = target.with_name(f".{target.name}.{token}{TEMPORARY_SUFFIX}")
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        return temporary

    def _sweep(self) -> None:
        """Remove what a killed writer left unfinished. Only the lease holder may."""
        if self.root.is_dir():
            for path in self.root.rglob(f".*{TEMPORARY_SUFFIX}"):
                path.unlink(missing_ok=True)


def _missing(name: str, uri: str) -> CorruptArtifactError:
    return CorruptArtifactError(
        f"expected file {name!r} in {uri}, found none: remove that folder and run again"
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
