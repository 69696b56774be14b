"""Calls of the system that the standard library lacks, through ctypes; Linux only, else refused."""

import contextlib
import ctypes
import errno
import os
import platform
import sys

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP = 1, 4, 22
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT = 1, 2, 4, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2

AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = -100, 0x8000, 1
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
MOUNT_SETATTR = 442  # the same number on every architecture, as all since Linux 5.1

CAPABILITY_VERSION_3 = 0x20080522

LINUX = sys.platform == "linux"
MACHINE = platform.machine()

_libc = ctypes.CDLL(None, use_errno=True) if LINUX else None
_plain_fork = ctypes.PyDLL(None).fork if LINUX else os.fork


def system_call(number: int, *arguments: object) -> int:
    """A system call by its number.

    Raises:
        OSError: it failed, or this is no Linux.
    """
    return checked("syscall", ctypes.c_long(number), *arguments)


def checked(name: str, *arguments: object) -> int:
    """A function of libc that answers -1 and errno where it fails.

    Raises:
        OSError: it failed, or this is no Linux.
    """
    if _libc is None:
        raise OSError(38, f"{name} is for Linux")
    result = int(getattr(_libc, name)(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def process_control(option: int, value: int) -> None:
    """Set an option of the process where the system knows it: gVisor does not know all.

    What must hold is proved afterwards: no filter of system calls can be set by a process without
    capabilities where `no_new_privs` is not.
    """
    with contextlib.suppress(OSError):
        checked("prctl", option, ctypes.c_ulong(value), *(ctypes.c_ulong(0),) * 3)


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount a file system, or change a mount."""
    texts = [text.encode() for text in (source, target, kind)]
    checked("mount", *texts, ctypes.c_ulong(flags), options.encode())


def make_read_only(target: str) -> None:
    """Make a mount and all below it read-only, as mount_setattr(2) does since Linux 5.12."""
    attributes = (ctypes.c_uint64 * 4)(MOUNT_ATTR_RDONLY, 0, 0, 0)
    system_call(
        MOUNT_SETATTR,
        ctypes.c_long(AT_FDCWD),
        ctypes.c_char_p(target.encode()),
        ctypes.c_long(AT_RECURSIVE),
        attributes,
        ctypes.c_long(ctypes.sizeof(attributes)),
    )


def pivot_root_here() -> None:
    """Make the working folder, a mount, the root of this mount namespace; the old one is gone."""
    here = ctypes.c_char_p(b".")
    system_call(PIVOT_ROOT[MACHINE], here, here)
    checked("umount2", b".", MNT_DETACH)
    os.chdir("/")


_CAPABILITY_HEADER = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
_NO_CAPABILITIES = (ctypes.c_uint32 * 6)()


def drop_capabilities() -> None:
    """Give up every capability, which the first process of a user namespace has all of."""
    checked("capset", _CAPABILITY_HEADER, _NO_CAPABILITIES)


def fork_plainly() -> int:
    """fork(2) of a process of one thread, without what the interpreter does after it.

    That is for locks that other threads held and for `random`, whose state is then inherited; it
    touches 170 pages, a third of what a fork costs (0.4 of 1.1 ms, Python 3.11).

    Raises:
        OSError: no process can be made.
    """
    pid = int(_plain_fork())
    if pid < 0:
        raise OSError(errno.EAGAIN, "fork: no process can be made")
    return pid
