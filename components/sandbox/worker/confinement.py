"""What a forked process gives up before any code of a program runs in it."""

import os
import random
import resource
import signal
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from components.sandbox.worker.landlock import restrict_self
from components.sandbox.worker.seccomp import install_filter
from components.sandbox.worker.system import (
    LINUX,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    drop_capabilities,
    process_control,
)

UNPRIVILEGED_ID = 65534
"""`nobody`."""

MAX_OPEN_FILES = 64
REPORT_MEMORY_BYTES = 2**26
"""Address space above the limit that a process gets back after a MemoryError, to report it."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one program may use."""

    cpu_s: int
    wall_s: float
    memory_bytes: int
    file_bytes: int
    keep_user: bool = False
    """Whether root runs programs as root: to test what only then can happen."""


@dataclass(frozen=True, kw_only=True)
class Cage:
    """What every process of a program is put into; made once in the nursery."""

    limits: Limits
    folder: str
    """The scratch folder, as the program sees it."""

    ruleset: int
    """A descriptor of Landlock's ruleset; -1 for none."""

    filtered: bool
    """Whether system calls are filtered."""

    trusted: bool = False
    """Whether it is for a test, which stays for more than one program and renews its limit on
    processor time itself."""

    unprivileged: bool
    """Whether to become `nobody`: this process may, and the interpreter stays readable."""


def hand_down(cage: Cage) -> None:
    """Set in the nursery what every process forked from it inherits.

    Session, streams, folder, environment, mask, limits, no new privileges, the state of `random`:
    done here once, because each page that a forked process touches first costs it microseconds.
    """
    os.setsid()  # no signal of a terminal comes here any more
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    silence = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(silence, descriptor)
    os.close(silence)
    os.chdir(cage.folder)
    tempfile.tempdir = cage.folder
    os.environ.clear()
    os.umask(0o077)
    process_control(PR_SET_NO_NEW_PRIVS, 1)
    limit_resources(cage)
    random.seed(0)  # from the system's randomness verdicts would not repeat


def confine(cage: Cage, keep: Iterable[int]) -> None:
    """Cut this process off: session, descriptors, user, processor time, files, system calls.

    Args:
        cage: what to put it into.
        keep: descriptors that stay open, beside the streams.
    """
    os.setsid()
    close_descriptors((*keep, cage.ruleset) if cage.ruleset >= 0 else keep)
    if cage.unprivileged:
        os.setgroups([])
        os.setgid(UNPRIVILEGED_ID)
        os.setuid(UNPRIVILEGED_ID)
    if LINUX:
        drop_capabilities()
    process_control(PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user would clear it
    process_control(PR_SET_DUMPABLE, 0)
    hard = resource.RLIM_INFINITY if cage.trusted else cage.limits.cpu_s + 1
    resource.setrlimit(resource.RLIMIT_CPU, (cage.limits.cpu_s, hard))
    if cage.ruleset >= 0:
        restrict_self(cage.ruleset)
        os.close(cage.ruleset)
    if cage.filtered:
        install_filter(os.getpid())
    else:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def close_descriptors(keep: Iterable[int]) -> None:
    """Close all descriptors but the standard streams and some."""
    low = 3
    for descriptor in sorted(keep):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, _max_descriptor())


def _max_descriptor() -> int:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 65536 if soft == resource.RLIM_INFINITY else min(soft, 65536)


def limit_resources(cage: Cage) -> None:
    """Set this process's resource limits; what the system does not know is left out.

    Processor time is not among them, and threads are bounded by address space. Processes are
    bounded by the filter of system calls, and without one by RLIMIT_NPROC, which counts all of the
    user's: both are set in a process that starts none.
    """
    limits = cage.limits
    wanted = [
        ("RLIMIT_CORE", 0, 0),
        ("RLIMIT_FSIZE", limits.file_bytes, limits.file_bytes),
        ("RLIMIT_NOFILE", MAX_OPEN_FILES, MAX_OPEN_FILES),
        ("RLIMIT_MSGQUEUE", 0, 0),
        ("RLIMIT_MEMLOCK", 0, 0),
        ("RLIMIT_AS", limits.memory_bytes, limits.memory_bytes + REPORT_MEMORY_BYTES),
    ]
    for name, soft, hard in wanted:
        # RLIMIT_MSGQUEUE has no name in the standard library.
        number = 12 if name == "RLIMIT_MSGQUEUE" and LINUX else getattr(resource, name, None)
        if number is not None:
            with suppress(OSError, ValueError):
                _set_limit(number, soft, hard)


def _set_limit(number: int, soft: int, hard: int) -> None:
    ceiling = resource.getrlimit(number)[1]
    if ceiling != resource.RLIM_INFINITY:
        unlimited = hard == resource.RLIM_INFINITY
        soft, hard = min(soft, ceiling), ceiling if unlimited else min(hard, ceiling)
    resource.setrlimit(number, (soft, hard))
