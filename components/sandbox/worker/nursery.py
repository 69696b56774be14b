"""The process that programs are forked from: it never sees a text, and cleans up after each.

It talks to the server over a socket. A byte with a descriptor asks for the process of a model's
code, and one of its test where there is none; `END` then asks for their end. In namespaces of its
own it is the first process there: what it kills is everything.
"""

import contextlib
import errno
import gc
import importlib
import json
import os
import signal
import socket
import stat
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from components.sandbox.worker.confinement import (
    UNPRIVILEGED_ID,
    Cage,
    Limits,
    confine,
    hand_down,
)
from components.sandbox.worker.landlock import landlock_version, make_ruleset
from components.sandbox.worker.namespaces import LIBRARIES, SCRATCH, enter_small_root
from components.sandbox.worker.seccomp import filter_template
from components.sandbox.worker.sides import become_model, become_test
from components.sandbox.worker.system import (
    LINUX,
    MACHINE,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    fork_plainly,
    process_control,
)

PRELOADED = (
    "abc",
    "array",
    "bisect",
    "cmath",
    "collections",
    "copy",
    "ctypes",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "hashlib",
    "heapq",
    "inspect",
    "itertools",
    "json",
    "math",
    "numbers",
    "operator",
    "queue",
    "random",
    "re",
    "statistics",
    "string",
    "textwrap",
    "typing",
)
"""Modules that HumanEval's prompts and models' completions import: loaded once, then forked."""

FILES_OF_FOLDER = 4
"""The scratch folder of the small root holds this many files of the largest size."""

CLEANING_S = 10.0
POLL_S = 0.002
END = struct.Struct("<d?")
"""How long to wait for the model's own end, and whether the test's process stays."""

SECCOMP, LANDLOCK = 1, 2
"""What a confined process found to hold, as bits of its exit code."""


def run_nursery(
    server: socket.socket, level: int, limits: Limits, folder: str, namespaced: bool
) -> NoReturn:
    """Set up a level in this process, prove it, and serve; never returns.

    Args:
        server: where commands come from.
        level: 0 to 3: what to set up; where it cannot be, the reason is sent.
        limits: of a program.
        folder: an empty folder: the scratch folder, or where the small root is mounted.
        namespaced: whether this is the first process of namespaces of its own.
    """
    try:
        cage = set_up(level, limits, folder, namespaced)
        answer: dict[str, Any] = {"level": level, "landlock": landlock_version()}
    except (OSError, RuntimeError, KeyError) as error:
        answer = {"error": f"{error}"[:200]}
    server.sendall(json.dumps(answer).encode() + b"\n")
    if "error" not in answer:
        serve(server, cage, namespaced)
    os._exit(0)


def set_up(level: int, limits: Limits, folder: str, namespaced: bool) -> Cage:
    """Load the modules, make the small root and the ruleset, and see whether they hold.

    Raises:
        OSError: the system does not allow it.
        RuntimeError: the system allowed it, and it does not hold.
    """
    process_control(PR_SET_CHILD_SUBREAPER, 1)
    for name in PRELOADED:
        importlib.import_module(name)
    os.umask(0o022)
    readable = interpreter_folders()
    scratch = folder
    if namespaced:
        enter_small_root(folder, readable, FILES_OF_FOLDER * limits.file_bytes + 2**20)
        scratch = SCRATCH
    ruleset = -1
    if level >= 2 and (landlock_version() or not namespaced):
        devices = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
        ruleset = make_ruleset((*readable, *LIBRARIES), devices, scratch)
    cage = Cage(
        limits=limits,
        folder=scratch,
        ruleset=ruleset,
        filtered=level >= 1,
        unprivileged=not limits.keep_user and can_drop_user(scratch),
    )
    if cage.unprivileged and not namespaced:
        os.chown(scratch, UNPRIVILEGED_ID, UNPRIVILEGED_ID)
    process_control(PR_SET_DUMPABLE, 0)
    if cage.filtered:
        filter_template(MACHINE)  # made once, inherited
    hand_down(cage)
    gc.collect()
    gc.freeze()
    _prove(cage, namespaced)
    return cage


def interpreter_folders() -> list[str]:
    """Where the standard library and the interpreter's own libraries lie."""
    folders = [os.path.dirname(os.__file__)]
    if sys.base_prefix not in ("/", "/usr"):
        folders.append(os.path.join(sys.base_prefix, "lib"))
    return folders + [os.path.realpath(folder) for folder in folders]


def can_drop_user(folder: str) -> bool:
    """Whether this process may become `nobody` here and can still import the standard library."""
    if os.geteuid() != 0:
        return False
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(UNPRIVILEGED_ID)
            os.setuid(UNPRIVILEGED_ID)
            os.stat(folder)
            with open(os.__file__, "rb"):
                os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def _prove(cage: Cage, namespaced: bool) -> None:
    """Confine a process and let it try what it must not be able to do.

    Raises:
        RuntimeError: it could.
    """
    pid = os.fork()
    if pid == 0:
        try:
            confine(cage, ())
            os._exit(_what_holds())
        finally:
            os._exit(255)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code in (255, -1) or code < 0:
        raise RuntimeError(f"a confined process cannot start (exit {code})")
    if cage.filtered and not code & SECCOMP:
        raise RuntimeError("the filter of system calls does not hold")
    if (cage.ruleset >= 0 or namespaced) and not code & LANDLOCK:
        raise RuntimeError("files of the machine can be read")


