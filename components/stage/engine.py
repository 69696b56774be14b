"""Engines: who runs a step's work, shard by shard. The bytes are the same whoever does.

`Engine` is the protocol; `LocalEngine` uses the cores of this machine. A distributed step is made
by processes of its own: `StepLauncher` is the protocol of who starts them elsewhere. An engine
decides where and how fast, never what: it is not part of any identity.
"""

import atexit
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from components.artifacts.artifact import ArtifactWriter, Draft
from components.artifacts.errors import StepFailedError
from components.artifacts.storage import Storage
from components.artifacts.tally import Tally
from components.stage.lifeline import become_worker
from components.stage.progress import progress

Item = TypeVar("Item")
Result = TypeVar("Result")
ShardWork = Callable[[Item], tuple[list[Draft], Tally]]

QUEUE_DEPTH = 2
"""Items in flight per worker: enough to keep it busy, few enough to bound memory."""


class Engine(Protocol):
    """Who runs a step's work."""

    @property
    def workers(self) -> int:
        """Processes that may work at once."""

    @property
    def threads(self) -> int:
        """Threads for a step that computes in one process, such as training."""

    @property
    def joins_on_spark(self) -> bool:
        """Whether a join over all shards runs on Spark rather than in this process."""

    @property
    def allow_unsafe(self) -> bool:
        """Whether programs of a model may run without isolation."""

    @property
    def on_cluster(self) -> bool:
        """Whether maps run in pods, which share the data root and nothing else."""

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item], label: str
    ) -> Iterator[Result]:
        """Apply a picklable function to every item; results come in the order of the items."""

    def map_here(
        self, function: Callable[[Item], Result], items: Sequence[Item], label: str
    ) -> Iterator[Result]:
        """As `map`, on this machine: for work whose results lie in its scratch folder."""


@dataclass(frozen=True, kw_only=True)
class SharedStep:
    """A distributed step as a launcher of its processes must know it."""

    name: str
    key: str
    config: Mapping[str, Any]
    """As JSON."""

    inputs: Mapping[str, str]
    """Input name to the URI of its artifact."""

    storage: Storage
    """Of the artifact that is made."""


class StepLauncher(Protocol):
    """Who starts the processes that make a distributed step's artifact, in the place of this one.

    The first of them holds the lease and publishes, so the one that launches holds none.
    """

    def launch(self, step: SharedStep) -> None:
        """Return once the artifact is published.

        Raises:
            StepFailedError: it was not.
        """


class LocalEngine:
    """The cores of this machine: worker processes that start once and serve every map.

    A context manager: leaving it ends the workers.
    """

    on_cluster = False

    def __init__(
        self,
        workers: int,
        threads: int,
        joins_on_spark: bool = False,
        allow_unsafe: bool = False,
    ) -> None:
        self.workers = workers
        self.threads = threads
        self.joins_on_spark = joins_on_spark
        self.allow_unsafe = allow_unsafe
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "LocalEngine":
        return self

    def __exit__(self, *_error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item], label: str
    ) -> Iterator[Result]:
        """Apply a picklable function to every item; results come in the order of the items.

        Raises:
            StepFailedError: a worker process was killed (by the system for memory, most often).
        """
        results = self._results(function, items)
        yield from progress(results, label=f"{label}: shards done", total=len(items))

    def map_here(
        self, function: Callable[[Item], Result], items: Sequence[Item], label: str
    ) -> Iterator[Result]:
        """As `map`: all workers are processes of this machine, see `Engine`."""
        return self.map(function, items, label)

    def _results(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[Result]:
        if min(self.workers, len(items)) <= 1:
            yield from map(function, items)
            return
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                pending.append(self._started_pool().submit(function, item))
                if len(pending) >= self.workers * QUEUE_DEPTH:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            raise StepFailedError(
                f"one of {self.workers} worker processes was killed: memory was short, most "
                "often; run again with fewer --workers"
            ) from None
        finally:
            for future in pending:
                future.cancel()

    def _started_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start_worker,
                initargs=(os.getpid(),),
            )
        return self._pool


def _start_worker(parent_pid: int) -> None:
    """Tie a worker to this process, and let it end without tearing C++ libraries down.

    Where Arrow's threads are just starting, that ends in "terminate called without an active
    exception" on the user's terminal.
    """
    become_worker(parent_pid)
    atexit.register(os._exit, 0)


def map_shards(
    engine: Engine,
    output: ArtifactWriter,
    function: ShardWork[Item],
    items: Sequence[Item],
    label: str,
) -> Tally:
    """Make one committed place of the output of every item, and add their tallies up.

    What was committed before a crash is not done again. The function runs in a worker process and
    must be picklable, and its result must depend on its item alone.

    Returns:
        The sum of all tallies.
    """
    tasks = [
        _ShardTask(output, function, index, item)
        for index, item in enumerate(items)
        if output.committed(index) is None
    ]
    for _ in engine.map(_run_shard, tasks, label):
        pass
    return Tally.total(_committed_tallies(output, range(len(items))))


@dataclass(frozen=True)
class _ShardTask(Generic[Item]):
    output: ArtifactWriter
    function: ShardWork[Item]
    index: int
    item: Item


def _run_shard(task: _ShardTask[Item]) -> None:
    drafts, tally = task.function(task.item)
    task.output.commit(task.index, drafts, tally)


def _committed_tallies(output: ArtifactWriter, indices: Iterable[int]) -> Iterator[Tally]:
    for index in indices:
        committed = output.committed(index)
        assert committed is not None, f"shard {index} was mapped and is not committed"
        yield committed[1]


def num_cores() -> int:
    """The cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cores or 1
