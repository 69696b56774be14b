"""Files of every known shape become problems that the sandbox judges; others are refused."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from components.artifacts.errors import ConfigError
from components.problems import oracle
from components.problems.benchmark import NAMES, Problem, load_benchmark
from components.problems.evalplus import KINDS, TYPES
from components.problems.infilling import MAX_RANGES, VACUOUS, cut_holes
from components.problems.packages import check_runnable, needed_packages
from components.sandbox.config import SandboxConfig
from components.sandbox.programs import program_of
from components.sandbox.supervision import WorkerProcess

HUMANEVAL_PLUS = {
    "task_id": "HumanEval/900",
    "prompt": 'def halve(x):\n    """Half of x."""\n',
    "entry_point": "halve",
    "canonical_solution": "    return x / 2\n",
    "base_input": [[1], [2]],
    "plus_input": [[0.1], [-3]],
    "contract": "    assert x > -5\n",
    "atol": 0,
}
MBPP_PLUS = {
    "task_id": "Mbpp/2",
    "prompt": '"""\nShared elements of two tuples.\n"""\n',
    "entry_point": "similar_elements",
    "canonical_solution": "def similar_elements(a, b):\n    return tuple(set(a) & set(b))\n",
    "base_input": [[[3, 4, 5], [5, 4]]],
    "plus_input": [[[1], [2]]],
    "atol": 0,
}
MBPP = {
    "task_id": 11,
    "text": "Write a function to double a number.",
    "code": "def helper(x):\r\n  return 2 * x\r\ndef double(x):\r\n  return helper(x)",
    "test_list": ["assert double(2) == 4", "assert abs(double(-1)) == 2"],
    "test_setup_code": "",
    "challenge_test_list": [],
}
MULTIPL_E = {
    "name": "HumanEval_0_double",
    "language": "py",
    "prompt": 'def double(x: int) -> int:\n    """Twice x."""\n',
    "doctests": "transform",
    "tests": "def check(candidate):\n    assert candidate(2) == 4\n\n"
    "def test_check():\n    check(double)\n\ntest_check()\n",
    "stop_tokens": ["\ndef", "\n#", "\nif", "\nclass"],
}
PANDAS_EVAL = {
    "task_id": "PandasEval/0",
    "prompt": "import pandas as pd\n\ndf = pd.DataFrame({'a': [1]})\n# rows of df\nn =",
    "entry_point": "none",
    "canonical_solution": [" len(df)\n"],
    "test": "def check():\n    assert n == 1\n",
}


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    with WorkerProcess(SandboxConfig(timeout_s=1)) as process:
        yield process


def load(folder: Path, *rows: Mapping[str, Any]) -> Sequence[Problem]:
    path = folder / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_benchmark(str(path)).problems


def judge(worker: WorkerProcess, problem: Problem, completion: str) -> str:
    return worker.run(program_of(problem, completion)).verdict


def test_a_file_of_each_shape_is_judged_by_its_own_tests(
    tmp_path: Path, worker: WorkerProcess
) -> None:
    right = {
        "halve": ("    return x * 0.5\n", "    return x // 2\n"),
        "similar_elements": (
            "def similar_elements(a, b):\n    return [x for x in b if x in a]\n",
            "def similar_elements(a, b):\n    return a\n",
        ),
        "double": ("def double(x):\n    return x + x\n", "def double(x):\n    return 4\n"),
    }
    for row in (HUMANEVAL_PLUS, MBPP_PLUS, MBPP):
        (problem,) = load(tmp_path, row)
        good, bad = right[problem.entry_point]
        assert judge(worker, problem, problem.canonical_solution) == "passed", row
        assert judge(worker, problem, good) == "passed", row
        assert judge(worker, problem, bad) == "failed", row
        assert judge(worker, problem, "") == "failed", row
    (problem,) = load(tmp_path, MULTIPL_E)
    assert (problem.task_id, problem.canonical_solution) == ("HumanEval_0_double", "")
    assert judge(worker, problem, "    return 2 * x\n") == "passed"
    assert judge(worker, problem, "") == "failed"


def test_mbpp_shows_its_first_test_and_calls_the_function_that_its_tests_call(
    tmp_path: Path,
) -> None:
    (problem,) = load(tmp_path, MBPP)
    assert (problem.task_id, problem.entry_point) == ("11", "double")
    assert problem.prompt.splitlines()[1:3] == [MBPP["text"], "assert double(2) == 4"]
    assert "\r" not in problem.canonical_solution
    sanitized = {**MBPP, "prompt": MBPP["text"], "test_imports": ["import math"]}
    del sanitized["text"]
    (other,) = load(tmp_path, sanitized)
    assert other.prompt == problem.prompt
    assert other.test.startswith("import math\n")


SANITIZED_MBPP = {
    "source_file": "Questions.ipynb",
    "task_id": 56,
    "prompt": "Write a function that says whether a number is even.",
    "code": "def rest (n):\n    return n % 2\ndef check (n):\n    return rest(n) == 0",
    "test_imports": [],
    "test_list": ["assert check(2) == True", "assert check(3) == False"],
}


def test_sanitized_mbpp_is_one_array_and_may_test_a_function_named_check(
    tmp_path: Path, worker: WorkerProcess
) -> None:
    path = tmp_path / "sanitized-mbpp.json"
    path.write_text(json.dumps([SANITIZED_MBPP, {**SANITIZED_MBPP, "task_id": 57}]))
    benchmark = load_benchmark(str(path))
    assert benchmark.name == "sanitized-mbpp"
    assert [p.task_id for p in benchmark.problems] == ["56", "57"]
    problem = benchmark.problems[0]
    assert problem.entry_point == "check"
    assert judge(worker, problem, problem.canonical_solution) == "passed"
    assert judge(worker, problem, "def check(n):\n    return True\n") == "failed"
    assert judge(worker, problem, "") == "failed"
    for text, words in (
        (json.dumps([SANITIZED_MBPP] * 2), "'56' again in item 2"),
        (json.dumps([SANITIZED_MBPP, 3]), "item 2"),
        (json.dumps(SANITIZED_MBPP), "name the file .jsonl"),
        (f"{json.dumps(SANITIZED_MBPP)}\n" * 2, "is named .jsonl"),
        ("[]", "got none"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=words) as caught:
            load_benchmark(str(path))
        assert "\n" not in str(caught.value)


def test_the_first_mbpp_plus_numbers_its_tasks_and_ends_its_prompts_in_quotes(
    tmp_path: Path, worker: WorkerProcess
) -> None:
    row = {**MBPP_PLUS, "task_id": 2, "prompt": "'''\nShared elements.\n'''"}
    (problem,) = load(tmp_path, row)
    assert problem.task_id == "Mbpp/2"
    assert judge(worker, problem, problem.canonical_solution) == "passed"
    page = {**MBPP, "source_file": "Questions.ipynb", "test": "import numpy as np\n"}
    with pytest.raises(ConfigError, match=r"MbppPlus\.jsonl"):
        load(tmp_path, page)


def test_multipl_e_is_one_array_and_its_tests_name_the_function(
    tmp_path: Path, worker: WorkerProcess
) -> None:
    path = tmp_path / "humaneval-py-transform.json"
    prompt = "def double(x: int) -> int:\n    return 2 * x\n\n\ndef half(x: int) -> int:\n"
    tests = "def check(candidate):\n    assert candidate(4) == 2\n\n"
    row = {**MULTIPL_E, "prompt": prompt, "tests": tests + "def test_check():\n    check(half)\n"}
    first = {**row, "name": "first", "tests": row["tests"].replace("half", "double")}
    path.write_text(json.dumps([row, first], indent=2))
    half, double = load_benchmark(str(path)).problems
    assert (half.entry_point, double.entry_point) == ("half", "double")
    assert judge(worker, half, "    return x // 2\n") == "passed"


def test_an_infilling_file_goes_on_in_the_line_that_its_prompt_breaks_off(
    tmp_path: Path, worker: WorkerProcess
) -> None:
    row = {
        "task_id": "RandomSpanInfilling/HumanEval/900/1",
        "entry_point": "halve",
        "prompt": "def halve(x):\n    return x ",
        "suffix": "2\n",
        "canonical_solution": "/ ",
        "test": "def check(candidate):\n    assert candidate(4) == 2\n",
    }
    (problem,) = load(tmp_path, row)
    assert problem.suffix == "2\n"
    assert judge(worker, problem, "/ ") == "passed"
    assert judge(worker, problem, "* 1 / ") == "passed"
    assert judge(worker, problem, "- ") == "passed"
    assert judge(worker, problem, "* ") == "failed"
    assert judge(worker, problem, "") == "failed"
    lines = {**row, "canonical_solution": "    return y\n", "suffix": "    return x / 2\n"}
    (problem,) = load(tmp_path, {**lines, "prompt": "def halve(x):\n"})
    assert judge(worker, problem, "    y = 1") == "passed"  # a line whose newline was cut off


def test_what_needs_packages_or_tests_variables_is_refused_before_it_scores_0(
    tmp_path: Path,
) -> None:
    path = tmp_path / "PandasEval.jsonl"
    path.write_text(json.dumps(PANDAS_EVAL) + "\n")
    benchmark = load_benchmark(str(path))
    assert benchmark.problems[0].canonical_solution == " len(df)\n"
    assert needed_packages(benchmark.problems) == ["pandas"]
    with pytest.raises(ConfigError, match="'PandasEval', which imports pandas") as caught:
        check_runnable(benchmark)
    assert "\n" not in str(caught.value)
    path.write_text(json.dumps({**PANDAS_EVAL, "prompt": "n ="}) + "\n")
    with pytest.raises(ConfigError, match="tests variables") as caught:
        check_runnable(load_benchmark(str(path)))
    for name in NAMES:
        check_runnable(load_benchmark(name))


def test_imports_are_found_in_code_and_not_in_prose() -> None:
    text = "from left to right\nimport os, numpy as np, json  # x\n    from torch.nn import f\n"
    text += "import the best\nfrom __future__ import annotations\n"
    problem = Problem("own", "0", text, "f", "import scipy\n", "")
    assert needed_packages([problem]) == ["numpy", "torch"]


def test_a_row_of_no_shape_names_the_shapes_and_what_the_nearest_lacks(tmp_path: Path) -> None:
    row = {key: MBPP[key] for key in ("task_id", "text", "code")}
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, row)
    message = str(caught.value)
    assert "\n" not in message
    for name in (
        "HumanEval",
        "EvalPlus",
        "MBPP",
        "PandasEval",
        "MultiPL-E",
        "'test_list'",
        "line 1",
    ):
        assert name in message, name
    with pytest.raises(ConfigError, match="one shape, got another in line 2"):
        load(tmp_path, MBPP, MULTIPL_E)


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({**MBPP, "test_list": "assert"}, "test_list"),
        ({**MBPP, "test_list": ["assert other(1)"]}, "call a function of the code"),
        ({**HUMANEVAL_PLUS, "plus_input": [1]}, "argument lists"),
        ({**HUMANEVAL_PLUS, "atol": "0"}, "atol"),
        ({**MULTIPL_E, "language": "rs"}, "'rs'"),
        ({**MULTIPL_E, "tests": "assert ("}, "check"),
        ({**PANDAS_EVAL, "canonical_solution": [3]}, "canonical_solution"),
    ],
)
def test_a_bad_value_of_any_shape_is_one_line(
    tmp_path: Path, row: Mapping[str, Any], word: str
) -> None:
    with pytest.raises(ConfigError, match=word) as caught:
        load(tmp_path, row)
    assert "\n" not in str(caught.value)
    assert "line 1" in str(caught.value)


def test_evalplus_compares_as_evalplus_does() -> None:
    def agree(found: Any, wanted: Any, atol: float = 0, name: str = "f", given: Any = ()) -> bool:
        dataset = "mbpp" if name != "find_zero" else "humaneval"
        return oracle.agree(found, wanted, given, dataset, name, atol)

    assert agree(0.1 + 0.2, 0.3)
    assert not agree(0.3001, 0.3)
    assert agree(0.3001, 0.3, atol=1e-3)
    assert agree([1.0, 2.0 + 1e-9], [1.0, 2.0])
    assert not agree((1.0,), [1.0 + 1e-9], atol=1e-6)
    assert not agree([1.0], [1.0, 2.0], atol=1e-6)
    assert not agree("ab", "abc", atol=1e-6)
    assert not agree(3, 3.0000001, atol=1e-3)
    assert not agree(10**9, 10**9 + 1)  # numbers without a tolerance are equal or not
    assert not agree("a", "b")
    assert agree([2, 1], [1, 2], name="Diff")
    assert agree(3, True, name="check_str")
    assert agree("anything", 1, name="are_equivalent")
    assert agree(6, 7, name="digit_distance_nums", given=(7, 49))  # 07 and 49: 4 + 2
    assert agree(1.0, None, atol=1e-4, name="find_zero", given=([-1, 1],))
    assert not agree(2.0, None, atol=1e-4, name="find_zero", given=([-1, 1],))


def test_arguments_get_the_types_that_json_lost() -> None:
    assert set(TYPES) | {""} == set(oracle.RETYPE)
    assert len(KINDS) == sum(map(len, TYPES.values()))
    assert oracle.RETYPE["tuples_in_first"]([[[1], [2]], 3]) == [[(1,), (2,)], 3]
    assert oracle.RETYPE["sets_in_first"]([[[1, 1], []]]) == [[{1}, {}]]
    assert oracle.RETYPE["all_tuples"]([[1, [2]], 3]) == ((1, (2,)), 3)
    assert oracle.RETYPE["float_and_complex"](["1", "2j"]) == (1.0, 2j)
    assert oracle.RETYPE["first_of_tuples"]([[1, [2]]]) == [(1, (2,))]


def test_infilling_tasks_are_those_of_the_paper_without_the_ones_that_nothing_solves() -> None:
    whole = {p.task_id: p for p in load_benchmark("humaneval").problems}
    holes = [cut_holes(p.canonical_solution, "single-line") for p in whole.values()]
    assert sum(map(len, holes)) == 1033
    single = load_benchmark("humaneval-single-line")
    multi = load_benchmark("humaneval-multi-line")
    assert (len(single.problems), len(multi.problems)) == (1006, 680)
    assert len(VACUOUS) == 1033 + 682 - 1006 - 680
    assert single.sha256 != multi.sha256
    spans = load_benchmark("humaneval-random-span")
    assert len(spans.problems) == 965
    for problem in (*single.problems, *multi.problems, *spans.problems):
        solved = problem.prompt + problem.canonical_solution + problem.suffix
        task = problem.task_id.rpartition("/")[0]
        assert solved == whole[task].prompt + whole[task].canonical_solution
        assert problem.canonical_solution.strip()
    for benchmark in (multi, spans):
        names = [problem.task_id.rpartition("/")[0] for problem in benchmark.problems]
        assert max(map(names.count, set(names))) <= MAX_RANGES
    assert load_benchmark("humaneval-multi-line") == multi


def test_infilling_tasks_pass_with_what_was_hidden_and_fail_with_nothing(
    worker: WorkerProcess,
) -> None:
    problems = [
        *load_benchmark("humaneval-single-line").problems[::12],
        *load_benchmark("humaneval-multi-line").problems[::12],
        *load_benchmark("humaneval-random-span").problems[::12],
    ]
    assert len(problems) > 210
    wrong = [p.task_id for p in problems if judge(worker, p, p.canonical_solution) != "passed"]
    empty = [p.task_id for p in problems if judge(worker, p, "") == "passed"]
    assert (wrong, empty) == ([], [])


def test_the_holes_left_out_are_solved_by_nothing_at_all(worker: WorkerProcess) -> None:
    whole = {p.task_id: p for p in load_benchmark("humaneval").problems}
    found = set()
    for name in VACUOUS:
        number, hole_name = name.split("/")
        problem = whole[f"HumanEval/{number}"]
        kind = "multi-line" if "-" in hole_name else "single-line"
        (hole,) = [h for h in cut_holes(problem.canonical_solution, kind) if h.name == hole_name]
        completion = hole.before + hole.after
        found |= {name} if judge(worker, problem, completion) == "passed" else set()
    assert found == VACUOUS
