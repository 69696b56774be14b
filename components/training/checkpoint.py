"""Checkpoints of an unfinished run: written whole or not at all, and checked when read.

They live in the step's scratch folder and go with it when the model is published. A file's name
holds the step and the hash of its bytes: `00000200-<sha16>.pt`.
"""

import hashlib
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

logger = logging.getLogger("codekiln.training")

KEPT = 2
"""Checkpoints that are kept: the last, and one more in case the last is damaged."""

NAME = re.compile(r"(\d{8})-([0-9a-f]{16})\.pt")
UNFINISHED = "unfinished.pt.tmp"


def save_checkpoint(folder: Path, step: int, state: Mapping[str, Any]) -> None:
    """Write a checkpoint, and remove those that are no longer kept.

    Args:
        folder: the scratch folder.
        step: updates done.
        state: tensors, numbers, strings, and lists and dictionaries of them.
    """
    temporary = folder / UNFINISHED
    with temporary.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / f"{step:08d}-{_hash(temporary)}.pt")
    for _, path in _checkpoints(folder)[:-KEPT]:
        path.unlink()


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The state of the last checkpoint that is whole; None where there is none.

    A damaged one is removed with a warning, and the one before it is taken.
    """
    for step, path in reversed(_checkpoints(folder)):
        if path.name.partition("-")[2] == f"{_hash(path)}.pt":
            state: dict[str, Any] = torch.load(path, weights_only=True)
            return state
        logger.warning("the checkpoint of step %d is damaged: it is removed, %s", step, path)
        path.unlink()
    return None


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Step and file of each checkpoint, the oldest first."""
    found = []
    for path in folder.iterdir():
        if match := NAME.fullmatch(path.name):
            found.append((int(match[1]), path))
    return sorted(found)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
