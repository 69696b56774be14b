"""The process that holds the texts: it starts a nursery, hands programs out and judges their ends.

No program's process is ever forked from it, and it runs no code of a program.
"""

import json
import os
import select
import signal
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any

from components.sandbox.worker.confinement import UNPRIVILEGED_ID, Limits
from components.sandbox.worker.namespaces import enter_namespaces, write_maps
from components.sandbox.worker.nursery import END, run_nursery
from components.sandbox.worker.system import LINUX, PR_SET_PDEATHSIG, process_control

GVISOR_KERNEL = "#1 SMP Sun Jan 10 15:06:54 PST 2016"
"""What gVisor names as its kernel's version (google/gvisor, pkg/sentry/kernel/version.go)."""

MAX_SOURCE_BYTES = 2**20
MAX_MESSAGE_BYTES = 4096
MAX_DETAIL_CHARACTERS = 100
LATE = ("timeout", "wall")
SET_UP_S = 60.0
CLEANING_S = 20.0

MEMORY_LABEL_SHARE = 0.8
"""A program killed while this share of its memory was resident ran out of memory, not of time."""

CPU_LABEL_SHARE = 0.9
"""A program that ignores SIGXCPU is killed a second later, having used about the limit and one
second; the limit counts clock ticks and wait4(2) nanoseconds, so they differ a little."""

_SIGNALS = {int(number) for number in signal.valid_signals()} & {int(s) for s in signal.Signals}


class NurseryError(RuntimeError):
    """The nursery ended or hung: this worker must end."""


@dataclass(frozen=True)
class Program:
    """A program: what the model wrote with its prompt, and what it is tested with."""

    prompt: str
    completion: str
    test: str
    entry_point: str


@dataclass
class Nursery:
    """A started nursery, and what it reached."""

    process: int
    channel: socket.socket
    level: int
    landlock: int
    """Version of Landlock's interface; 0 without."""

    refused: dict[str, str] = field(default_factory=dict)
    """Why the levels above it are not reached."""

    tested: tuple[str, str, str] | None = None
    """Prompt, test and entry point that the test's process is for; None where there is none."""


def is_gvisor() -> bool:
    """Whether the kernel is gVisor's."""
    return LINUX and os.uname().version == GVISOR_KERNEL


def open_nursery(limits: Limits, base: str, ceiling: int) -> Nursery:
    """Start a nursery on the highest level that this machine allows.

    Args:
        limits: of a program.
        base: a folder of our own.
        ceiling: the level that is not gone above.

    Raises:
        NurseryError: not even level 0.
    """
    refused: dict[str, str] = {}
    for level in range(min(ceiling, 3) if LINUX else 0, -1, -1):
        folder = os.path.join(base, f"level-{level}")
        os.mkdir(folder, 0o700)
        process, channel = _start(limits, folder, level)
        answer = _read_answer(channel, SET_UP_S)
        if "error" not in answer:
            reached = 4 if is_gvisor() and level >= 1 and ceiling >= 4 else level
            return Nursery(process, channel, reached, answer["landlock"], refused)
        refused[f"L{level}"] = answer["error"]
        channel.close()
        os.waitpid(process, 0)
    raise NurseryError(json.dumps(refused))


def _start(limits: Limits, folder: str, level: int) -> tuple[int, socket.socket]:
    """Fork the nursery, above level 2 in namespaces of its own; it says what became of it."""
    ours, theirs = socket.socketpair()
    ready_in, ready_out = os.pipe()
    mapped_in, mapped_out = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            os.close(ready_in)
            os.close(mapped_out)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            process_control(PR_SET_PDEATHSIG, signal.SIGKILL)
            if level < 3:
                os.close(ready_out)
                os.close(mapped_in)
                run_nursery(theirs, level, limits, folder, namespaced=False)
            _guard_namespaces(theirs, ready_out, mapped_in, limits, folder)
        finally:
            os._exit(1)
    theirs.close()
    os.close(ready_out)
    os.close(mapped_in)
    if os.read(ready_in, 1):
        os.write(mapped_out, b"y" if _map_for_root(pid) else b"n")
    os.close(ready_in)
    os.close(mapped_out)
    return pid, ours


def _guard_namespaces(
    channel: socket.socket, ready: int, mapped: int, limits: Limits, folder: str
) -> None:
    """Enter new namespaces, fork their first process, and end with it."""
    try:
        enter_namespaces(ready, mapped)
    except OSError as error:
        channel.sendall(json.dumps({"error": f"{error}"[:200]}).encode() + b"\n")
        return
    os.close(ready)
    os.close(mapped)
    pid = os.fork()
    if pid == 0:
        try:
            process_control(PR_SET_PDEATHSIG, signal.SIGKILL)
            run_nursery(channel, 3, limits, folder, namespaced=True)
        finally:
            os._exit(1)
    channel.close()
    os.waitpid(pid, 0)


def _map_for_root(pid: int) -> bool:
    """Let root outside give a namespace its root and `nobody`; False where it may not."""
    if os.geteuid() != 0:
        return False
    ids = ((0, 0), (UNPRIVILEGED_ID, UNPRIVILEGED_ID))
    try:
        write_maps(pid, ids, ids, may_set_groups=True)
    except OSError:
        return False
    return True


