"""The same samples get the same verdicts, whatever the order, the workers or a kill."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from components.artifacts.artifact import Artifact
from components.artifacts.rows import draft_rows, read_rows
from components.problems.benchmark import Problem, load_benchmark
from components.sandbox import run as sandbox_run
from components.sandbox.config import SandboxConfig
from components.sandbox.programs import program_of
from components.sandbox.run import retry_broken
from components.sandbox.supervision import Program, Verdict, WorkerProcess

MAX_KILLS = 3
Row = dict[str, Any]


def row(task_id: str, sample: int, completion: str, heat: float = 0.2, name: str = "easy") -> Row:
    return {
        "benchmark": name,
        "task_id": task_id,
        "temperature": heat,
        "sample": sample,
        "prompt": "",
        "completion": completion,
    }


def many_rows() -> list[Row]:
    """Good, wrong, broken, crashing and endless samples of the easy set, at two temperatures."""
    rows = []
    for place, problem in enumerate(load_benchmark("easy").problems):
        texts = [problem.canonical_solution, "    return 0\n", "    return (\n", "    1 / 0\n"]
        if place % 40 == 0:
            texts += ["    while 1: pass\n", "    import os; os.abort()\n"]
        for number, text in enumerate(texts):
            rows.append(row(problem.task_id, number, text, 0.2))
            rows.append(row(problem.task_id, number, text + "    # more\n", 0.8))
    return rows


@pytest.fixture
def samples_of(artifact_of: Callable[..., Artifact]) -> Callable[[Sequence[Row]], Artifact]:
    def make(rows: Sequence[Row]) -> Artifact:
        return artifact_of("samples", [draft_rows("samples", rows)])

    return make


def verdicts_of(artifact: Artifact) -> dict[tuple[Any, ...], tuple[str, str]]:
    names = ("benchmark", "task_id", "temperature", "sample")
    return {
        tuple(found[name] for name in names): (found["verdict"], found["detail"])
        for found in read_rows(artifact, "verdicts")
    }


def test_verdicts_do_not_hang_on_the_order_or_on_the_workers(
    make_step: Callable[..., Any], samples_of: Callable[..., Artifact], tmp_path: Path
) -> None:
    rows = many_rows()[:160]
    mixed = rows.copy()
    random.Random(1).shuffle(mixed)
    first = make_step("sandbox", {"samples": samples_of(rows)}, workers=1, timeout_s=1)
    second = make_step("sandbox", {"samples": samples_of(mixed)}, workers=3, timeout_s=1)
    found = verdicts_of(first.artifact)
    assert found == verdicts_of(second.artifact)
    assert len(found) == len(rows)
    assert {verdict for verdict, _ in found.values()} == {"passed", "failed", "crashed", "timeout"}


def test_equal_completions_run_once_across_temperatures_and_are_counted(
    make_step: Callable[..., Any], samples_of: Callable[..., Artifact]
) -> None:
    solution = load_benchmark("easy").problems[0].canonical_solution
    rows = [row("easy/0", n, text, heat) for heat in (0.2, 0.8) for n, text in enumerate("ab")]
    rows += [row("easy/0", 2, solution, heat) for heat in (0.2, 0.8)]
    artifact = make_step("sandbox", {"samples": samples_of(rows)}).artifact
    problems = len(load_benchmark("easy").problems)
    assert artifact.manifest.measures["samples_repeated"] == 3
    # The solution and the empty one of every problem, and two more.
    assert artifact.manifest.measures["distinct_programs"] == 2 * problems + 2
    assert len(verdicts_of(artifact)) == 6


def test_a_kill_at_any_point_loses_and_repeats_nothing(
    make_step: Callable[..., Any], samples_of: Callable[..., Artifact], tmp_path: Path
) -> None:
    samples = samples_of(many_rows())
    whole = make_step(
        "sandbox", {"samples": samples}, workers=2, timeout_s=1, data_root=str(tmp_path / "whole")
    )
    root = tmp_path / "killed"
    command = [sys.executable, "-P", "-m", "pipelines.cli", "sandbox"]
    command += ["--samples", samples.storage.uri, "--output", str(tmp_path / "out")]
    command += ["--timeout-s", "1", "--workers", "2", "--data-root", str(root)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    stream = random.Random(7)
    seen: dict[str, int] = {}
    kills = 0
    while kills < MAX_KILLS:
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        time.sleep(stream.uniform(0.5, 2.5))
        killed = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        records = {path.name: path for path in root.rglob("records/*.json")}
        for name, written in seen.items():
            assert records[name].stat().st_mtime_ns == written, f"{name} was made again"
        seen = {name: path.stat().st_mtime_ns for name, path in records.items()}
        if not killed:
            break
        kills += 1
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert kills
    (manifest,) = root.rglob("manifest.json")
    again = Artifact.open(str(manifest.parent))
    assert verdicts_of(again) == verdicts_of(whole.artifact)
    assert again.manifest.digest == whole.artifact.manifest.digest
    assert len(read_rows(again, "verdicts")) == len(many_rows())
    for name, written in seen.items():
        (path,) = root.rglob(f"records/{name}")
        assert path.stat().st_mtime_ns == written


def test_what_has_no_verdict_is_tried_again_and_never_called_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: dict[str, int] = {}

    def run(self: WorkerProcess, program: Program) -> Verdict:
        count = tries[program.completion] = tries.get(program.completion, 0) + 1
        broken = program.completion == "never" or (program.completion == "later" and count < 3)
        return Verdict("infra_error", "the worker died") if broken else Verdict("passed", "")

    monkeypatch.setattr(WorkerProcess, "run", run)
    monkeypatch.setattr(sandbox_run, "RETRY_PAUSES_S", (0.0, 0.0, 0.0))
    worker = WorkerProcess(SandboxConfig())
    programs = [Program("", text, "", "f") for text in ("good", "later", "never", "later")]
    verdicts = [worker.run(program) for program in programs[:3]]
    verdicts.append(verdicts[1])
    assert retry_broken(worker, programs, verdicts) == 2
    assert [found.verdict for found in verdicts] == ["passed", "passed", "infra_error", "passed"]
    assert tries == {"good": 1, "later": 3, "never": 4}


def judged(problem: Problem, *texts: str) -> list[str]:
    """The verdicts of completions of one problem."""
    with WorkerProcess(SandboxConfig()) as worker:
        return [worker.run(program_of(problem, text)).verdict for text in texts]


def humaneval(number: int) -> Problem:
    return load_benchmark("humaneval").problems[number]


def test_humaneval_33_whose_test_calls_the_function_by_name() -> None:
    problem = humaneval(33)
    assert "sort_third(" in problem.test
    assert judged(problem, problem.canonical_solution, "    return l\n") == ["passed", "failed"]


def test_humaneval_115_whose_import_comes_before_its_docstring() -> None:
    problem = humaneval(115)
    assert "import math" in problem.prompt.split('"""')[0]
    assert judged(problem, problem.canonical_solution, "    return 0\n") == ["passed", "failed"]


def test_the_trailing_newline_of_prompt_and_completion_changes_no_verdict() -> None:
    """PyCodeGPT strips the prompt, so that its completions begin with a newline; others do not."""
    solution = humaneval(0).canonical_solution
    forms = (solution, solution.rstrip(), "\n" + solution, solution.rstrip() + "  # end", "\n")
    assert judged(humaneval(0), *forms) == ["passed"] * 4 + ["failed"]


def test_an_infilling_suffix_follows_the_completion_on_a_line_of_its_own() -> None:
    problem = load_benchmark("humaneval-single-line").problems[0]
    hidden = problem.canonical_solution
    verdicts = judged(problem, hidden, hidden.rstrip("\n"), "    pass\n", "")
    assert verdicts == ["passed", "passed", "failed", "failed"]
