"""The step gives every sample a verdict, checks itself, and writes the same bytes every time."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from components.artifacts.artifact import Artifact, ArtifactWriter
from components.artifacts.errors import ArtifactError, StepFailedError
from components.artifacts.manifest import Manifest, digest_of_files
from components.artifacts.rows import draft_rows, read_rows
from components.artifacts.storage import open_storage
from components.artifacts.tally import Tally
from components.problems.benchmark import load_benchmark
from components.sandbox.config import SandboxConfig
from components.sandbox.programs import cut_chunks
from components.sandbox.supervision import (
    Program,
    Verdict,
    WorkerProcess,
    refusal,
    run_programs,
)

SamplesOf = Callable[[Sequence[Mapping[str, Any]]], Artifact]
KIND = {
    "passed": "    return 2 * x\n",
    "failed": "    return x\n",
    "timeout": "    while 1: pass\n",
}


@pytest.fixture
def samples_of(tmp_path: Path) -> SamplesOf:
    """Make an artifact of samples from rows."""

    def make(rows: Sequence[Mapping[str, Any]]) -> Artifact:
        storage = open_storage(str(tmp_path / "samples"))
        writer = ArtifactWriter(storage)
        writer.commit(0, [draft_rows("samples", rows)], Tally())
        committed = writer.committed(0)
        assert committed is not None
        files = tuple(committed[0])
        manifest = Manifest(
            step="generation",
            version=1,
            kind="samples",
            key="0" * 32,
            digest=digest_of_files(files, frozenset()),
            files=files,
            tally=Tally(),
            measures={},
            config={},
            parents={},
            code_version="test",
        )
        storage.create("manifest.json", manifest.to_bytes())
        return Artifact.open(storage.uri)

    return make


def _row(task_id: str, sample: int, completion: str, benchmark: str = "easy") -> dict[str, Any]:
    return {
        "benchmark": benchmark,
        "task_id": task_id,
        "temperature": 0.2,
        "sample": sample,
        "prompt": "",
        "completion": completion,
        "num_tokens": 1,
        "finish": "stop",
    }


def _rows() -> list[dict[str, Any]]:
    problems = load_benchmark("easy").problems
    rows = [_row(problem.task_id, 0, problem.canonical_solution) for problem in problems]
    rows += [_row("easy/0", n, text) for n, text in enumerate(KIND.values(), start=1)]
    rows += [_row("easy/1", 1, "\0"), _row("easy/1", 2, "\ud800"), _row("easy/1", 3, "\0")]
    return rows


def test_every_sample_gets_its_verdict_and_every_problem_is_checked(
    make_step: Callable[..., Any], samples_of: SamplesOf
) -> None:
    outcome = make_step("sandbox", {"samples": samples_of(_rows())}, workers=2, timeout_s=1)
    verdicts = read_rows(outcome.artifact, "verdicts")
    by_sample = {(row["task_id"], row["sample"]): row["verdict"] for row in verdicts}
    assert len(by_sample) == len(verdicts) == len(_rows())
    problems = load_benchmark("easy").problems
    assert {by_sample[problem.task_id, 0] for problem in problems} == {"passed"}
    assert [by_sample["easy/0", n] for n in (1, 2, 3)] == [*KIND]
    checks = read_rows(outcome.artifact, "selfcheck")
    assert [row["task_id"] for row in checks if row["kind"] == "canonical"] == [
        problem.task_id for problem in problems
    ]
    assert {(row["kind"], row["verdict"]) for row in checks} == {
        ("canonical", "passed"),
        ("empty", "failed"),
    }
    measures = outcome.artifact.manifest.measures
    assert measures["canonical_passed"] == len(problems)
    assert measures["samples"] == len(_rows())
    # Canonical samples and easy/0's repeat the self-check; "\0" runs once for two samples.
    assert measures["distinct_programs"] == 2 * len(problems) + 2 + 2


def test_the_bytes_are_the_same_for_any_workers_and_after_a_crash(
    make_step: Callable[..., Any], samples_of: SamplesOf, tmp_path: Path
) -> None:
    samples = samples_of(_rows()[:20])
    one = make_step("sandbox", {"samples": samples}, workers=1, data_root=str(tmp_path / "one"))
    two = make_step("sandbox", {"samples": samples}, workers=2, data_root=str(tmp_path / "two"))
    assert one.artifact.manifest.to_bytes() == two.artifact.manifest.to_bytes()
    root = str(tmp_path / "three")
    three = make_step("sandbox", {"samples": samples}, engine="indexed", workers=2, data_root=root)
    assert one.artifact.manifest.to_bytes() == three.artifact.manifest.to_bytes()
    folder = Path(two.artifact.storage.uri)
    whole = (folder / "manifest.json").read_bytes()
    (folder / "manifest.json").unlink()
    (folder / "records" / "00001.json").unlink()
    kept = (folder / "records" / "00000.json").stat().st_mtime_ns
    again = make_step("sandbox", {"samples": samples}, data_root=str(tmp_path / "two"))
    assert not again.reused
    assert (folder / "manifest.json").read_bytes() == whole
    assert (folder / "records" / "00000.json").stat().st_mtime_ns == kept


@pytest.mark.parametrize("row", [_row("easy/0", 0, "", "other"), _row("easy/none", 0, "")])
def test_a_sample_of_an_unknown_problem_is_refused_in_one_line(
    make_step: Callable[..., Any], samples_of: SamplesOf, row: dict[str, Any]
) -> None:
    with pytest.raises(ArtifactError) as caught:
        make_step("sandbox", {"samples": samples_of([row])})
    assert "\n" not in str(caught.value)


def test_all_of_humaneval_passes_its_own_tests_and_nothing_fails_to_fail(
    make_step: Callable[..., Any], samples_of: SamplesOf
) -> None:
    samples = samples_of([_row("HumanEval/0", 0, "    pass\n", "humaneval")])
    measures = make_step("sandbox", {"samples": samples}, workers=2).artifact.manifest.measures
    assert measures["canonical"] == measures["canonical_passed"] == 164
    assert measures["empty_passed"] == 0


def test_changed_tests_of_a_benchmark_make_another_key(
    make_step: Callable[..., Any], samples_of: SamplesOf, tmp_path: Path
) -> None:
    path = tmp_path / "own.jsonl"
    problem = {
        "task_id": "own/0",
        "prompt": "def f(x):\n",
        "entry_point": "f",
        "canonical_solution": "    return x\n",
        "test": "def check(f):\n    assert f(1) == 1\n",
    }
    samples = samples_of([_row("own/0", 0, "    return 1\n", "own")])
    verdicts = []
    for test in (problem["test"], "def check(f):\n    assert f(2) == 2\n"):
        path.write_text(json.dumps({**problem, "test": test}) + "\n")
        outcome = make_step("sandbox", {"samples": samples}, benchmarks=[str(path)])
        verdicts.append(read_rows(outcome.artifact, "verdicts")[0]["verdict"])
    assert verdicts == ["passed", "failed"]


def test_chunks_hold_whole_problems_and_lose_none() -> None:
    problems = load_benchmark("easy").problems
    samples = {
        problem.task_id: [_row(problem.task_id, n, "") for n in range(5)] for problem in problems
    }
    chunks = cut_chunks(problems, samples, 64)
    assert tuple(problem for chunk in chunks for problem in chunk.problems) == problems
    assert all(len(chunk.samples) == 5 * len(chunk.problems) for chunk in chunks)
    assert all(7 * len(chunk.problems) >= 64 for chunk in chunks[:-1])


def test_equal_programs_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def run(self: WorkerProcess, program: Program) -> Verdict:
        ran.append(program.completion)
        return Verdict("failed", program.completion)

    monkeypatch.setattr(WorkerProcess, "run", run)
    programs = [Program("", text, "", "f") for text in ("a", "b", "a", "a", "b")]
    verdicts = run_programs(WorkerProcess(SandboxConfig()), programs)
    assert [verdict.detail for verdict in verdicts] == ["a", "b", "a", "a", "b"]
    assert ran == ["a", "b"]


def test_a_completion_of_100_megabytes_is_counted_and_costs_no_other_its_verdict(
    make_step: Callable[..., Any], samples_of: SamplesOf
) -> None:
    rows = [_row("easy/0", 0, "#" * 10**8), _row("easy/0", 1, KIND["passed"])]
    artifact = make_step("sandbox", {"samples": samples_of(rows)}, timeout_s=1).artifact
    verdicts = [(row["verdict"], row["detail"]) for row in read_rows(artifact, "verdicts")]
    assert verdicts == [("output", "completion size"), ("passed", "")]
    counts = artifact.manifest.tally.counts
    assert counts["problems_without_samples"] == len(load_benchmark("easy").problems) - 1


def test_the_level_reached_stands_in_the_artifact_and_enters_no_key(
    make_step: Callable[..., Any], samples_of: SamplesOf, tmp_path: Path
) -> None:
    samples = samples_of([_row("easy/0", 0, KIND["passed"])])
    safe = make_step("sandbox", {"samples": samples}, data_root=str(tmp_path / "a")).artifact
    assert safe.manifest.measures["isolation_level"] >= 2
    assert "level L" in safe.storage.read("summary.md").decode()
    assert "unsafe" not in json.dumps(safe.manifest.config)


def test_below_the_floor_the_step_refuses_in_one_line_with_what_to_do() -> None:
    line = refusal("L1", "L2", {"L3": "unshare: Operation not permitted"})
    assert "\n" not in line
    assert "apparmor_restrict_unprivileged_userns" in line
    with (
        WorkerProcess(SandboxConfig(), flags=("--ceiling", "L1")) as worker,
        pytest.raises(StepFailedError, match="L2 or higher") as caught,
    ):
        worker.probe()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "row", [{**_row("easy/0", 0, ""), "completion": None}, _row("easy/0", 1, "")]
)
def test_a_sample_of_a_wrong_type_or_twice_is_refused_in_one_line(
    make_step: Callable[..., Any], samples_of: SamplesOf, row: dict[str, Any]
) -> None:
    with pytest.raises(ArtifactError, match="row 2") as caught:
        make_step("sandbox", {"samples": samples_of([_row("easy/0", 1, ""), row])})
    assert "\n" not in str(caught.value)
