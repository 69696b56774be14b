"""Run one step: open its inputs, name its key, reuse or make its artifact, publish it whole."""

import importlib
import json
import logging
import os
import platform
import resource
import shutil
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

from components.artifacts.artifact import Artifact, ArtifactWriter
from components.artifacts.canonical import key_of
from components.artifacts.errors import ConfigError, CorruptArtifactError
from components.artifacts.manifest import (
    LEDGER_NAME,
    LOCATION_NAME,
    MANIFEST_NAME,
    FileEntry,
    Manifest,
    Parent,
    digest_of_files,
)
from components.artifacts.storage import Storage, open_storage
from components.artifacts.withdrawal import refuse_withdrawn
from components.stage.config import Config, Within
from components.stage.engine import LocalEngine, SharedStep, StepLauncher, num_cores
from components.stage.indexed import IndexedEngine, LocalLauncher
from components.stage.job import PodLauncher, follow_leader, job_index
from components.stage.lifeline import SUPERVISOR_VARIABLE
from components.stage.progress import start_logging
from components.stage.step import Report, Step
from components.stage.summary import funnel_line, funnel_markdown

SUMMARY_NAME = "summary.md"
PAGE_NAME = "page.html"
METRICS_NAME = "metrics.json"
ERROR_NAME = "error.txt"
"""What an output folder holds beside the copied manifest and its location."""

RANK_VARIABLES = ("RANK", "JAX_PROCESS_ID")
"""torchrun's and JAX's name for the number of a process."""

SIZE_VARIABLES = ("WORLD_SIZE", "JAX_NUM_PROCESSES")
"""torchrun's and JAX's name for how many there are."""

KEY_VARIABLE = "CODEKILN_KEY"
"""The key that a launcher expects of the processes that it starts."""


CLUSTER_ENGINE = "components.cluster.engine"
CLUSTER_TRAINING = "components.cluster.training"
"""Loaded by their names, as the rooms of steps are: this room imports none of that one."""

PLANS_NAME = "plans"
"""The folder of the scratch storage where an indexed engine hands its work over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution(Config):
    """Where and how fast a step runs. Nothing here enters a key."""

    data_root: str = ".codekiln"
    """Where artifacts live: a folder, or a URI. One data root per trust domain."""

    workers: Annotated[int, Within(0, 1024)] = 0
    """Processes at once; 0 takes every core."""

    threads: Annotated[int, Within(0, 1024)] = 0
    """Threads of a step that computes in one process, such as training; 0 takes every core.
    Weights are reproduced bit by bit at an equal number of threads."""

    engine: Literal["local", "indexed", "spark", "cluster"] = "local"
    """Who does the work: `local`, worker processes; `indexed`, one process an index, or the pods of
    a Kubernetes Indexed Job whose every pod runs this same command with `workers` = completions;
    `cluster`, Indexed Jobs that this step starts, samples run in Jobs of their own, and training in
    a TrainJob; `spark`, as `local`, and the join of near-dedup on Spark."""

    allow_unsafe: bool = False
    """Whether the sandbox runs programs on a machine that cannot isolate them: only for programs
    that you trust. Verdicts do not depend on it; the level reached is in the artifact."""

    accelerator: Literal["", "gpu-l4", "gpu-h100", "gpu-h200", "tpu-v5e", "tpu-v6e"] = ""
    """What training runs on in a cluster, by the name of its component in `k8s/components`; empty
    for CPUs."""

    accelerators: Annotated[int, Within(0, 4096)] = 0
    """GPUs or TPU chips of training in all; 0 takes one machine's."""

    queue: str = ""
    """Kueue's LocalQueue that launched Jobs wait in; empty for none."""

    spot: bool = False
    """Whether launched pods run on Spot machines, which cost less and may be taken away: work that
    was lost is done again."""

    max_hours: Annotated[float, Within(0.05, 720)] = 24.0
    """Hours after which Kubernetes ends what was launched, whatever it does."""

    node_selector: str = ""
    """Labels of the nodes that launched pods may run on: `label=value,label=value`."""

    tolerations: str = ""
    """Taints of nodes that launched pods put up with: `key=value:Effect,key:Effect`, or JSON."""


LOCAL_ONLY = frozenset({"allow_unsafe"})
"""What a pipeline on Kubernetes has no parameter for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of a step."""

    artifact: Artifact
    reused: bool


