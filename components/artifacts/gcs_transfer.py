"""Bytes to and from Google Cloud Storage: ranges in parallel down, resumable pieces up."""

import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from google.cloud import storage

from components.artifacts.errors import StorageError
from components.artifacts.gcs_client import request_options

PIECE_BYTES = 16 * 2**20
"""Of a range and of a piece of an upload: large enough that a request's delay is small beside it. A
multiple of 256 KiB, as resumable uploads ask. A dropped connection costs one piece."""

PARALLEL_PIECES = 8
"""Ranges of one file at once; memory beside the file itself is at most this many pieces."""

WRITER = "codekiln-writer"
"""The object's metadata that says which call wrote it."""


def upload(bucket: storage.Bucket, name: str, data: bytes, writer: str, **conditions: Any) -> int:
    """Write an object whole; its generation.

    Raises:
        google.api_core.exceptions.PreconditionFailed: a condition does not hold (any more).
    """
    blob = bucket.blob(name, chunk_size=PIECE_BYTES if len(data) > PIECE_BYTES else None)
    blob.metadata = {WRITER: writer}
    blob.upload_from_file(io.BytesIO(data), size=len(data), **conditions, **request_options())
    return int(blob.generation)


def writer_of(blob: storage.Blob | None) -> str:
    """Which call wrote an object."""
    return str((blob.metadata or {}).get(WRITER, "")) if blob else ""


def download(blob: storage.Blob) -> bytes:
    """An object's bytes.

    Args:
        blob: with its size and generation, which all ranges are read of.
    """
    if int(blob.size) <= PIECE_BYTES:
        data: bytes = blob.download_as_bytes(
            if_generation_match=blob.generation, **request_options()
        )
        return data
    buffer, lock = io.BytesIO(), threading.Lock()
    buffer.seek(blob.size - 1)
    buffer.write(b"\0")

    def keep(start: int, data: bytes) -> None:
        with lock:
            buffer.seek(start)
            buffer.write(data)

    _download_ranges(blob, keep)
    return buffer.getvalue()  # shares the buffer's memory


def download_to(blob: storage.Blob, path: Path) -> None:
    """Write an object's bytes into a new file."""
    lock = threading.Lock()
    with path.open("xb") as file:

        def keep(start: int, data: bytes) -> None:
            with lock:
                file.seek(start)
                file.write(data)

        _download_ranges(blob, keep)


def download_range(blob: storage.Blob, start: int, stop: int) -> bytes:
    """Bytes start to stop of an object.

    Raises:
        StorageError: the store sent another number of bytes.
    """
    if start >= stop:
        return b""
    data: bytes = blob.download_as_bytes(
        start=start,
        end=stop - 1,
        if_generation_match=blob.generation,
        checksum=None,  # the store's sums are of whole objects
        **request_options(),
    )
    if len(data) != stop - start:
        raise StorageError(
            f"expected {stop - start} bytes from {start} on, got {len(data)} of "
            f"gs://{blob.bucket.name}/{blob.name}: run again"
        )
    return data


def _download_ranges(blob: storage.Blob, keep: Callable[[int, bytes], None]) -> None:
    size = int(blob.size)

    def fetch(start: int) -> None:
        keep(start, download_range(blob, start, min(start + PIECE_BYTES, size)))

    with ThreadPoolExecutor(PARALLEL_PIECES) as threads:
        for _ in threads.map(fetch, range(0, size, PIECE_BYTES)):
            pass
