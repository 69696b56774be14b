"""Checkpoints where no disk outlives a machine: in a bucket, beside the artifact.

Each machine writes its processes' part of the state on its own disk and copies it while training
goes on. What lies in the bucket:

    STEP-ATTEMPT/                  a checkpoint; ATTEMPT is drawn anew by every run of the processes
        pieces/SHA256              at most PIECE_BYTES of a file, many at once
        machine-I-of-N.json        written last by machine I: its files' pieces, step and history

A checkpoint is whole when the indexes of all N machines are there: a machine that is lost in the
middle leaves the one before. Going on, every machine fetches all files, so that any number of
machines may, and checks every piece.
"""

import hashlib
import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.artifacts.errors import CodekilnError, CorruptArtifactError
from components.artifacts.storage import Storage
from components.training.checkpoints import INDEX, STATE, UNFINISHED, Checkpoint, read_checkpoint
from components.training.launch import Group

logger = logging.getLogger("codekiln.training")

PIECE_BYTES = 16 * 2**20
"""What one request to a bucket carries; a dropped connection costs one piece."""

PARALLEL_PIECES = 8
"""At once, each in memory."""

FETCHED = "fetched"
MACHINE = re.compile(r"(\d{8}-[0-9a-f]{8})/machine-(\d{5})-of-(\d{5})\.json")


@dataclass(frozen=True)
class _Piece:
    path: Path
    start: int


