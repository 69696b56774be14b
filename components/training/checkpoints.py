"""Checkpoints of an unfinished run: written whole or not at all, and checked when read.

On a disk they live in the step's scratch folder and go with it when the model is published; for a
data root in a bucket `bucket_checkpoints.py` keeps them there. A checkpoint is
a folder named by its step, with what the backend wrote and `checkpoint.json`, which says the step,
the history and every file's hash. It is written under another name and renamed when all of it is on
the disk: a run that is killed meanwhile leaves the one before.

All processes of a launch write into the same folder, each its own files; rank 0 renames.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from components.training.launch import Group

logger = logging.getLogger("codekiln.training")

NAME = re.compile(r"\d{8}")
UNFINISHED = "unfinished"
STATE = "state"
"""The folder inside a checkpoint that the backend writes and reads."""

INDEX = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint."""

    folder: Path
    step: int
    history: dict[str, Any]
    validation: float | None
    """Bits per byte of the look at this step; None where there was none."""

    @property
    def state(self) -> Path:
        """What the backend wrote."""
        return self.folder / STATE


class Checkpoints(Protocol):
    """The checkpoints of one run. All processes of a launch call alike."""

    def save(
        self,
        step: int,
        write: Callable[[Path], None],
        history: dict[str, Any],
        validation: float | None = None,
    ) -> None:
        """Write a checkpoint, and remove those that are no longer kept.

        Args:
            step: updates done.
            write: writes this process' part of the state into a folder that is there.
            history: what the run tells of itself, as JSON.
            validation: bits per byte at this step.
        """

    def last(self) -> Checkpoint | None:
        """The last checkpoint that is whole; None where there is none.

        A damaged one is removed with a warning, and the one before it is taken.
        """

    def best(self) -> Checkpoint | None:
        """The whole checkpoint with the lowest validation; None where none was looked at."""

    def settle(self) -> None:
        """Wait until what was saved is where it is kept."""


@dataclass(frozen=True)
class DiskCheckpoints:
    """Checkpoints in a folder that all processes see."""

    folder: Path
    """The scratch folder."""

    group: Group
    limit: int = 2
    """How many of the last ones are kept."""

    def save(
        self,
        step: int,
        write: Callable[[Path], None],
        history: dict[str, Any],
        validation: float | None = None,
    ) -> None:
        """Write a checkpoint beside the others and rename it, see `Checkpoints`."""
        unfinished = self.folder / UNFINISHED
        if self.group.rank == 0:
            shutil.rmtree(unfinished, ignore_errors=True)
            (unfinished / STATE).mkdir(parents=True)
        self.group.gather(None)
        write(unfinished / STATE)
        self.group.gather(None)
        shares = self.group.gather(_hashes(unfinished, self.group))
        if self.group.rank == 0:
            files = {name: sha256 for share in shares for name, sha256 in share.items()}
            index = {"step": step, "history": history, "validation": validation, "files": files}
            _write_synced(unfinished / INDEX, json.dumps(index).encode())
            _sync_folders(unfinished)
            target = self.folder / f"{step:08d}"
            shutil.rmtree(target, ignore_errors=True)
            unfinished.rename(target)
            _sync(self.folder)
            self._rotate()
        self.group.gather(None)

    def settle(self) -> None:
        """Nothing to wait for: what is saved lies on the disk."""

    def last(self) -> Checkpoint | None:
        """The last checkpoint that is whole, see `Checkpoints`."""
        found = None
        if self.group.rank == 0:
            for path in reversed(self._paths()):
                if _is_whole(path):
                    found = path.name
                    break
                logger.warning("the checkpoint %s is damaged: it is removed", path)
                shutil.rmtree(path)
        name = self.group.gather(found)[0]
        return read_checkpoint(self.folder / name) if name else None

    def best(self) -> Checkpoint | None:
        """The whole checkpoint with the lowest validation, see `Checkpoints`."""
        found = None
        if self.group.rank == 0:
            looked = [
                one for one in map(read_checkpoint, self._paths()) if one.validation is not None
            ]
            ranked = sorted(looked, key=lambda one: (one.validation, one.step))
            found = next((one.folder.name for one in ranked if _is_whole(one.folder)), None)
        name = self.group.gather(found)[0]
        return read_checkpoint(self.folder / name) if name else None

    def _paths(self) -> list[Path]:
        """The folders of the checkpoints, the oldest first."""
        return sorted(path for path in self.folder.iterdir() if NAME.fullmatch(path.name))

    def _rotate(self) -> None:
        paths = self._paths()
        looked = [one for one in map(read_checkpoint, paths) if one.validation is not None]
        best = min(looked, key=lambda one: (one.validation, one.step)).folder if looked else None
        for path in paths[: -self.limit]:
            if path != best:
                shutil.rmtree(path)


def read_checkpoint(folder: Path) -> Checkpoint:
    """A checkpoint that lies on this disk, by its index."""
    try:
        index = json.loads((folder / INDEX).read_bytes())
        return Checkpoint(folder, index["step"], index["history"], index["validation"])
    except (OSError, ValueError, KeyError):
        return Checkpoint(folder, int(folder.name), {}, None)


def _is_whole(folder: Path) -> bool:
    try:
        index = json.loads((folder / INDEX).read_bytes())
        return all(_hash(folder / name) == sha256 for name, sha256 in index["files"].items())
    except (OSError, ValueError, KeyError):
        return False


def _hashes(folder: Path, group: Group) -> dict[str, str]:
    """The hashes of this process' share of the files, which are on the disk then."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    shares = {}
    for path in paths[group.rank :: group.size]:
        _sync(path)
        shares[path.relative_to(folder).as_posix()] = _hash(path)
    return shares


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_synced(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    _sync(path)


def _sync_folders(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
