"""A folder of short-lived files that no crash leaves behind for good.

A killed step cannot remove its files, and those in memory would stay until the machine restarts. So
the owner holds a lock in its folder, and whoever makes the next folder removes those without owner.
"""

import contextlib
import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "codekiln-clean-"
LOCK_NAME = "lock"
MIN_AGE_S = 60.0
"""A younger folder may be one whose owner has not locked it yet."""


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A new folder below another, removed at the end; abandoned ones go first."""
    remove_abandoned(parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    try:
        with (folder / LOCK_NAME).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(parent: Path) -> None:
    """Remove the folders whose owner has died."""
    for folder in parent.glob(PREFIX + "*"):
        # Another user's folder, or one that its owner removes at this moment, is not ours to mind.
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime < MIN_AGE_S:
                continue
            with (folder / LOCK_NAME).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
