"""No process outlives the one that started it, even when that one is killed at once.

On Linux the kernel sends SIGKILL to a child when its parent ends (`PR_SET_PDEATHSIG`). Elsewhere a
thread looks twice a second whether the parent is still there.
"""

import ctypes
import os
import select
import signal
import sys
import threading
import time

SUPERVISOR_VARIABLE = "CODEKILN_SUPERVISOR_PID"
"""Set by whoever starts a step and wants it to end with itself."""

EXIT_TERMINATED = 143
"""128 + SIGTERM: what Kubernetes expects of a container that ended because it was asked to."""


class TerminatedError(SystemExit):
    """The process was asked to end and has saved what it did; its exit code is 143."""

    def __init__(self, text: str) -> None:
        super().__init__(EXIT_TERMINATED)
        self._text = text

    def __str__(self) -> str:
        return self._text


PR_SET_PDEATHSIG = 1
POLL_INTERVAL_S = 0.5


def become_worker(parent_pid: int) -> None:
    """Tie a worker process to its parent, and leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(parent_pid)


def die_with_parent(parent_pid: int) -> None:
    """Tie this process to its parent.

    Args:
        parent_pid: the parent as the parent knows itself: where it ended before this call, the
            process now has another parent, and ends here.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_watch, args=(parent_pid,), daemon=True).start()
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def _watch(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(POLL_INTERVAL_S)
    os.kill(os.getpid(), signal.SIGKILL)


def die_with(pid: int) -> None:
    """Tie this process to any other, such as a supervisor with a shell in between.

    A thread waits for its end and then kills this process; its own children are tied to it.
    """
    threading.Thread(target=_wait_for, args=(pid,), daemon=True).start()


def _wait_for(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        pass
    except (AttributeError, OSError):  # not Linux, or an old kernel
        while _alive(pid):
            time.sleep(POLL_INTERVAL_S)
    else:
        select.select([descriptor], [], [])
    os.kill(os.getpid(), signal.SIGKILL)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
