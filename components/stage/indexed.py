"""An engine of indexes: N processes share a map through files, as the pods of an Indexed Job do.

The leader writes a plan into the step's scratch storage, has N indexes started, and collects their
results in the order of the items. Who starts them is a `Launcher`: here processes of this machine.
"""

import contextlib
import logging
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from components.artifacts.errors import StepFailedError
from components.artifacts.storage import Storage
from components.stage.lifeline import SUPERVISOR_VARIABLE
from components.stage.plan import (
    EXIT_WORK_FAILED,
    INDEX_VARIABLE,
    MapPlan,
    has_result,
    read_result,
)
from components.stage.progress import progress

Item = TypeVar("Item")
Result = TypeVar("Result")

RESTARTS = 3
"""How often an index that was killed is started again: a Job's backoffLimitPerIndex."""

POLL_INTERVAL_S = 0.05
GRACE_S = 10.0
"""What indexes are given to end by themselves once all results are there."""

logger = logging.getLogger("codekiln")


class Indexes(Protocol):
    """The indexes of one map, started."""

    def tend(self) -> bool:
        """Start again what was killed; whether any index is at work.

        Raises:
            StepFailedError: an index was killed too often.
        """

    def ending(self) -> str:
        """How the indexes ended, in words."""


class Launcher(Protocol):
    """Who starts the indexes of a map."""

    def launch(self, plan_uri: str, num_indexes: int) -> contextlib.AbstractContextManager[Indexes]:
        """Run `python -m components.stage.map_index PLAN_URI` once an index; leaving ends all."""


class IndexedEngine:
    """Processes that know of one another through the step's scratch storage alone.

    A context manager: leaving it removes what was handed over.
    """

    joins_on_spark = False
    on_cluster = False

    def __init__(
        self,
        workers: int,
        threads: int,
        plans: Storage,
        launcher: Launcher,
        allow_unsafe: bool = False,
    ) -> None:
        """Take over a folder.

        Args:
            workers: indexes of a map, at most.
            threads: threads for a step that computes in one process.
            plans: where plans and results go; every process of the step can reach it.
            launcher: who starts indexes.
            allow_unsafe: whether programs of a model may run without isolation.
        """
        self.allow_unsafe = allow_unsafe
        self.workers = workers
        self.threads = threads
        self._plans = plans
        self._launcher = launcher

    def __enter__(self) -> "IndexedEngine":
        self._plans.clear()  # of a leader that was killed
        return self

    def __exit__(self, *_error: object) -> None:
        self._plans.clear()

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item], label: str
    ) -> Iterator[Result]:
        """Apply a picklable function to every item; results come in the order of the items.

        Raises:
            StepFailedError: an index was killed too often.
        """
        results = self._results(function, items)
        yield from progress(results, label=f"{label}: shards done", total=len(items))

    def map_here(
        self, function: Callable[[Item], Result], items: Sequence[Item], label: str
    ) -> Iterator[Result]:
        """As `map`: here all indexes are processes of this machine, see `Engine`."""
        return self.map(function, items, label)

    def _results(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[Result]:
        if not items:
            return
        plan = MapPlan(function, items, min(self.workers, len(items)))
        storage = self._plans.child(secrets.token_hex(4))  # its own: no late index can mix it up
        plan.write(storage)
        try:
            with self._launcher.launch(storage.uri, plan.num_indexes) as indexes:
                for number in range(len(items)):
                    _wait_for(storage, number, indexes)
                    yield read_result(storage, number)
        finally:
            storage.clear()


def _wait_for(storage: Storage, number: int, indexes: Indexes) -> None:
    """Return once an item is done."""
    while not has_result(storage, number):
        at_work = indexes.tend()
        if not at_work and not has_result(storage, number):
            raise StepFailedError(
                f"expected a result of item {number} in {storage.uri}, {indexes.ending()}: "
                "run again"
            )
        time.sleep(POLL_INTERVAL_S)


class LocalLauncher:
    """Indexes as processes of this machine that end with this one."""

    @contextlib.contextmanager
    def launch(self, plan_uri: str, num_indexes: int) -> Iterator[Indexes]:
        """Start the indexes of a plan, see `Launcher`."""
        indexes = LocalIndexes(plan_uri, range(num_indexes))
        try:
            yield indexes
            indexes.wait()
        finally:
            indexes.kill()


class LocalIndexes:
    """Some indexes of a plan as processes of this machine."""

    def __init__(self, plan_uri: str, indexes: Sequence[int]) -> None:
        self._plan_uri = plan_uri
        self._restarts = dict.fromkeys(indexes, 0)
        self._processes = {index: self._start(index) for index in indexes}

    def tend(self) -> bool:
        """Start again what was killed, see `Indexes`."""
        for index, process in self._processes.items():
            code = process.poll()
            if code not in (None, 0, EXIT_WORK_FAILED):
                self._restart(index, code)
        return any(process.poll() is None for process in self._processes.values())

    def ending(self) -> str:
        """How the indexes ended, see `Indexes`."""
        return f"all {len(self._processes)} indexes ended without one"

    def wait(self) -> None:
        """Let the indexes end by themselves."""
        deadline = time.monotonic() + GRACE_S
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))

    def kill(self) -> None:
        """End every index."""
        for process in self._processes.values():
            process.kill()
            process.wait()

    def _restart(self, index: int, code: int) -> None:
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        if self._restarts[index] == RESTARTS:
            raise StepFailedError(
                f"index {index} of {len(self._processes)} ended {how} after {RESTARTS} restarts: "
                "memory was short, most often, else it says why; run again with fewer --workers"
            )
        self._restarts[index] += 1
        logger.warning("index %d ended %s and is started again", index, how)
        self._processes[index] = self._start(index)

    def _start(self, index: int) -> subprocess.Popen[bytes]:
        """The command that a pod runs, with the import path of this process."""
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            SUPERVISOR_VARIABLE: str(os.getpid()),
            INDEX_VARIABLE: str(index),
        }
        command = [sys.executable, "-P", "-m", "components.stage.map_index", self._plan_uri]
        return subprocess.Popen(command, env=environment)