class BucketCheckpoints:
    """The checkpoints of one run, see `Checkpoints`; each machine has a folder of its own."""

    def __init__(self, folder: Path, group: Group, limit: int, storage: Storage) -> None:
        """Look who writes: the first process of each machine, for all of its machine.

        Args:
            folder: on this machine.
            group: the processes that train together.
            limit: how many of the last checkpoints are kept, beside the best.
            storage: which all machines reach.
        """
        self._folder, self._group, self._limit, self._storage = folder, group, limit, storage
        leaders = [rank for rank, local in enumerate(group.gather(group.local_rank)) if local == 0]
        self._leads = group.local_rank == 0
        self._machine = leaders.index(group.rank) if self._leads else 0
        self._machines = len(leaders)
        self._attempt = group.gather(secrets.token_hex(4))[0]
        self._copier = ThreadPoolExecutor(1)
        self._copying: Future[None] | None = None
        self._step = 0

    def save(
        self,
        step: int,
        write: Callable[[Path], None],
        history: dict[str, Any],
        validation: float | None = None,
    ) -> None:
        """Write on this disk, and copy while training goes on, see `Checkpoints`."""
        self.settle()
        local = self._folder / UNFINISHED
        if self._leads:
            shutil.rmtree(self._folder / FETCHED, ignore_errors=True)
            shutil.rmtree(local, ignore_errors=True)
            (local / STATE).mkdir(parents=True)
        self._group.gather(None)
        write(local / STATE)
        self._group.gather(None)
        if self._leads:
            index = {"step": step, "history": history, "validation": validation}
            self._step = step
            self._copying = self._copier.submit(self._copy, local, step, index)

    def settle(self) -> None:
        """Wait until the last checkpoint of this machine is in the bucket, or is given up."""
        if self._copying is None:
            return
        try:
            self._copying.result()
        except (CodekilnError, OSError) as error:
            logger.warning(
                "the checkpoint of step %d is not in %s (%s): a lost machine goes on from the one "
                "before; the next is tried as usual",
                self._step,
                self._storage.uri,
                " ".join(str(error).split()),
            )
        self._copying = None
        shutil.rmtree(self._folder / UNFINISHED, ignore_errors=True)

    def last(self) -> Checkpoint | None:
        """The last checkpoint that is whole and can be read, see `Checkpoints`."""
        while True:
            names = [*self._find_whole()] if self._group.rank == 0 else []
            name = self._group.gather(names[-1] if names else None)[0]
            if name is None:
                return None
            if (found := self._fetch_everywhere(name)) is not None:
                return found
            if self._group.rank == 0:
                logger.warning("the checkpoint %s is damaged: it is removed", name)
                self._storage.child(name).clear()

    def best(self) -> Checkpoint | None:
        """The whole checkpoint with the lowest validation, see `Checkpoints`."""
        self.settle()
        self._group.gather(None)
        name = self._best(self._find_whole()) if self._group.rank == 0 else None
        name = self._group.gather(name)[0]
        return self._fetch_everywhere(name) if name else None

    def _copy(self, local: Path, step: int, index: dict[str, Any]) -> None:
        """Copy this machine's files, its index last; the first machine removes what is old."""
        place = self._storage.child(f"{step:08d}-{self._attempt}")
        paths = sorted(path for path in local.rglob("*") if path.is_file())
        pieces = [piece for path in paths for piece in _cut(path)]

        def keep(piece: _Piece) -> str:
            data = _read_piece(piece)
            sha256 = hashlib.sha256(data).hexdigest()
            place.create(f"pieces/{sha256}", data)
            return sha256

        files: dict[str, list[str]] = {path.relative_to(local).as_posix(): [] for path in paths}
        with ThreadPoolExecutor(PARALLEL_PIECES) as threads:
            for piece, sha256 in zip(pieces, threads.map(keep, pieces), strict=True):
                files[piece.path.relative_to(local).as_posix()].append(sha256)
        place.replace(
            f"machine-{self._machine:05d}-of-{self._machines:05d}.json",
            json.dumps({**index, "files": files}).encode(),
        )
        if self._machine == 0:
            self._remove_old()

    def _find_whole(self) -> dict[str, list[str]]:
        """The whole checkpoints by name, the oldest first: the names of their indexes."""
        found: dict[tuple[str, int], list[str]] = {}
        for name in self._storage.names():
            if match := MACHINE.fullmatch(name):
                found.setdefault((match[1], int(match[3])), []).append(name)
        return {
            checkpoint: sorted(indexes)
            for (checkpoint, machines), indexes in sorted(found.items())
            if len(indexes) == machines
        }

    def _best(self, whole: dict[str, list[str]]) -> str | None:
        looked = []
        for name, indexes in whole.items():
            validation = json.loads(self._storage.read(indexes[0]))["validation"]
            if validation is not None:
                looked.append((validation, name))
        return min(looked)[1] if looked else None

    def _remove_old(self) -> None:
        """Remove what is older than the last whole one and not kept; what was left half too."""
        whole = self._find_whole()
        kept = {*[*whole][-self._limit :], self._best(whole)}
        last = max(whole, default="")
        names = {name.split("/")[0] for name in self._storage.names()}
        for name in sorted(names - kept):
            if name < last:
                self._storage.child(name).clear()

    def _fetch_everywhere(self, name: str) -> Checkpoint | None:
        """A checkpoint on every machine's disk; None where one of them could not read it."""
        fetched = True
        if self._leads:
            try:
                self._fetch(name)
            except (CorruptArtifactError, ValueError, KeyError):
                fetched = False
        whole = all(self._group.gather(fetched))
        return read_checkpoint(self._folder / FETCHED) if whole else None

    def _fetch(self, name: str) -> None:
        """Write the files of all machines under this machine's folder.

        Raises:
            CorruptArtifactError: a piece is missing or is not what its name says.
        """
        local = self._folder / FETCHED
        shutil.rmtree(local, ignore_errors=True)
        indexes = [json.loads(self._storage.read(one)) for one in self._find_whole().get(name, ())]
        if not indexes:
            raise CorruptArtifactError(f"expected a checkpoint {name!r} in {self._storage.uri}")
        pieces = self._storage.child(name).child("pieces")
        wanted = []
        for index in indexes:
            for file, hashes in index["files"].items():
                path = local / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
                wanted += [
                    (_Piece(path, number * PIECE_BYTES), sha256)
                    for number, sha256 in enumerate(hashes)
                ]
        with ThreadPoolExecutor(PARALLEL_PIECES) as threads:
            for _ in threads.map(lambda one: _fetch_piece(pieces, *one), wanted):
                pass
        (local / INDEX).write_text(json.dumps({**indexes[0], "files": {}}))


def _cut(path: Path) -> Iterator[_Piece]:
    for start in range(0, path.stat().st_size, PIECE_BYTES):
        yield _Piece(path, start)


def _read_piece(piece: _Piece) -> bytes:
    with piece.path.open("rb") as file:
        file.seek(piece.start)
        return file.read(PIECE_BYTES)


def _fetch_piece(pieces: Storage, piece: _Piece, sha256: str) -> None:
    data = pieces.read(sha256)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CorruptArtifactError(f"expected the piece {sha256} in {pieces.uri}, got other bytes")
    descriptor = os.open(piece.path, os.O_WRONLY)
    try:
        os.pwrite(descriptor, data, piece.start)
    finally:
        os.close(descriptor)
