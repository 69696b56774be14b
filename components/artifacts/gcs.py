"""Storage in Google Cloud Storage: `gs://bucket/folder`.

Create-only is `if_generation_match=0`: of many writers one wins, whoever they are. Scratch, and
copies of files that must have a path, are on this machine.
"""

import contextlib
import glob
import os
import re
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from google.api_core import exceptions
from google.cloud import storage

from components.artifacts.errors import CorruptArtifactError, StorageError
from components.artifacts.gcs_client import named_errors, open_bucket, request_options
from components.artifacts.gcs_lease import Lease
from components.artifacts.gcs_transfer import (
    download,
    download_range,
    download_to,
    upload,
    writer_of,
)

SCRATCH_VARIABLE = "CODEKILN_SCRATCH"
"""A folder on this machine for unfinished work and copies; in a pod, a volume of its own."""

BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")

COPIES_KEPT_S = 7 * 24 * 3600
"""A copy that nobody used for this long is removed when the next one is made."""

REMOVED_AT_ONCE = 16
"""Each removal is a request of some 30 ms."""


@dataclass(frozen=True)
class GcsStorage:
    """A folder of a bucket. Picklable: each process has a client of its own."""

    bucket_name: str
    prefix: str
    """Without slashes at its ends; empty for the whole bucket."""

    @classmethod
    def at(cls, uri: str) -> "GcsStorage":
        """Open a `gs://` URI.

        Raises:
            StorageError: it names no bucket.
        """
        bucket, _, prefix = uri.removeprefix("gs://").partition("/")
        if not BUCKET.fullmatch(bucket):
            raise StorageError(
                f"expected gs://BUCKET/FOLDER, got {uri!r}: a bucket's name has 3 to 222 small "
                "letters, digits, '-', '_' and '.'"
            )
        return cls(bucket, prefix.strip("/"))

    @property
    def uri(self) -> str:
        return f"gs://{self.bucket_name}/{self.prefix}".rstrip("/")

    def child(self, name: str) -> "GcsStorage":
        return GcsStorage(self.bucket_name, self._full(name.strip("/")))

    def exists(self, name: str) -> bool:
        blob = self._bucket().blob(self._full(name))
        with named_errors("read", self._uri_of(name)):
            return bool(blob.exists(**request_options()))

    def read(self, name: str) -> bytes:
        blob = self._blob(name)
        with named_errors("read", self._uri_of(name)):
            return download(blob)

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        blob = self._blob(name)
        with named_errors("read", self._uri_of(name)):
            return download_range(blob, start, min(stop, int(blob.size)))

    def local_path(self, name: str) -> Path:
        blob = self._blob(name)
        copy = self._scratch_root("copies") / self._full(name)
        # Files of a folder lie in one folder, as loaders of models expect; a mark beside each says
        # which generation it is of.
        mark = copy.with_name(f".{copy.name}.{blob.generation}")
        if copy.is_file() and mark.is_file():
            os.utime(copy)
            return copy
        copy.parent.mkdir(parents=True, exist_ok=True)
        _remove_old(self._scratch_root("copies"))
        temporary = copy.with_name(f".{copy.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        try:
            with named_errors("read", self._uri_of(name)):
                download_to(blob, temporary)
            for old in copy.parent.glob(f".{glob.escape(copy.name)}.[0-9]*[0-9]"):
                old.unlink(missing_ok=True)
            temporary.replace(copy)
            mark.touch()
        finally:
            temporary.unlink(missing_ok=True)
        return copy

    def create(self, name: str, data: bytes) -> bool:
        bucket, full, writer = self._bucket(), self._full(name), secrets.token_hex(16)
        with named_errors("write", self._uri_of(name)):
            try:
                upload(bucket, full, data, writer, if_generation_match=0)
            except exceptions.PreconditionFailed:
                # Taken by another, or by a first try of this call whose answer was lost.
                return writer_of(bucket.get_blob(full, **request_options())) == writer
        return True

    def replace(self, name: str, data: bytes) -> None:
        with named_errors("write", self._uri_of(name)):
            upload(self._bucket(), self._full(name), data, secrets.token_hex(16))

    def remove(self, name: str) -> None:
        blob = self._bucket().blob(self._full(name))
        with named_errors("remove", self._uri_of(name), missing_ok=True):
            blob.delete(**request_options())

    def clear(self) -> None:
        with ThreadPoolExecutor(REMOVED_AT_ONCE) as threads:
            for _ in threads.map(self.remove, self.names()):
                pass

    def names(self) -> list[str]:
        start = f"{self.prefix}/" if self.prefix else ""
        with named_errors("list", self.uri):
            found = self._bucket().list_blobs(
                prefix=start, fields="items(name),nextPageToken", **request_options()
            )
            return sorted(blob.name.removeprefix(start) for blob in found)

    def modified_unix_s(self, name: str) -> float:
        return float(self._blob(name).updated.timestamp())

    def lease(self) -> contextlib.AbstractContextManager[None]:
        return Lease(self._bucket(), self._beside("lease"), self.uri).hold()

    def scratch(self) -> Path:
        path = self._scratch_root("unfinished") / self.prefix
        path.mkdir(parents=True, exist_ok=True)
        return path

    def unfinished(self) -> "GcsStorage":
        return GcsStorage(self.bucket_name, self._beside("unfinished"))

    def _beside(self, what: str) -> str:
        """The name of something that belongs to this folder and lies beside it."""
        parent, _, key = self.prefix.rpartition("/")
        return f"{parent}/.{key}.{what}" if parent else f".{key}.{what}"

    def _bucket(self) -> storage.Bucket:
        return open_bucket(self.bucket_name)

    def _blob(self, name: str) -> storage.Blob:
        with named_errors("read", self._uri_of(name)):
            blob = self._bucket().get_blob(self._full(name), **request_options())
        if blob is None:
            raise CorruptArtifactError(
                f"expected file {name!r} in {self.uri}, found none: remove that folder and run "
                "again"
            )
        return blob

    def _full(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _uri_of(self, name: str) -> str:
        return f"gs://{self.bucket_name}/{self._full(name)}"

    def _scratch_root(self, what: str) -> Path:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "codekiln"
        return Path(os.environ.get(SCRATCH_VARIABLE) or cache) / what / self.bucket_name


def _remove_old(folder: Path) -> None:
    """Remove copies that nobody used for long, and pieces of killed downloads with them."""
    oldest = time.time() - COPIES_KEPT_S
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process removes them too
            if path.is_file() and path.stat().st_mtime < oldest:
                path.unlink()