def _what_holds() -> int:
    held = 0
    try:
        socket.socket(socket.AF_UNIX).close()
    except PermissionError:
        try:
            os.fork()
        except PermissionError:
            held |= SECCOMP
    try:
        os.listdir("/proc")
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.ENOENT):
            held |= LANDLOCK
    return held


@dataclass
class TestProcess:
    """The process of a problem's test; it serves the samples of the problem one after another."""

    pid: int
    control: socket.socket


def serve(server: socket.socket, cage: Cage, namespaced: bool) -> None:
    """Start and end programs until the server hangs up."""
    test: TestProcess | None = None
    while True:
        data, descriptors, _flags, _address = socket.recv_fds(server, 1, 1)
        if not data:
            return
        if test and data != b"R":
            end_all(test, namespaced)
            test = None
        test = test or start_test(cage)
        model = start_model(cage, test, descriptors[0])
        command = server.recv(END.size, socket.MSG_WAITALL)
        if len(command) < END.size:
            return
        wait_s, keep = END.unpack(command)
        endings = end_model(model, wait_s)
        if not keep:
            endings["test"] = end_all(test, namespaced)
            test = None
        empty_folder(cage.folder)
        server.sendall(json.dumps(endings).encode() + b"\n")


def start_test(cage: Cage) -> TestProcess:
    """Fork the process of a test."""
    ours, theirs = socket.socketpair()
    pid = fork_plainly()
    if pid == 0:
        become_test(replace(cage, trusted=True), theirs)
    theirs.close()
    return TestProcess(pid, ours)


def start_model(cage: Cage, test: TestProcess, job: int) -> int:
    """Fork the process of a model's code and hand its pipes to the test's; returns its id."""
    calls_in, calls_out = os.pipe()
    replies_in, replies_out = os.pipe()
    model = fork_plainly()
    if model == 0:
        become_model(cage, calls_in, replies_out)
    os.close(calls_in)
    os.close(replies_out)
    ends = (job, calls_out, replies_in)
    with contextlib.suppress(OSError):  # where it ended, the server sees the job's socket close
        socket.send_fds(test.control, [b"R"], ends)
    for descriptor in ends:
        os.close(descriptor)
    return model


def end_model(model: int, wait_s: float) -> dict[str, Any]:
    """Kill and reap the process of a model's code; the filter lets it have no other.

    Args:
        model: its id.
        wait_s: how long to wait for its own end first.

    Returns:
        How it ended, and whether by itself.
    """
    deadline = time.monotonic() + wait_s
    pid, status, usage = os.wait4(model, os.WNOHANG)
    while not pid and time.monotonic() < deadline:
        time.sleep(POLL_S)
        pid, status, usage = os.wait4(model, os.WNOHANG)
    by_itself = pid != 0
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(model, signal.SIGKILL)
    if not pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(model, signal.SIGKILL)
        pid, status, usage = os.wait4(model, 0)
    return {"by_itself": by_itself, "model": _ending(status, usage)}


def end_all(test: TestProcess, namespaced: bool) -> list[float]:
    """Kill and reap every process but this one; returns how the test's ended."""
    test.control.close()
    if namespaced:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(test.pid, signal.SIGKILL)
    _, status, usage = os.wait4(test.pid, 0)
    _reap_the_rest()
    return _ending(status, usage)


def _ending(status: int, usage: Any) -> list[float]:
    resident_unit = 1024 if LINUX else 1
    return [status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * resident_unit]


def _reap_the_rest() -> None:
    """Kill and reap whatever a program started; this process is the subreaper of it all.

    Raises:
        RuntimeError: new ones came for CLEANING_S seconds; the worker must end.
    """
    deadline = time.monotonic() + CLEANING_S
    while time.monotonic() < deadline:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        for pid in descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
    raise RuntimeError("programs left behind cannot be killed")


def descendants(root: int) -> Iterator[int]:
    """The processes below one, by the parent that each process has in /proc; none without it."""
    children: dict[int, list[int]] = {}
    names = os.listdir("/proc") if os.path.isdir("/proc/self") else []
    for name in filter(str.isdigit, names):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            parent = int(file.read().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(int(name))
    waiting = [root]
    while waiting:
        found = children.get(waiting.pop(), [])
        waiting += found
        yield from found


def empty_folder(folder: str) -> None:
    """Remove all that lies in a folder, however deep: subfolders are lifted up, never descended.

    A program may leave a tree deeper than a recursive removal or an open-file limit allows.
    """
    lifted = 0
    if os.stat(folder).st_uid in (os.geteuid(), UNPRIVILEGED_ID):
        os.chmod(folder, stat.S_IRWXU if folder != SCRATCH else 0o1777)
    while entries := list(os.scandir(folder)):
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, stat.S_IRWXU)
            for inner in list(os.scandir(entry.path)):
                if inner.is_dir(follow_symlinks=False):
                    os.chmod(inner.path, stat.S_IRWXU)
                    lifted += 1
                    os.rename(inner.path, os.path.join(folder, f".lifted-{lifted}"))
                else:
                    os.unlink(inner.path)
            os.rmdir(entry.path)
