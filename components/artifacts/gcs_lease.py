"""One writer of a folder in Google Cloud Storage: an object that its holder keeps renewing.

The object is created where there is none, and every renewal names the generation that it replaces,
so two holders cannot both go on. Who finds it held watches it: a new generation means that the
holder lives; none for LEASE_S means that it is lost, and the lease is taken over. No clock is
compared with another machine's.
"""

import contextlib
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.api_core import exceptions
from google.cloud import storage

from components.artifacts.errors import CodekilnError, LeaseHeldError
from components.artifacts.gcs_client import named_errors, request_options
from components.artifacts.gcs_transfer import upload, writer_of

RENEW_S = 10.0
LEASE_S = 60.0
"""A holder that renewed nothing for this long is lost: six renewals missed."""

POLL_S = 1.0

logger = logging.getLogger("codekiln")


@dataclass(frozen=True)
class Lease:
    """The lease of one folder."""

    bucket: storage.Bucket
    name: str
    """Of the lease's object."""

    uri: str
    """Of the folder, for people."""

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Be the only writer.

        Raises:
            LeaseHeldError: another process holds it and lives; or took it over, because this one
                renewed nothing for too long.
        """
        holder = _describe_process()
        generation = self._acquire(holder)
        renewal = _Renewal(self, holder, generation)
        try:
            yield
        finally:
            renewal.stop()
            self._release(renewal.generation)
        if renewal.lost:
            raise LeaseHeldError(
                f"expected to hold {self.uri} to the end, lost it to another run: what was "
                "published is kept, run again to see that it is whole"
            )

    def write(self, holder: str, replaced: int) -> int | None:
        """Write the object over a generation of it, 0 for none; None where that is not the one."""
        writer = f"{holder}#{secrets.token_hex(8)}"
        with named_errors("write", self.uri):
            try:
                return upload(
                    self.bucket, self.name, holder.encode(), writer, if_generation_match=replaced
                )
            except exceptions.PreconditionFailed:
                held = self._look()  # the answer to a first try may have been lost
                return int(held.generation) if held and writer_of(held) == writer else None

    def _acquire(self, holder: str) -> int:
        generation = self.write(holder, 0)
        while generation is None:
            held = self._look()
            if held is None:
                generation = self.write(holder, 0)
            elif _is_gone(writer_of(held).partition("#")[0]) or self._is_lost(held):
                logger.warning("the lease of %s is taken over from %s", self.uri, _name(held))
                generation = self.write(holder, int(held.generation))
        return generation

    def _is_lost(self, held: storage.Blob) -> bool:
        """Watch until the holder renews, which raises, or is lost; False where it let go."""
        deadline = time.monotonic() + LEASE_S
        while time.monotonic() < deadline:
            time.sleep(POLL_S)
            now = self._look()
            if now is None:
                return False
            if now.generation != held.generation:
                raise LeaseHeldError(
                    f"another run is writing {self.uri} ({_name(now)}): wait for it or stop it, "
                    "then start again"
                )
        return True

    def _look(self) -> storage.Blob | None:
        with named_errors("read", self.uri):
            return self.bucket.get_blob(self.name, **request_options())

    def _release(self, generation: int) -> None:
        blob = self.bucket.blob(self.name)
        with named_errors("remove", self.uri, missing_ok=True):
            blob.delete(if_generation_match=generation, **request_options())


class _Renewal:
    """A thread that renews a lease until it is stopped or finds it lost."""

    def __init__(self, lease: Lease, holder: str, generation: int) -> None:
        self.generation = generation
        self.lost = False
        self._lease = lease
        self._holder = holder
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._stopped.wait(RENEW_S):
            try:
                generation = self._lease.write(self._holder, self.generation)
            except CodekilnError as error:
                logger.warning("the lease of %s was not renewed: %s", self._lease.uri, error)
                continue
            if generation is None:
                self.lost = True
                logger.error("the lease of %s was taken over by another run", self._lease.uri)
                return
            self.generation = generation


def _describe_process() -> str:
    """A process as no other is named: number, machine, start of machine and process."""
    pid = os.getpid()
    return f"process {pid} on {socket.gethostname()} {_start_of(pid)}"


def _name(held: storage.Blob) -> str:
    """What people know of a holder."""
    return " ".join(writer_of(held).split()[:4]) or "unknown"


def _is_gone(holder: str) -> bool:
    """Whether a holder was a process of this machine that has ended: no need to wait for it."""
    words = holder.split()
    if len(words) != 5 or words[3] != socket.gethostname() or not words[1].isdecimal():
        return False
    here = _start_of(int(words[1]))
    return here != words[4] and "unknown" not in (here, words[4])


def _start_of(pid: int) -> str:
    """When a process started, counted from the machine's start, which is named too."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        stat = Path("/proc/self/stat" if pid == os.getpid() else f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return "none" if Path("/proc/self/stat").exists() else "unknown"
    return f"{boot}/{stat.rpartition(')')[2].split()[19]}"
