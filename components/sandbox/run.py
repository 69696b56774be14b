"""The order of the step: group the samples by problem, run chunk by chunk, count the verdicts."""

import functools
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.artifacts.artifact import Artifact, ArtifactWriter, Draft
from components.artifacts.errors import ArtifactError
from components.artifacts.rows import draft_rows, read_rows
from components.artifacts.tally import Tally
from components.problems.benchmark import load_benchmarks
from components.problems.packages import check_runnable
from components.sandbox.config import SandboxConfig
from components.sandbox.programs import (
    IDENTITY,
    Chunk,
    cut_chunks,
    sample_rows,
    selfcheck_rows,
)
from components.sandbox.supervision import (
    DEFAULT_FLOOR,
    UNSAFE_FLOOR,
    Judge,
    Program,
    Verdict,
    WorkerProcess,
    judge_program,
    needs_gvisor,
    run_programs,
)
from components.stage.engine import Engine, map_shards
from components.stage.step import Report

if TYPE_CHECKING:
    from components.sandbox.remote import RemoteWorker

CHUNK_PROGRAMS = 64
"""Programs of a chunk: a worker starts in about 0.1 s and a crash costs one chunk of each worker;
with 64 the 1,076 programs of the tiny recipe are 18 chunks, enough to keep two workers busy."""

BROKEN = "infra_error"
RETRY_PAUSES_S = (0.0, 1.0, 4.0)
"""Before each further try of a program that has no verdict: what killed its worker (memory that was
short, most often) may pass."""


def run(
    inputs: Mapping[str, Artifact], output: ArtifactWriter, config: SandboxConfig, engine: Engine
) -> Report:
    """Run every sample, and every problem's own solution and an empty one.

    Raises:
        StepFailedError: the machine does not isolate programs well enough.
    """
    samples = read_rows(inputs["samples"], "samples")
    check_samples(samples)
    chunks = plan_chunks(samples, config)
    tally = _run_chunks(engine, output, chunks, config)
    return Report(tally=tally, measures=measures_of(tally), markdown=_markdown(tally))


def _run_chunks(
    engine: Engine, output: ArtifactWriter, chunks: list[Chunk], config: SandboxConfig
) -> Tally:
    """Run chunks in Jobs of their own on a cluster, in worker processes elsewhere."""
    if engine.on_cluster:
        from components.sandbox.remote import run_chunks_on_cluster  # what talks to a cluster

        judged = functools.partial(run_chunk, config=config)
        return run_chunks_on_cluster(
            engine, output, chunks, config, lambda chunk, worker: judged(chunk, worker=worker)
        )
    floor = UNSAFE_FLOOR if engine.allow_unsafe else DEFAULT_FLOOR
    gvisor = needs_gvisor(config, floor)  # before any work is handed out
    work = functools.partial(run_chunk, config=config, floor=floor, gvisor=gvisor)
    return map_shards(engine, output, work, chunks, "programs")


def check_samples(samples: list[dict[str, Any]]) -> None:
    """Refuse rows that no verdict can be given to.

    Raises:
        ArtifactError: a value of another type, or a sample twice.
    """
    seen: set[tuple[Any, ...]] = set()
    for number, row in enumerate(samples, start=1):
        for name, kind in (
            ("benchmark", str),
            ("task_id", str),
            ("temperature", float),
            ("sample", int),
            ("completion", str),
        ):
            if type(row.get(name)) is not kind:
                raise ArtifactError(
                    f"expected {name} to be {kind.__name__}, got {str(row.get(name))[:60]!r} in "
                    f"row {number} of the samples: mend that row"
                )
        key = tuple(row[name] for name in IDENTITY)
        if key in seen:
            raise ArtifactError(
                f"expected every sample once, got {key!r} again in row {number} of the samples: "
                "number the samples of a problem"
            )
        seen.add(key)


def plan_chunks(samples: list[dict[str, Any]], config: SandboxConfig) -> list[Chunk]:
    """Cut the samples into chunks of whole problems, benchmark by benchmark.

    Raises:
        ArtifactError: a sample of a benchmark or problem that the config does not name.
        ConfigError: a benchmark that needs what the sandbox does not have.
    """
    by_task: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for sample in samples:
        tasks = by_task.setdefault(sample["benchmark"], {})
        tasks.setdefault(sample["task_id"], []).append(sample)
    benchmarks = {benchmark.name: benchmark for benchmark in load_benchmarks(config.benchmarks)}
    chunks: list[Chunk] = []
    for name, tasks in by_task.items():
        if name not in benchmarks:
            raise ArtifactError(
                f"expected samples of the benchmarks {', '.join(benchmarks)}, got {name!r}: "
                "set the same --benchmarks as for generation"
            )
        check_runnable(benchmarks[name])
        problems = benchmarks[name].problems
        unknown = tasks.keys() - {problem.task_id for problem in problems}
        if unknown:
            raise ArtifactError(
                f"expected samples of the problems of {name}, got {min(unknown)!r}: "
                "generate the samples again with this version of the benchmark"
            )
        chunks += cut_chunks(problems, tasks, CHUNK_PROGRAMS)
    return chunks


