"""What the disposable process does before it becomes the parser: it binds itself.

Standard library only. The limits hold across `exec`, so hostile text costs this process alone.
"""

import contextlib
import math
import os
import resource
import signal
import sys

STACK_BYTES = 8_388_608
"""The usual size, fixed here: how deep a text may nest must not hang on the shell's limits."""


def become_parser(cpu_s: int, memory_bytes: int, command: list[str]) -> None:
    """Bind this process and go on as the parser.

    Args:
        cpu_s: CPU seconds from now; past them the kernel ends the process by SIGXCPU.
        memory_bytes: the address space of the process.
        command: the parser's program and its arguments.
    """
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    times = os.times()
    _limit(resource.RLIMIT_CPU, math.ceil(times.user + times.system) + cpu_s)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_STACK, STACK_BYTES)
    if sys.platform == "linux":  # elsewhere the kernel does not hold to it
        _limit(resource.RLIMIT_AS, memory_bytes)
    os.execv(command[0], command)


def _limit(what: int, soft: int) -> None:
    """Set a soft limit; a hard limit that is lower still holds."""
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(what, (soft, hard))
