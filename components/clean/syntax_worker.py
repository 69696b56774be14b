"""The disposable process that parses hostile text, so that a crash costs this process alone.

Standard library only. Protocol: on stdin a length (8 bytes, big-endian) and as many bytes of UTF-8
text; on stdout one byte of answer for each text. The text is parsed, never compiled to code or run.
"""

import ast
import contextlib
import gc
import math
import os
import resource
import signal
import sys
import warnings
from typing import BinaryIO

LENGTH_BYTES = 8
PARSES, BROKEN, GAVE_UP = b"p", b"b", b"g"
"""The answers: it parses, a syntax error, the parser gave up for its stack or for memory."""


def serve(minor: int, cpu_s: int, memory_bytes: int) -> None:
    """Answer until stdin ends.

    Args:
        minor: the Python 3 minor version that texts must parse as.
        cpu_s: CPU seconds for one text; past them the kernel ends this process by SIGXCPU.
        memory_bytes: the address space of this process.
    """
    gc.disable()  # trees have no cycles: looking for them took a fifth of the time
    warnings.simplefilter("ignore")  # the warnings of a text are nobody's business here
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    _limit(resource.RLIMIT_CORE, 0)
    if sys.platform == "linux":  # elsewhere the kernel does not hold to it
        _limit(resource.RLIMIT_AS, memory_bytes)
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while (text := _read(stdin)) is not None:
        times = os.times()
        _limit(resource.RLIMIT_CPU, math.ceil(times.user + times.system) + cpu_s)
        stdout.write(answer(text, minor))
        stdout.flush()


def answer(text: bytes, minor: int) -> bytes:
    """Whether a text parses."""
    try:
        # From a string, a coding line has no say: the text is UTF-8 by the schema of documents.
        ast.parse(text.decode().removeprefix("\ufeff"), feature_version=(3, minor))
    except (SyntaxError, ValueError):
        return BROKEN
    except (MemoryError, RecursionError):
        return GAVE_UP
    return PARSES


def _read(stdin: BinaryIO) -> bytes | None:
    head = stdin.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    length = int.from_bytes(head, "big")
    text = stdin.read(length)
    return text if len(text) == length else None


def _limit(what: int, soft: int) -> None:
    """Lower a soft limit; a hard limit that is lower still holds."""
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(what, (soft, hard))
