"""What of the file system a program may see: the interpreter to read, its own folder to write.

Landlock is in Linux since 5.13; version 4 of its interface adds TCP, version 6 signals and abstract
sockets. A ruleset is made once; each program's process puts itself under it.
"""

import ctypes
import os
from collections.abc import Sequence

from components.sandbox.worker.system import LINUX, system_call

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION_FLAG = 1
RULE_PATH_BENEATH = 1

WRITE_FILE, READ_FILE, READ_DIR = 1 << 1, 1 << 2, 1 << 3
EXECUTE = 1 << 0
RIGHTS_BY_VERSION = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights over files each version of the interface knows; later ones know 16."""

NUM_RIGHTS = 16


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("descriptor", ctypes.c_int32))


def landlock_version() -> int:
    """The version of Landlock's interface; 0 where there is none."""
    if not LINUX:
        return 0
    try:
        return system_call(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(VERSION_FLAG))
    except OSError:
        return 0


def make_ruleset(readable: Sequence[str], files: Sequence[str], folder: str) -> int:
    """A descriptor of a ruleset.

    Args:
        readable: paths that may be read, with all below.
        files: single files that may be read and written, such as /dev/null.
        folder: the folder in which everything but running programs is allowed.

    Raises:
        OSError: there is no Landlock.
    """
    version = landlock_version()
    rights = (1 << RIGHTS_BY_VERSION.get(version, NUM_RIGHTS)) - 1
    handled = _Ruleset(rights, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = system_call(
        CREATE_RULESET, ctypes.byref(handled), ctypes.c_size_t(size), ctypes.c_uint32(0)
    )
    allowed = [(path, READ_FILE | READ_DIR) for path in readable]
    allowed += [(path, READ_FILE | WRITE_FILE) for path in files]
    for path, granted in [*allowed, (folder, rights & ~EXECUTE)]:
        if os.path.exists(path):
            if not os.path.isdir(path):
                granted &= READ_FILE | WRITE_FILE
            _add(ruleset, path, granted & rights)
    return ruleset


def _add(ruleset: int, path: str, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = _Beneath(rights, descriptor)
        system_call(
            ADD_RULE,
            ctypes.c_int(ruleset),
            ctypes.c_int(RULE_PATH_BENEATH),
            ctypes.byref(rule),
            ctypes.c_uint32(0),
        )
    finally:
        os.close(descriptor)


def restrict_self(ruleset: int) -> None:
    """Put this process under a ruleset; no_new_privs must be set."""
    system_call(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