def _read_answer(channel: socket.socket, limit_s: float) -> dict[str, Any]:
    """One JSON line of the nursery's."""
    channel.settimeout(limit_s)
    data = b""
    try:
        while not data.endswith(b"\n"):
            chunk = channel.recv(MAX_MESSAGE_BYTES)
            if not chunk:
                return {"error": "the nursery ended"}
            data += chunk
    except TimeoutError:
        return {"error": "the nursery hangs"}
    answer: dict[str, Any] = json.loads(data)
    return answer


def run_program(nursery: Nursery, program: Program, limits: Limits) -> tuple[str, str]:
    """Run one program and judge it; everything of it is gone afterwards.

    Returns:
        Verdict and detail.

    Raises:
        NurseryError: the nursery ended or hung.
    """
    if len(json.dumps(program.completion)) > MAX_SOURCE_BYTES:
        return "output", "completion size"
    tested = (program.prompt, program.test, program.entry_point)
    again = nursery.tested == tested
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            try:
                socket.send_fds(nursery.channel, [b"R" if again else b"N"], [theirs.fileno()])
            except OSError:
                raise NurseryError("the nursery ended") from None
        deadline = time.monotonic() + limits.wall_s
        message = exchange(ours, _job(program), deadline)
    verdict, detail = read_message(message)
    wait_s = max(deadline - time.monotonic(), 0.0) if verdict == "gone" else 0.0
    # Without the filter anything may have been started, and all must go.
    keep = verdict in ("passed", "failed") and nursery.level >= 1
    nursery.tested = tested if keep else None
    try:
        nursery.channel.sendall(END.pack(wait_s, keep))
    except OSError:
        raise NurseryError("the nursery ended") from None
    endings = _read_answer(nursery.channel, wait_s + CLEANING_S)
    if "error" in endings:
        raise NurseryError(endings["error"])
    if verdict == "gone":
        return judge_end(endings["model"], limits) if endings["by_itself"] else LATE
    if verdict:
        return verdict, detail
    if message != b"":
        return LATE
    # The test's process has no hard limit on processor time: who kills it is no program.
    if os.WIFSIGNALED(int(endings["test"][0])) and (
        os.WTERMSIG(int(endings["test"][0])) == signal.SIGKILL
    ):
        raise NurseryError("the test's process was killed from outside")
    return judge_end(endings["test"], limits)


def _job(program: Program) -> bytes:
    """What the test's process is sent: the model's whole text as data, and its own."""
    job = {
        "source": program.prompt + program.completion + "\n",
        "prompt": program.prompt,
        "test": program.test,
        "entry_point": program.entry_point,
    }
    data = json.dumps(job).encode()
    return struct.pack("<I", len(data)) + data


def exchange(channel: socket.socket, data: bytes, deadline: float) -> bytes | None:
    """Send a job and read a line; None where time is over, nothing where the other side ended."""
    channel.setblocking(False)
    poller = select.poll()
    message = b""
    while not message.endswith(b"\n") and len(message) <= MAX_MESSAGE_BYTES:
        poller.register(channel, select.POLLIN | (select.POLLOUT if data else 0))
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        for _descriptor, event in poller.poll(left * 1000):
            if event & select.POLLOUT:
                try:
                    data = data[channel.send(data[: 2**16]) :]
                except (BrokenPipeError, ConnectionResetError):
                    return b""
            if event & (select.POLLIN | select.POLLHUP | select.POLLERR):
                try:
                    chunk = channel.recv(MAX_MESSAGE_BYTES)
                except BlockingIOError:
                    continue
                except ConnectionResetError:
                    return b""
                if not chunk:
                    return b""
                message += chunk
    return message


def read_message(message: bytes | None) -> tuple[str, str]:
    """Verdict and detail of the test's process; empty where there are none."""
    try:
        verdict, detail = json.loads(message or b"")
    except (ValueError, TypeError, RecursionError):
        return "", ""
    if verdict in ("passed", "failed", "memory", "output", "gone") and isinstance(detail, str):
        return verdict, ascii(detail[:MAX_DETAIL_CHARACTERS])[1:-1]
    return "", ""


def judge_end(ending: list[float], limits: Limits) -> tuple[str, str]:
    """The verdict of a process that ended by itself, by its status."""
    status, cpu_s, resident_bytes = int(ending[0]), ending[1], ending[2]
    if not os.WIFSIGNALED(status):
        return "failed", f"exit {os.WEXITSTATUS(status)}"
    if resident_bytes >= MEMORY_LABEL_SHARE * limits.memory_bytes:
        return "memory", "killed"
    number = os.WTERMSIG(status)
    if number == signal.SIGXCPU or (
        number == signal.SIGKILL and cpu_s >= CPU_LABEL_SHARE * limits.cpu_s
    ):
        return "timeout", "cpu"
    return "crashed", signal.Signals(number).name if number in _SIGNALS else str(number)