def execute(
    step: Step,
    config: Config,
    inputs: Mapping[str, str],
    folder: Path,
    execution: Execution,
    log_file: Path | None = None,
) -> Outcome:
    """Run a step, or find its finished artifact.

    Args:
        step: the declaration.
        config: its identity config.
        inputs: input name to the URI of an artifact, or of a folder with a copied manifest.
        folder: where the copy of the manifest, its location, the metrics and the summary go.
        execution: where and how fast.
        log_file: a file that gets every log line.

    Raises:
        CodekilnError: an input of another kind, a damaged file, a held lease, or what the step
            itself refuses.
    """
    work = _identify(step, config, inputs)
    log = start_logging(step.name, work.key, log_file)
    storage = open_storage(execution.data_root).child(step.name).child(work.key)
    refuse_withdrawn(storage)
    reused = storage.exists(MANIFEST_NAME)
    index = job_index() if execution.engine == "indexed" else None
    if not reused and index:
        follow_leader(storage, _plans(storage), index)
    elif not reused and step.distributed and execution.engine == "cluster":
        _launch(step, config, work, storage, execution)
    elif not reused:
        with storage.lease():
            reused = storage.exists(MANIFEST_NAME)
            if not reused:
                _make(step, config, work, storage, execution)
        _drop_unfinished(storage)
    artifact = Artifact.open(storage.uri, kind=step.kind)
    level = logging.DEBUG if SUPERVISOR_VARIABLE in os.environ else logging.INFO
    line = funnel_line(artifact.manifest.tally)
    log.log(level, "%s %s%s", "reused" if reused else "made", storage.uri, f": {line}" * bool(line))
    _fill_folder(folder, artifact, reused)
    return Outcome(artifact=artifact, reused=reused)


def _drop_unfinished(storage: Storage) -> None:
    """Remove what a step kept to go on from: its artifact is published."""
    shutil.rmtree(storage.scratch())
    unfinished = storage.unfinished()
    if unfinished is not None:
        unfinished.clear()


def process_rank() -> int:
    """The number of this process among those that make one artifact, as its launcher says it."""
    for name in RANK_VARIABLES:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


def is_one_of_several() -> bool:
    """Whether a launcher started this process with others."""
    return any(os.environ.get(name, "1") not in ("", "1") for name in SIZE_VARIABLES)


def follow(
    step: Step,
    config: Config,
    inputs: Mapping[str, str],
    execution: Execution,
    log_file: Path | None = None,
) -> None:
    """Help the first process of a launch to make an artifact, which that one publishes.

    Where the artifact is there already, there is nothing to do: the first process sees the same.

    Raises:
        CodekilnError: as `execute`.
    """
    work = _identify(step, config, inputs)
    start_logging(step.name, work.key, log_file)
    storage = open_storage(execution.data_root).child(step.name).child(work.key)
    if not storage.exists(MANIFEST_NAME):
        with make_engine(execution, storage) as engine:
            step.load_follow()(work.artifacts, storage, config, engine)


@dataclass(frozen=True)
class _Work:
    """What a step is asked to make: its inputs, and the key that they and the config have."""

    artifacts: Mapping[str, Artifact]
    parents: Mapping[str, Parent]
    identity: Mapping[str, Any]
    key: str


def _identify(step: Step, config: Config, inputs: Mapping[str, str]) -> _Work:
    """Open the inputs and name the key.

    Raises:
        ConfigError: the launcher expects another key; this process would wait for the others.
    """
    artifacts = {
        name: Artifact.open(inputs[name], kind=kind)
        for name, kind in step.all_inputs().items()
        if name in step.inputs or name in inputs
    }
    for artifact in artifacts.values():
        refuse_withdrawn(artifact.storage)
    parents = {
        name: Parent(step=a.manifest.step, key=a.manifest.key, digest=a.manifest.digest)
        for name, a in artifacts.items()
    }
    identity = {"config": config.identity(), "observed": step.observe(config)}
    named = {
        name: f"{p.key} {p.digest}" if step.names_parents else p.digest
        for name, p in parents.items()
    }
    key = key_of(step.name, step.version, identity, named)
    expected = os.environ.get(KEY_VARIABLE)
    if step.distributed and expected and expected != key:
        raise ConfigError(
            f"expected the key {expected} that {KEY_VARIABLE} names, got {key} for {step.name}: "
            "launch again with this image, this config and these inputs"
        )
    return _Work(artifacts, parents, identity, key)


def _make(
    step: Step,
    config: Config,
    work: _Work,
    storage: Storage,
    execution: Execution,
) -> None:
    """Do the work under the lease and publish the manifest last."""
    started = time.time()
    writer = ArtifactWriter(storage)
    with make_engine(execution, storage) as engine:
        report = step.load_run()(work.artifacts, writer, config, engine)
    report.tally.balance()
    files = _committed_files(writer)
    manifest = Manifest(
        step=step.name,
        version=step.version,
        kind=step.kind,
        key=work.key,
        digest=digest_of_files(files, step.undigested),
        files=files,
        tally=report.tally,
        measures=report.measures,
        config=work.identity,
        parents=work.parents,
        code_version=version("codekiln"),
    )
    storage.replace(SUMMARY_NAME, _summary(step, report).encode())
    if report.html is not None:
        storage.replace(PAGE_NAME, report.html.encode())
    storage.replace(LEDGER_NAME, _ledger(started, work.artifacts, execution))
    if not storage.create(MANIFEST_NAME, manifest.to_bytes()):
        _compare_digests(manifest, storage)


