"""The two processes of a program: the model's code runs in one, the test in the other.

The test's process calls the model's function through a stub, over two pipes. The model's process
has neither the test's text in its memory nor the pipe that the verdict goes to: it was forked from
a process that never saw a text, and is sent its own alone.
"""

import builtins
import errno
import functools
import json
import math
import os
import random
import resource
import socket
import sys
import types
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from components.sandbox.worker.confinement import REPORT_MEMORY_BYTES, Cage, confine
from components.sandbox.worker.values import (
    ClosedError,
    ProtocolError,
    TooLargeError,
    UnsupportedTypeError,
    from_json,
    receive_frame,
    send_frame,
    to_json,
    write_back,
)

MODEL_NAME, TEST_NAME = "program", "test"
MAX_NAME_CHARACTERS = 100
MAX_JOB_BYTES = 2**28
"""Tests of a benchmark are trusted and may be long: EvalPlus writes its inputs into them."""

Fault = tuple[str, str]
"""Verdict and detail."""

GONE = ("gone", "")
"""The model's process ended or closed its pipes: its status decides."""

_class_name: Callable[[type], str] = type.__dict__["__name__"].__get__


def become_model(cage: Cage, calls: int, replies: int) -> NoReturn:
    """Run the model's code in this forked process and answer calls of its function.

    What is called after the code ran is bound to local names before, because it may replace
    attributes of any module; that only serves good labels, nothing here is trusted.
    """
    leave, write, set_limit = os._exit, os.write, resource.setrlimit
    address_space, ceiling = resource.RLIMIT_AS, cage.limits.memory_bytes + REPORT_MEMORY_BYTES
    try:
        confine(cage, (calls, replies))
        program = receive_frame(calls)
        try:
            function = _load_model(program["source"], program["entry_point"])
            send_frame(replies, ["ready"], write)
            while True:
                _answer(function, receive_frame(calls), replies, write)
        except ClosedError:
            leave(0)
        except BaseException as error:
            with suppress(OSError, ValueError):
                set_limit(address_space, (ceiling, ceiling))
            send_frame(replies, classify(error), write)
    finally:
        leave(1)


def _load_model(source: str, entry_point: str) -> Any:
    module = types.ModuleType(MODEL_NAME)
    sys.modules[MODEL_NAME] = module
    try:
        code = compile(source, MODEL_NAME, "exec")
    except MemoryError:  # the parser's own stack was too small for deep nesting
        raise SyntaxError from None
    exec(code, module.__dict__)
    if entry_point not in module.__dict__:
        raise NameError
    return module.__dict__[entry_point]


def _answer(function: Any, request: Any, replies: int, write: Callable[[int, bytes], int]) -> None:
    """Call the function once and send what it returned, and what it made of its arguments."""
    arguments, named = from_json(request)
    try:
        result = function(*arguments, **named)
    except (MemoryError, ClosedError):
        raise
    except BaseException as error:
        reply = classify(error)
        if reply[0] == "raised":
            send_frame(replies, reply, write)
            return
        raise
    try:
        spelt = to_json(result)
    except UnsupportedTypeError:
        send_frame(replies, ["type", _class_name(type(result))[:MAX_NAME_CHARACTERS]], write)
        return
    try:
        changed = to_json([arguments, named])
    except UnsupportedTypeError:  # the function put something of its own into an argument
        changed = request
    send_frame(replies, ["value", spelt, None if changed == request else changed], write)


def classify(error: BaseException) -> list[str]:
    """What is said of an exception: its kind and its type's name; its text is never asked for."""
    if isinstance(error, MemoryError):
        return ["memory", "MemoryError"]
    if isinstance(error, TooLargeError):
        return ["output", "result size"]
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return ["output", "file size"]
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return ["output", "folder size"]
    return ["raised", _class_name(type(error))[:MAX_NAME_CHARACTERS]]


class RaisedInModelError(Exception):
    """An exception in the model's process that is of no builtin type."""


class FaultError(BaseException):
    """The model's process did not answer with a value; the verdict is in the stub."""