def run_chunk(
    chunk: Chunk,
    config: SandboxConfig,
    floor: str = DEFAULT_FLOOR,
    worker: "RemoteWorker | None" = None,
    gvisor: bool = False,
) -> tuple[list[Draft], Tally]:
    """Run the programs of one chunk, in a process of this machine where no worker is given."""
    checks, samples = selfcheck_rows(chunk.problems), sample_rows(chunk)
    programs = [program for _, program in [*checks, *samples]]
    with worker or WorkerProcess(config, floor, gvisor=gvisor) as judge:
        verdicts = list(run_programs(judge, programs))
        retried = retry_broken(judge, programs, verdicts)
        level = judge.level
    tally = Tally()
    tally.count("programs_retried", retried)
    tally.count(f"chunks_at_{level}")
    sampled = {sample["task_id"] for sample in chunk.samples}
    tally.count("problems_without_samples", len(chunk.problems) - len(sampled))
    rows: dict[str, list[dict[str, Any]]] = {"selfcheck": [], "verdicts": []}
    results = iter(verdicts)
    for part, asked in (("selfcheck", checks), ("verdicts", samples)):
        for row, _ in asked:
            result = next(results)
            late = result.verdict == "timeout"
            # Which limit came first hangs on the machine's load: counted, and in no digest.
            tally.count("timeouts_by_wall_clock", int(late and result.detail == "wall"))
            detail = "" if late else result.detail
            rows[part].append({**row, "verdict": result.verdict, "detail": detail})
            kind = row.get("kind", "samples")
            tally.count(f"{kind}_{result.verdict}")
            tally.count(kind)
    tally.count("distinct_programs", len(set(programs)))
    tally.count("samples_repeated", len(samples) - len({program for _, program in samples}))
    return [draft_rows(part, rows[part]) for part in ("verdicts", "selfcheck")], tally


def retry_broken(worker: Judge, programs: Sequence[Program], verdicts: list[Verdict]) -> int:
    """Try programs again that ended without a verdict, and put what comes into the list.

    Returns:
        How many distinct programs were tried again.
    """
    retried: set[Program] = set()
    for pause_s in RETRY_PAUSES_S:
        broken = {
            program
            for program, verdict in zip(programs, verdicts, strict=True)
            if verdict.verdict == BROKEN
        }
        if broken:
            time.sleep(pause_s)
        again = {program: judge_program(worker, program) for program in broken}
        verdicts[:] = [
            again.get(program, verdict) for program, verdict in zip(programs, verdicts, strict=True)
        ]
        retried |= broken
    return len(retried)


def measures_of(tally: Tally) -> dict[str, float]:
    """The numbers of the step: samples, those that passed, and the self-check's."""
    names = (
        "samples",
        "samples_passed",
        "samples_infra_error",
        "samples_repeated",
        "distinct_programs",
    )
    checks = ("canonical", "canonical_passed", "empty", "empty_passed")
    numbers = {name: float(tally.counts.get(name, 0)) for name in (*names, *checks)}
    return numbers | {"isolation_level": float(reached_level(tally))}


def reached_level(tally: Tally) -> int:
    """The lowest level of isolation that any chunk ran at."""
    prefix = "chunks_at_L"
    return min(
        (int(name.removeprefix(prefix)) for name in tally.counts if name.startswith(prefix)),
        default=0,
    )


def _markdown(tally: Tally) -> str:
    counts = tally.counts
    lines = ["| verdict | samples |", "|---|---|"]
    lines += [
        f"| {name.removeprefix('samples_')} | {number:,} |"
        for name, number in sorted(counts.items())
        if name.startswith("samples_")
    ]
    canonical, empty = counts.get("canonical", 0), counts.get("empty", 0)
    lines += [
        "",
        f"Self-check: {counts.get('canonical_passed', 0):,} of {canonical:,} reference solutions "
        f"pass, {counts.get('empty_passed', 0):,} of {empty:,} empty completions pass.",
        f"{counts.get('samples_repeated', 0):,} samples repeat another one's text and were not run "
        "again.",
        f"{counts.get('timeouts_by_wall_clock', 0):,} programs met the wall-clock limit before the "
        "one on processor time: they slept, or the machine was loaded.",
        f"Isolation: level L{reached_level(tally)}.",
    ]
    return "\n".join(lines)