def _launch(
    step: Step, config: Config, work: _Work, storage: Storage, execution: Execution
) -> None:
    """Have the artifact made by processes that a cluster starts; the first publishes it."""
    launcher: StepLauncher = importlib.import_module(CLUSTER_TRAINING).TrainJobLauncher(execution)
    launcher.launch(
        SharedStep(
            name=step.name,
            key=work.key,
            config=config.to_json(),
            inputs={name: artifact.storage.uri for name, artifact in work.artifacts.items()},
            storage=storage,
        )
    )


def _compare_digests(made: Manifest, storage: Storage) -> None:
    """What a writer does whose lease was lost, and who came second."""
    held = Manifest.from_bytes(storage.read(MANIFEST_NAME), storage.uri)
    if held.digest != made.digest:
        raise CorruptArtifactError(
            f"expected digest {made.digest[:16]}, found {held.digest[:16]} published by another "
            f"run in {storage.uri}: the step is not deterministic, or two versions write one key"
        )


def make_engine(execution: Execution, storage: Storage) -> LocalEngine | IndexedEngine:
    """The engine that was asked for; 0 workers or threads are the cores of this machine.

    Args:
        execution: which engine, how many workers and threads.
        storage: of the step; an indexed engine hands its work over in the scratch folder.
    """
    workers, threads = execution.workers or num_cores(), execution.threads or num_cores()
    if execution.engine == "cluster":
        engine: IndexedEngine = importlib.import_module(CLUSTER_ENGINE).ClusterEngine(
            execution, storage, workers, threads
        )
        return engine
    if execution.engine == "indexed":
        launcher = LocalLauncher() if job_index() is None else PodLauncher()
        return IndexedEngine(workers, threads, _plans(storage), launcher, execution.allow_unsafe)
    return LocalEngine(
        workers,
        threads,
        joins_on_spark=execution.engine == "spark",
        allow_unsafe=execution.allow_unsafe,
    )


def _plans(storage: Storage) -> Storage:
    """Where an indexed engine of a step hands its work over."""
    return open_storage(str(storage.scratch())).child(PLANS_NAME)


def _committed_files(writer: ArtifactWriter) -> tuple[FileEntry, ...]:
    files: list[FileEntry] = []
    index = 0
    while (committed := writer.committed(index)) is not None:
        files += committed[0]
        index += 1
    return tuple(sorted(files, key=lambda entry: (entry.part, entry.index, entry.name)))


def _summary(step: Step, report: Report) -> str:
    funnel = funnel_markdown(report.tally, report.measures)
    return f"## {step.name}\n\n{report.markdown.strip()}\n\n{funnel}".strip() + "\n"


def _ledger(started: float, artifacts: Mapping[str, Artifact], execution: Execution) -> bytes:
    """What a digest must not depend on: when, where and how the step ran."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    kib = 1024 if sys.platform == "linux" else 1  # ru_maxrss is in KiB on Linux, bytes on macOS
    value = {
        "started_unix_s": round(started, 3),
        "seconds": round(time.time() - started, 3),
        "cpu_seconds": round(
            own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime, 3
        ),
        "peak_rss_bytes": max(own.ru_maxrss, children.ru_maxrss) * kib,
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "execution": execution.to_json(),
        "inputs": {name: artifact.storage.uri for name, artifact in artifacts.items()},
    }
    return (json.dumps(value, indent=1) + "\n").encode()


def _fill_folder(folder: Path, artifact: Artifact, reused: bool) -> None:
    """Leave what the next step and a person need: small copies, never the data."""
    target = open_storage(str(folder))
    manifest, storage = artifact.manifest, artifact.storage
    location = {
        "uri": storage.uri,
        "key": manifest.key,
        "digest": manifest.digest,
        "reused": reused,
    }
    target.replace(MANIFEST_NAME, storage.read(MANIFEST_NAME))
    target.replace(METRICS_NAME, (json.dumps(dict(manifest.measures)) + "\n").encode())
    target.replace(SUMMARY_NAME, storage.read(SUMMARY_NAME))
    if storage.exists(PAGE_NAME):
        target.replace(PAGE_NAME, storage.read(PAGE_NAME))
    target.replace(LOCATION_NAME, (json.dumps(location, indent=1) + "\n").encode())
