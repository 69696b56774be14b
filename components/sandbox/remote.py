"""The programs of the step in Jobs of a cluster: a chunk is a Job under gVisor; its log is read.

A log may be torn by its node, and a pod may be lost: programs without a verdict run again in a Job
of their own, so what a cluster does to pods changes no verdict.
"""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Self, TypeVar, cast

from components.artifacts.artifact import ArtifactWriter, Draft
from components.artifacts.errors import StepFailedError
from components.artifacts.tally import Tally
from components.cluster.chunk_jobs import IN_FLIGHT, ChunkJobs
from components.cluster.engine import ClusterEngine
from components.sandbox.batches import MAX_VERDICTS_BYTES, Batch, config_map, cut_batches, read_log
from components.sandbox.config import SandboxConfig
from components.sandbox.jobs import Place, batch_job, labels_of
from components.sandbox.programs import Chunk, sample_rows, selfcheck_rows
from components.sandbox.supervision import Program, Verdict
from components.stage.engine import Engine, map_shards
from components.stage.images import image_uri
from components.stage.progress import progress

Item = TypeVar("Item")
Result = TypeVar("Result")
RunChunk = Callable[[Chunk, "RemoteWorker"], tuple[list[Draft], Tally]]

NAMESPACE_VARIABLE = "CODEKILN_SANDBOX_NAMESPACE"
NAMESPACE = "codekiln-sandbox"
"""Of the Jobs: one in which nothing else runs (k8s/sandbox)."""

ROUNDS = 4
"""Jobs that a program without a verdict is given, one after another."""

FLOOR = 4
"""The level that the Jobs ask of their worker: gVisor."""


class RemoteWorker:
    """Stands where a worker process does: the programs of one chunk run when it is entered."""

    def __init__(
        self, jobs: ChunkJobs, place: Place, key: str, number: int, config: SandboxConfig
    ) -> None:
        """Name the chunk.

        Args:
            jobs: that run.
            place: where.
            key: of the step's artifact.
            number: of the chunk.
            config: the limits.
        """
        self.level = ""
        self._jobs, self._place, self._config = jobs, place, config
        self._key, self._number = key, number
        self._verdicts: dict[Program, Verdict] = {}
        self._jobs_made = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        return None

    def judge(self, programs: Sequence[Program]) -> None:
        """Run programs in Jobs until each has a verdict, or has had its rounds.

        Raises:
            StepFailedError: a pod refused to run anything: no gVisor, or a network that answers.
        """
        waiting = [*dict.fromkeys(programs)]
        for _ in range(ROUNDS):
            batches, too_large = cut_batches(self._key, waiting)
            for place in too_large:
                self._verdicts[waiting[place]] = Verdict("output", "completion size")
            for batch in batches:
                self._run(batch)
            waiting = [program for program in waiting if program not in self._verdicts]
            if not waiting:
                return
        if not any(program in self._verdicts for program in programs):
            self._refuse()

    def run(self, program: Program) -> Verdict:
        """The verdict of one program, run anew where there is none."""
        if program not in self._verdicts:
            self.judge([program])
        return self._verdicts.get(program, Verdict("infra_error", "no verdict in any log"))

    def _run(self, batch: Batch) -> None:
        """Run one Job and keep the verdicts of its log."""
        named = replace(batch, index=self._number, attempt=self._jobs_made)
        self._jobs_made += 1
        log = self._jobs.run(
            config_map(named, self._place.namespace, labels_of(named)),
            batch_job(named, self._config, self._place),
            2 * MAX_VERDICTS_BYTES,
        )
        reading = read_log(log, len(batch.programs))
        if reading.refusal:
            raise StepFailedError(
                f"expected a pod without a network in {self._place.namespace}, {reading.refusal}: "
                "apply k8s/sandbox with its network policy"
            )
        if reading.level:
            self.level = min(self.level or reading.level, reading.level)
        for program, verdict in zip(batch.programs, reading.verdicts, strict=True):
            if verdict is not None:
                self._verdicts[program] = verdict

    def _refuse(self) -> None:
        """Say why no Job of the chunk gave any verdict."""
        where = self._place.namespace
        if self.level and self.level < f"L{FLOOR}":
            raise StepFailedError(
                f"expected isolation level L{FLOOR} in {where}, got {self.level}: give the cluster "
                f"a RuntimeClass {self._place.runtime_class!r}"
            )
        raise StepFailedError(
            f"expected verdicts in the logs of {ROUNDS} Jobs of chunk {self._number}, got none at "
            f"all: look at the pods of {where} (image, RuntimeClass, quota)"
        )


class _Threads:
    """An engine of threads: each waits for a Job."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item], label: str
    ) -> Iterator[Result]:
        """Apply a function to every item, see `Engine`."""
        with ThreadPoolExecutor(IN_FLIGHT) as threads:
            results = threads.map(function, items)
            yield from progress(results, label=f"{label}: chunks done", total=len(items))


def run_chunks_on_cluster(
    engine: Engine,
    output: ArtifactWriter,
    chunks: Sequence[Chunk],
    config: SandboxConfig,
    run_chunk: RunChunk,
) -> Tally:
    """Run every chunk in Jobs, at most 32 at once, and commit each.

    Args:
        engine: of a cluster.
        output: of the step.
        chunks: of the plan.
        config: the limits.
        run_chunk: makes the drafts of a chunk with a worker.
    """
    cluster = cast(ClusterEngine, engine)
    place = Place(
        namespace=os.environ.get(NAMESPACE_VARIABLE, NAMESPACE),
        image=image_uri("sandbox"),
        queue=cluster.execution.queue,
    )
    selector = f"codekiln/key={cluster.key[:32]}"
    with ChunkJobs(cluster.client, place.namespace, selector) as jobs:
        work = functools.partial(_run_numbered, jobs, place, cluster.key, config, run_chunk)
        return map_shards(
            cast(Engine, _Threads(engine)), output, work, [*enumerate(chunks)], "programs"
        )


def _run_numbered(
    jobs: ChunkJobs,
    place: Place,
    key: str,
    config: SandboxConfig,
    run_chunk: RunChunk,
    item: tuple[int, Chunk],
) -> tuple[list[Draft], Tally]:
    number, chunk = item
    worker = RemoteWorker(jobs, place, key, number, config)
    rows = [*selfcheck_rows(chunk.problems), *sample_rows(chunk)]
    worker.judge([program for _, program in rows])
    return run_chunk(chunk, worker)
