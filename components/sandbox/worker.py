"""Run untrusted programs one after another, each in a forked process of its own.

A stand-alone program of the standard library alone; no package of ours is imported:

    python -P -s -S worker.py --cpu-s 3 --wall-s 9 < programs.jsonl > verdicts.jsonl

In, one JSON object a line: {"id": any, "source": text}. Out, in the same order, each line below
16 KiB: {"id": any, "verdict": class, "detail": text}. Classes: passed, failed, timeout, crashed,
memory, output.

The interpreter with its modules is loaded once and forked (about 1 ms; a fresh interpreter with
the imports of HumanEval takes 25 ms). A program passes when it ran to its end and the runner then
sent back a random number that lay in a pipe until that moment: to leave early with exit code 0
gives no pass. Program and test share a process, so a program that looks for the pipe can cheat.
"""

import argparse
import contextlib
import ctypes
import errno
import gc
import importlib
import json
import os
import random
import resource
import secrets
import select
import shutil
import signal
import stat
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

PRELOADED = (
    "abc",
    "array",
    "bisect",
    "cmath",
    "collections",
    "copy",
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

PROGRAM_NAME = "program"
PREFIX = "codekiln-sandbox-"
MAX_DETAIL_CHARACTERS = 100
MAX_MESSAGE_BYTES = 4096
"""A child that writes more into its verdict pipe than this gets the verdict `output`."""

UNPRIVILEGED_ID = 65534
"""`nobody`: root is not bound by the limit on processes, and may signal and read everything."""

MAX_OPEN_FILES = 64
REPORT_MEMORY_BYTES = 2**26
"""Address space above the limit that a child gets back after a MemoryError, to report it."""

MEMORY_LABEL_SHARE = 0.8
"""A program killed while this share of its memory was resident ran out of memory, not of time."""

CPU_LABEL_SHARE = 0.9
"""A program that ignores SIGXCPU is killed a second later, having used about the limit and one
second; the limit counts clock ticks and wait4(2) nanoseconds, so they differ a little."""

CLEANING_S = 10.0
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one program may use."""

    cpu_s: int
    wall_s: float
    memory_bytes: int
    file_bytes: int
    processes: int
    """Processes and threads beside its own."""

    unprivileged: bool
    """Whether root becomes `nobody` first."""


@dataclass(frozen=True)
class Ending:
    """How a child process ended."""

    message: bytes
    """What it wrote into its verdict pipe."""

    status: int
    """As from wait(2)."""

    expired: bool
    """Whether the wall-clock limit was reached."""

    cpu_s: float
    resident_bytes: int


# The child: from here to the fork's end, everything runs beside untrusted code.


def become_program(
    source: str, limits: Limits, folder: str, nonce_in: int, verdict_out: int
) -> None:
    """Run a program in this forked process and report; never returns.

    Everything that is called after the program ran is bound to a local name before, because the
    program may have replaced attributes of any module.
    """
    write, leave, read, dump = os.write, os._exit, os.read, json.dumps
    set_limit, address_space = resource.setrlimit, resource.RLIMIT_AS
    wide = (limits.memory_bytes + REPORT_MEMORY_BYTES,) * 2
    confine(limits, folder, (nonce_in, verdict_out))
    try:
        verdict, detail = run_source(source)
        nonce = read(nonce_in, 64).decode() if verdict == "passed" else ""
    except BaseException as error:
        with contextlib.suppress(OSError, ValueError):
            set_limit(address_space, wide)
        verdict, detail = classify(error)
        nonce = ""
    write(
        verdict_out, dump({"verdict": verdict, "detail": detail, "nonce": nonce}).encode() + b"\n"
    )
    leave(0)


def run_source(source: str) -> tuple[str, str]:
    """Compile and run a program; returns its verdict or raises what it raised."""
    module = types.ModuleType(PROGRAM_NAME)
    sys.modules[PROGRAM_NAME] = module
    try:
        code = compile(source, PROGRAM_NAME, "exec")
    except MemoryError:  # the parser's own stack was too small for deep nesting
        return "failed", "SyntaxError"
    exec(code, module.__dict__)
    return "passed", ""


_class_name: Callable[[type], str] = type.__dict__["__name__"].__get__


def classify(error: BaseException) -> tuple[str, str]:
    """The verdict of an exception, and its type's name; its text is never asked for."""
    if isinstance(error, MemoryError):
        return "memory", "MemoryError"
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return "output", "file size"
    return "failed", _class_name(type(error))[:MAX_DETAIL_CHARACTERS]


def confine(limits: Limits, folder: str, keep: tuple[int, ...]) -> None:
    """Cut this process off: session, streams, descriptors, user, limits, environment."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    silence = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(silence, descriptor)
    low = 3
    for descriptor in sorted(keep):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, max_descriptor())
    os.chdir(folder)
    tempfile.tempdir = folder
    os.environ.clear()
    os.umask(0o077)
    if limits.unprivileged:
        os.setgroups([])
        os.setgid(UNPRIVILEGED_ID)
        os.setuid(UNPRIVILEGED_ID)
    process_control(PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user would clear it
    process_control(PR_SET_DUMPABLE, 0)
    process_control(PR_SET_NO_NEW_PRIVS, 1)
    limit_resources(limits)
    random.seed(0)  # a fork reseeds it from the system: verdicts would not repeat


def limit_resources(limits: Limits) -> None:
    """Set this process's resource limits; what the system does not know is left out."""
    ceiling = limits.memory_bytes + REPORT_MEMORY_BYTES
    for name, soft, hard in (
        ("RLIMIT_CORE", 0, 0),
        ("RLIMIT_CPU", limits.cpu_s, limits.cpu_s + 1),
        ("RLIMIT_FSIZE", limits.file_bytes, limits.file_bytes),
        ("RLIMIT_NOFILE", MAX_OPEN_FILES, MAX_OPEN_FILES),
        ("RLIMIT_NPROC", limits.processes, limits.processes),
        ("RLIMIT_AS", limits.memory_bytes, ceiling),
    ):
        if hasattr(resource, name):
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(getattr(resource, name), (soft, hard))


def max_descriptor() -> int:
    """One above the highest descriptor that this process can have."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 65536 if soft == resource.RLIM_INFINITY else min(soft, 65536)


def process_control(option: int, value: int) -> None:
    """prctl(2) where there is one; elsewhere nothing."""
    if _libc is not None:
        _libc.prctl(option, value, 0, 0, 0)


_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


# The parent: it lives through all programs and trusts no byte that a child sent.


def run_program(source: str, limits: Limits, folder: str, wakeup: int) -> tuple[str, str]:
    """Run one program in a child, clean up after it, and judge it.

    Args:
        source: the whole program.
        limits: what it may use.
        folder: an empty folder of its own.
        wakeup: a descriptor that gets a byte when a child ends.

    Returns:
        Verdict and detail.
    """
    nonce = secrets.token_hex(16)
    nonce_in, nonce_out = os.pipe()
    verdict_in, verdict_out = os.pipe()
    os.write(nonce_out, nonce.encode())
    os.close(nonce_out)
    pid = os.fork()
    if pid == 0:
        try:
            become_program(source, limits, folder, nonce_in, verdict_out)
        finally:
            os._exit(1)
    os.close(nonce_in)
    os.close(verdict_out)
    ending = await_child(pid, verdict_in, limits.wall_s, wakeup)
    os.close(verdict_in)
    return judge(ending, limits, nonce)


def await_child(pid: int, verdict_in: int, wall_s: float, wakeup: int) -> Ending:
    """Read a child's message until it ends or its time is over; then kill all that is left."""
    deadline = time.monotonic() + wall_s
    message, open_pipe, expired = b"", True, False
    ended: tuple[int, int, Any] = (0, 0, None)
    while ended[0] == 0 and not expired:
        watched = [verdict_in, wakeup] if open_pipe else [wakeup]
        ready = select.select(watched, [], [], max(0.0, deadline - time.monotonic()))[0]
        if wakeup in ready:
            os.read(wakeup, 4096)
        if verdict_in in ready:
            chunk = os.read(verdict_in, MAX_MESSAGE_BYTES)
            message += chunk
            open_pipe = bool(chunk)
        if len(message) > MAX_MESSAGE_BYTES:
            break
        ended = os.wait4(pid, os.WNOHANG)
        expired = time.monotonic() >= deadline
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    if ended[0] == 0:
        os.kill(pid, signal.SIGKILL)
        ended = os.wait4(pid, 0)
    elif open_pipe:
        message += drain(verdict_in)
    kill_descendants()
    usage = ended[2]
    resident_unit = 1024 if sys.platform == "linux" else 1
    return Ending(
        message,
        ended[1],
        expired,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss * resident_unit,
    )


def drain(descriptor: int) -> bytes:
    """What lies in a pipe, without waiting for more."""
    if select.select([descriptor], [], [], 0)[0]:
        return os.read(descriptor, MAX_MESSAGE_BYTES)
    return b""


def judge(ending: Ending, limits: Limits, nonce: str) -> tuple[str, str]:
    """The verdict of a child that ended."""
    if len(ending.message) > MAX_MESSAGE_BYTES:
        return "output", "verdict pipe"
    over_memory = ending.resident_bytes >= MEMORY_LABEL_SHARE * limits.memory_bytes
    if os.WIFSIGNALED(ending.status) or ending.expired:
        if over_memory:
            return "memory", "killed"
        if ending.expired:
            return "timeout", "wall"
        number = os.WTERMSIG(ending.status)
        if number == signal.SIGXCPU or (
            number == signal.SIGKILL and ending.cpu_s >= CPU_LABEL_SHARE * limits.cpu_s
        ):
            return "timeout", "cpu"
        return "crashed", signal.Signals(number).name if number in _SIGNALS else str(number)
    if not ending.message:
        return "failed", f"exit {os.WEXITSTATUS(ending.status)}"
    return read_message(ending.message, nonce)


_SIGNALS = {int(number) for number in signal.valid_signals()} & {int(s) for s in signal.Signals}


def read_message(message: bytes, nonce: str) -> tuple[str, str]:
    """Read a child's report strictly: anything else than what the runner writes is `output`."""
    wrong = ("output", "verdict pipe")
    try:
        value = json.loads(message)
        verdict, detail, sent = value["verdict"], value["detail"], value["nonce"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return wrong
    if verdict == "passed" and sent == nonce:
        return "passed", ""
    if verdict in ("failed", "memory", "output") and isinstance(detail, str):
        return verdict, ascii(detail[:MAX_DETAIL_CHARACTERS])[1:-1]
    return wrong


def kill_descendants() -> None:
    """Kill and reap all processes below this one.

    This process is their subreaper: what a program detached by forking twice becomes its child.

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
    """The processes below one, by the parent that each process has in /proc."""
    children: dict[int, list[int]] = {}
    names = os.listdir("/proc") if sys.platform == "linux" else []
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
    os.chmod(folder, stat.S_IRWXU)
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


def can_drop_user(folder: str) -> bool:
    """Whether root may become `nobody` here and can still import the standard library."""
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


def serve(limits: Limits, base: str) -> None:
    """Answer every line of the standard input with a verdict on the standard output."""
    wakeup, wakeup_out = os.pipe()
    os.set_blocking(wakeup, True)
    os.set_blocking(wakeup_out, False)
    signal.set_wakeup_fd(wakeup_out, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    programs, verdicts = os.fdopen(os.dup(0), "rb"), os.dup(1)
    folder = os.path.join(base, "program")
    os.mkdir(folder, 0o700)
    if limits.unprivileged:
        os.chown(folder, UNPRIVILEGED_ID, UNPRIVILEGED_ID)
    for line in programs:
        program = json.loads(line)
        verdict, detail = run_program(program["source"], limits, folder, wakeup)
        empty_folder(folder)
        answer = {"id": program["id"], "verdict": verdict, "detail": detail}
        os.write(verdicts, json.dumps(answer).encode() + b"\n")


def main() -> None:
    """Read the limits, tie this process to its parent, load the modules, serve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cpu-s", type=int, default=3)
    parser.add_argument("--wall-s", type=float, default=9.0)
    parser.add_argument("--memory-bytes", type=int, default=2**30)
    parser.add_argument("--file-bytes", type=int, default=2**24)
    parser.add_argument("--processes", type=int, default=0, help="beside the program's own")
    parser.add_argument("--keep-user", action="store_true", help="let root run programs as root")
    parser.add_argument("--folder", help="an empty folder for the programs' files")
    parser.add_argument("--parent-pid", type=int, help="end when this process is not the parent")
    arguments = parser.parse_args()
    process_control(PR_SET_PDEATHSIG, signal.SIGKILL)
    process_control(PR_SET_CHILD_SUBREAPER, 1)
    if arguments.parent_pid not in (None, os.getppid()):
        sys.exit("the parent ended before the worker began")
    for name in PRELOADED:
        importlib.import_module(name)
    base = arguments.folder or tempfile.mkdtemp(prefix=PREFIX)
    os.chmod(base, 0o711)
    gc.collect()
    gc.freeze()
    limits = Limits(
        cpu_s=arguments.cpu_s,
        wall_s=arguments.wall_s,
        memory_bytes=arguments.memory_bytes,
        file_bytes=arguments.file_bytes,
        processes=arguments.processes,
        unprivileged=not arguments.keep_user and can_drop_user(base),
    )
    try:
        serve(limits, base)
    finally:
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