class Stub:
    """The model's function, as the test sees it."""

    def __init__(self, calls: int, replies: int) -> None:
        self.calls = calls
        self.replies = replies
        self.fault: Fault | None = None
        """Set once and for all: a test that swallows exceptions passes nothing."""

    def start(self, source: str, entry_point: str) -> None:
        """Send the model's code and wait until it was loaded."""
        reply = self._exchange({"source": source, "entry_point": entry_point})
        if reply == ["ready"]:
            return
        kind, name = _two_texts(reply)
        if kind == "raised":
            self._fail("failed", name)
        self._fail(*_limit_fault(kind, name))

    def call(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Call the function with copies, and make the arguments what it made of the copies."""
        given = [list(arguments), named]
        try:
            request = to_json(given)
        except UnsupportedTypeError:
            self._fail("failed", "arguments of the test")
        reply = self._exchange(request)
        if type(reply) is list and len(reply) == 3 and reply[0] == "value":
            try:
                if reply[2] is not None:
                    changed = from_json(reply[2])
                    for old, new in zip(arguments, changed[0], strict=True):
                        write_back(old, new)
                    for name, old in named.items():
                        write_back(old, changed[1][name])
                return from_json(reply[1])
            except (ProtocolError, LookupError, TypeError, ValueError):
                self._fail("output", "result")
        kind, name = _two_texts(reply)
        if kind == "raised":
            raise _exception_of(name)
        return self._fail(
            *(("failed", f"returned {name}") if kind == "type" else _limit_fault(kind, name))
        )

    def _exchange(self, request: Any) -> Any:
        if self.fault is not None:
            raise FaultError
        try:
            send_frame(self.calls, request)
            return receive_frame(self.replies)
        except ClosedError:
            self._fail(*GONE)
        except (TooLargeError, ProtocolError, MemoryError):
            self._fail("output", "result")

    def _fail(self, verdict: str, detail: str) -> NoReturn:
        self.fault = self.fault or (verdict, detail)
        raise FaultError


def _two_texts(reply: Any) -> tuple[str, str]:
    if type(reply) is list and len(reply) == 2 and all(type(part) is str for part in reply):
        return reply[0], reply[1][:MAX_NAME_CHARACTERS]
    return "", ""


def _limit_fault(kind: str, name: str) -> Fault:
    return (kind, name) if kind in ("memory", "output") else ("output", "result")


def _exception_of(name: str) -> BaseException:
    """The builtin exception of a name, for tests that expect one, or one of ours."""
    found = getattr(builtins, name, None)
    if isinstance(found, type) and issubclass(found, BaseException):
        with suppress(TypeError):  # UnicodeError's need arguments
            return found()
    named: type[BaseException] = type(name or "Error", (RaisedInModelError,), {})
    return named()


def become_test(cage: Cage, control: socket.socket) -> NoReturn:
    """Run a problem's test for one program after another, as long as the nursery wants.

    Each time it is sent the server's socket and its ends of the two pipes to the model's process.
    The test's module is made anew for every program, and `random` seeded; only compiled code stays.
    """
    try:
        confine(cage, (control.fileno(),))
        while True:
            data, descriptors, _flags, _address = socket.recv_fds(control, 1, 3)
            if not data:
                os._exit(0)
            _renew_cpu_limit(cage.limits.cpu_s)
            random.seed(0)
            job, calls, replies = descriptors
            problem = receive_frame(job, MAX_JOB_BYTES)
            verdict, detail = judge_by_test(problem, Stub(calls, replies))
            os.write(job, json.dumps([verdict, detail]).encode() + b"\n")
            for descriptor in descriptors:
                os.close(descriptor)
    finally:
        os._exit(1)


def _renew_cpu_limit(cpu_s: int) -> None:
    """Give this process the limit again, beyond what it has used; the hard limit stays."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = usage.ru_utime + usage.ru_stime
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = math.ceil(used) + cpu_s
    resource.setrlimit(
        resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard)
    )


def judge_by_test(problem: dict[str, str], stub: Stub) -> Fault:
    """Run a test against the stub: it passes where `check` returns and no call was at fault."""
    try:
        stub.start(problem["source"], problem["entry_point"])
        scope = _load_test(problem["prompt"], problem["test"])

        def candidate(*arguments: Any, **named: Any) -> Any:
            return stub.call(arguments, named)

        candidate.__name__ = candidate.__qualname__ = problem["entry_point"]
        check = scope["check"]  # a function of MBPP has this name itself
        scope[problem["entry_point"]] = candidate  # some tests call it by name: HumanEval/33
        check(candidate)
    except BaseException as error:
        kind, name = classify(error)
        outcome = ("failed", name) if kind == "raised" else (kind, name)
    else:
        outcome = ("passed", "")
    return stub.fault or outcome


def _load_test(prompt: str, test: str) -> dict[str, Any]:
    """Run the prompt, whose helpers and imports tests use, and the test's definitions.

    A prompt ends in a function without a body; a docstring is one, else `pass` is put there, and
    where that does not parse either, lines are left out from the end on.
    """
    module = types.ModuleType(TEST_NAME)
    sys.modules[TEST_NAME] = module
    exec(_compile_prompt(prompt), module.__dict__)
    exec(_compile_test(test), module.__dict__)
    return module.__dict__


@functools.lru_cache(maxsize=1)
def _compile_prompt(prompt: str) -> types.CodeType:
    lines = prompt.split("\n")
    candidates = [prompt, f"{prompt}\n    pass\n", f"{prompt}\n        pass\n"]
    candidates += ["\n".join(lines[:count]) for count in range(len(lines) - 1, 0, -1)]
    for candidate in candidates:
        with suppress(SyntaxError):
            return compile(candidate, TEST_NAME, "exec")
    return compile("", TEST_NAME, "exec")


@functools.lru_cache(maxsize=1)
def _compile_test(test: str) -> types.CodeType:
    return compile(test, TEST_NAME, "exec")
