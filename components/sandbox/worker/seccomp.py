"""The system calls that a program may make: an allow-list as a BPF program of our own.

Everything that is not listed fails with EPERM. clone3 fails with ENOSYS, so that the C library
falls back to clone, which is allowed for threads alone; signals go to the process itself alone. A
call of another architecture, or of x32, ends the process. Numbers: x86-64's own table and Linux'
generic one, which arm64 has (a test compares both with the kernel's headers).
"""

import ctypes
import errno
import functools
import struct

from components.sandbox.worker.system import (
    MACHINE,
    PR_SET_SECCOMP,
    checked,
)

ALLOWED: dict[str, tuple[int | None, int | None]] = {
    # files
    "read": (0, 63),
    "write": (1, 64),
    "open": (2, None),
    "close": (3, 57),
    "stat": (4, None),
    "fstat": (5, 80),
    "lstat": (6, None),
    "lseek": (8, 62),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "readv": (19, 65),
    "writev": (20, 66),
    "access": (21, None),
    "pipe": (22, None),
    "recvmsg": (47, 212),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "pipe2": (293, 59),
    "fcntl": (72, 25),
    "flock": (73, 32),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "truncate": (76, 45),
    "ftruncate": (77, 46),
    "getdents64": (217, 61),
    "getcwd": (79, 17),
    "chdir": (80, 49),
    "fchdir": (81, 50),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "rmdir": (84, None),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "umask": (95, 166),
    "utimensat": (280, 88),
    "statfs": (137, 43),
    "fstatfs": (138, 44),
    "openat": (257, 56),
    "newfstatat": (262, 79),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "statx": (332, 291),
    "fadvise64": (221, 223),
    "copy_file_range": (326, 285),
    "sendfile": (40, 71),
    "close_range": (436, 436),
    # memory
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "mremap": (25, 216),
    "madvise": (28, 233),
    # signals of its own, time, waiting
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136),
    "rt_sigtimedwait": (128, 137),
    "sigaltstack": (131, 132),
    "select": (23, None),
    "pselect6": (270, 72),
    "poll": (7, None),
    "ppoll": (271, 73),
    "epoll_create1": (291, 20),
    "epoll_ctl": (233, 21),
    "epoll_wait": (232, None),
    "epoll_pwait": (281, 22),
    "eventfd2": (290, 19),
    "sched_yield": (24, 124),
    "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "getitimer": (36, 102),
    "setitimer": (38, 103),
    "alarm": (37, None),
    "pause": (34, None),
    "restart_syscall": (219, 128),
    # about itself
    "getpid": (39, 172),
    "getppid": (110, 173),
    "gettid": (186, 178),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getgroups": (115, 158),
    "getpgrp": (111, None),
    "getpgid": (121, 155),
    "getsid": (124, 156),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "times": (100, 153),
    "uname": (63, 160),
    "sysinfo": (99, 179),
    "getcpu": (309, 168),
    "sched_getaffinity": (204, 123),
    "getrandom": (318, 278),
    "arch_prctl": (158, None),
    # threads, the end
    "futex": (202, 98),
    "set_robust_list": (273, 99),
    "set_tid_address": (218, 96),
    "rseq": (334, 293),
    "membarrier": (324, 283),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
"""Name to its number on x86-64 and on arm64; None where there is no such call."""

OF_ITSELF = {"kill": (62, 129), "tgkill": (234, 131)}
"""Allowed where the first argument is the process's own id."""

PRLIMIT64, CLONE, CLONE3, IOCTL = (302, 261), (56, 220), (435, 435), (16, 29)
CLONE_THREAD = 0x10000
TCGETS, FIOCLEX, FIONCLEX = 0x5401, 0x5451, 0x5450
"""What the interpreter asks of a file that it opens: is it a terminal, close it on exec."""

AUDIT_ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT = 0x40000000

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
KILL_PROCESS, ERRNO, ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
NUMBER_OFFSET, ARCH_OFFSET, FIRST_ARGUMENT, SECOND_ARGUMENT = 0, 4, 16, 24

SECCOMP_MODE_FILTER = 2
PID_MARK = 0x7FFFFFF7
"""No process has this id: Linux' are below 2**22."""


@functools.cache
def filter_template(machine: str) -> bytes:
    """The BPF program of an architecture, with PID_MARK where the process's own id belongs.

    Raises:
        KeyError: an architecture without a table.
    """
    column = 0 if machine == "x86_64" else 1
    refuse = (RETURN, 0, 0, ERRNO | errno.EPERM)
    allow = (RETURN, 0, 0, ALLOW)
    kill = (RETURN, 0, 0, KILL_PROCESS)
    rules = [
        (LOAD, 0, 0, ARCH_OFFSET),
        (EQUAL, 1, 0, AUDIT_ARCHES[machine]),
        kill,
        (LOAD, 0, 0, NUMBER_OFFSET),
        (AT_LEAST, 0, 1, X32_BIT),
        kill,
    ]
    for numbers in ALLOWED.values():
        if (number := numbers[column]) is not None:
            rules += [(EQUAL, 0, 1, number), allow]
    rules += [(EQUAL, 0, 1, CLONE3[column]), (RETURN, 0, 0, ERRNO | errno.ENOSYS)]
    rules += [
        (EQUAL, 0, 3, CLONE[column]),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (ANY_BIT, 0, 1, CLONE_THREAD),
        allow,
        (LOAD, 0, 0, NUMBER_OFFSET),
    ]
    for number in (numbers[column] for numbers in OF_ITSELF.values()):
        rules += _where(number, FIRST_ARGUMENT, (PID_MARK,))
    # Its own limits: they can only be lowered, or raised to the hard ones.
    rules += _where(PRLIMIT64[column], FIRST_ARGUMENT, (0, PID_MARK))
    rules += _where(IOCTL[column], SECOND_ARGUMENT, (TCGETS, FIOCLEX, FIONCLEX))
    rules += [refuse]
    return b"".join(struct.pack("HBBI", *rule) for rule in rules)


def filter_program(machine: str, pid: int) -> bytes:
    """The BPF program of an architecture for the process of an id.

    Raises:
        KeyError: an architecture without a table.
    """
    mark = struct.pack("HBBI", EQUAL, 0, 1, PID_MARK)
    return filter_template(machine).replace(mark, struct.pack("HBBI", EQUAL, 0, 1, pid))


def _where(number: int, offset: int, values: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """Allow a call where the low half of an argument has one of some values."""
    checks: list[tuple[int, int, int, int]] = []
    for value in values:
        checks += [(EQUAL, 0, 1, value), (RETURN, 0, 0, ALLOW)]
    return [
        (EQUAL, 0, len(checks) + 2, number),
        (LOAD, 0, 0, offset),
        *checks,
        (LOAD, 0, 0, NUMBER_OFFSET),
    ]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("rules", ctypes.c_void_p))


def install_filter(pid: int) -> None:
    """Put this process under the filter; no_new_privs must be set.

    Raises:
        OSError: the system has no seccomp filters.
        KeyError: an architecture without a table.
    """
    rules = filter_program(MACHINE, pid)
    held = ctypes.create_string_buffer(rules, len(rules))
    program = _Program(len(rules) // 8, ctypes.addressof(held))
    checked(
        "prctl",
        PR_SET_SECCOMP,
        ctypes.c_ulong(SECCOMP_MODE_FILTER),
        ctypes.byref(program),
        ctypes.c_ulong(0),
        ctypes.c_ulong(0),
    )
