"""The shapes that files of problems come in, and what each makes of a row.

Every shape becomes the strings of one `Problem`. A file is of the shape whose keys its first row
has; where several fit, the first of SHAPES.
"""

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from components.artifacts.errors import ConfigError
from components.problems.evalplus import MBPP_PREFIX, spell_test

Fields = dict[str, str]
Row = Mapping[str, Any]

DEFINITION = re.compile(r"^def +(\w+) *\(", flags=re.MULTILINE)
"""A function at the left margin; MBPP writes some with a blank before the parenthesis."""

NO_ENTRY_POINT = "none"
"""What PandasEval and NumpyEval name where the test looks at variables, not at a function."""

PROMPT_TESTS = 1
"""Tests of an MBPP row that its prompt shows, as in InCoder (arXiv 2204.05999) and bigcode's
harness."""


@dataclass(frozen=True)
class Shape:
    """A kind of file."""

    name: str
    keys: tuple[str, ...]
    """Those that tell the shape."""

    read: Callable[[Row, str], Fields]
    """Makes the strings of a problem; the second argument names the line in errors."""


def find_shape(row: Row, where: str) -> Shape:
    """The shape of a file by its first row.

    Raises:
        ConfigError: none fits; all are named, and what the nearest lacks.
    """
    for shape in SHAPES:
        if all(key in row for key in shape.keys):
            return shape
    nearest = max(SHAPES, key=lambda shape: sum(key in row for key in shape.keys) / len(shape.keys))
    lacking = ", ".join(repr(key) for key in nearest.keys if key not in row)
    known = "; ".join(f"{shape.name} ({', '.join(shape.keys)})" for shape in SHAPES)
    raise ConfigError(
        f"expected a problem of one of the shapes {known}, got the keys "
        f"{', '.join(sorted(map(str, row)))[:200] or 'of none'} in {where}: nearest is "
        f"{nearest.name}, which lacks {lacking}"
    )


def _text(row: Row, key: str, where: str) -> str:
    if not isinstance(row.get(key), str):
        raise ConfigError(
            f"expected {key} to be a string, got {str(row.get(key))[:60]!r} in {where}: mend that "
            "line"
        )
    return str(row[key])


def _texts(row: Row, key: str, where: str) -> list[str]:
    value = row.get(key)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ConfigError(
            f"expected {key} to be a list of strings, got {str(value)[:60]!r} in {where}: mend "
            "that line"
        )
    return value


def read_humaneval(row: Row, where: str) -> Fields:
    """HumanEval (arXiv 2107.03374), its infilling tasks, PandasEval and NumpyEval as well.

    OpenAI's files of infilling tasks (arXiv 2207.14255) have a `suffix`, which may go on in the
    line that the prompt breaks off. Of PandasEval and NumpyEval (CERT, arXiv 2206.06888):
    CERT's solutions are lists of one string, and its tests may look at variables instead of
    calling a function: the entry point is empty then, and the sandbox refuses the benchmark.
    """
    solution = row["canonical_solution"]
    if isinstance(solution, list):
        solution = "".join(_texts(row, "canonical_solution", where)[:1])
    row = {**row, "canonical_solution": solution}
    fields = {key: _text({"suffix": "", **row}, key, where) for key in (*HUMANEVAL_KEYS, "suffix")}
    if fields["entry_point"] == NO_ENTRY_POINT:
        fields["entry_point"] = ""
    return fields


def read_evalplus(row: Row, where: str) -> Fields:
    """HumanEval+ and MBPP+ (arXiv 2305.01210): inputs, run by the candidate and by the reference.

    `contract` is not used: EvalPlus checks its own inputs with it, not solutions. The first MBPP+
    numbers its tasks, and its prompts end in quotes without a newline.
    """
    if type(row["task_id"]) is int:
        row = {**row, "task_id": f"{MBPP_PREFIX}{row['task_id']}"}
    names = ("task_id", "prompt", "entry_point", "canonical_solution")
    fields = {key: _text(row, key, where) for key in names}
    if not fields["prompt"].endswith("\n"):
        fields["prompt"] += "\n"
    inputs = [*(row["base_input"] or ()), *(row["plus_input"] or ())]
    if not inputs or not all(isinstance(arguments, list) for arguments in inputs):
        raise ConfigError(
            f"expected base_input and plus_input to be lists of argument lists, got "
            f"{str(row['base_input'])[:60]!r} in {where}: mend that line"
        )
    atol = row.get("atol", 0)
    if type(atol) not in (int, float):
        raise ConfigError(f"expected atol to be a number, got {atol!r} in {where}: mend that line")
    reference = fields["prompt"] + fields["canonical_solution"]
    test = spell_test(fields["task_id"], fields["entry_point"], reference, inputs, float(atol))
    return {**fields, "test": test}


def read_mbpp(row: Row, where: str) -> Fields:
    """MBPP (arXiv 2108.07732): a description and asserts; the prompt is that of bigcode's harness.

    The function's name is the one that the first test calls and the solution defines. MBPP+ in the
    form of its page at Hugging Face has these keys too, and a `test` that needs numpy.
    """
    if "test" in row:
        raise ConfigError(
            f"expected MBPP or EvalPlus's own file, got MBPP+ with its tests as a program in "
            f"{where}: they need numpy, give MbppPlus.jsonl of EvalPlus"
        )
    task_id = row["task_id"]
    if type(task_id) not in (int, str):
        raise ConfigError(
            f"expected task_id to be an integer, got {task_id!r} in {where}: mend that line"
        )
    text = _text(row, "text" if "text" in row else "prompt", where)
    code = _text(row, "code", where).replace("\r\n", "\n")
    tests = [test.replace("\r\n", "\n") for test in _texts(row, "test_list", where)]
    setup = _text({"test_setup_code": "", **row}, "test_setup_code", where).replace("\r\n", "\n")
    defined = set(DEFINITION.findall(code))
    name = next((name for name in _called(tests) if name in defined), None)
    if name is None:
        raise ConfigError(
            f"expected the tests to call a function of the code, got {str(tests)[:60]!r} in "
            f"{where}: mend that line"
        )
    shown = "\n".join(tests[:PROMPT_TESTS])
    body = "\n".join(f"    {line}" for test in tests for line in test.split("\n"))
    imports = "\n".join(row.get("test_imports") or ())
    return {
        "task_id": str(task_id),
        "prompt": f'"""\n{text}\n{shown}\n"""\n',
        "entry_point": name,
        "canonical_solution": code,
        "test": f"{imports}\n{setup}\n\ndef check(candidate):\n{body}\n",
    }


def _called(tests: list[str]) -> list[str]:
    """The names that tests call, outermost first."""
    names = []
    for test in tests:
        try:
            tree = ast.parse(test)
        except (SyntaxError, ValueError):
            continue
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        names += [function.id for function in calls if isinstance(function, ast.Name)]
    return names


def read_multipl_e(row: Row, where: str) -> Fields:
    """MultiPL-E in Python (arXiv 2208.08227): no solution comes with it.

    Its tests end in a call of the function by name; here `check` alone is kept.
    """
    if row.get("language", "py") not in ("py", "python"):
        raise ConfigError(
            f"expected problems in Python, got language {row['language']!r} in {where}: the "
            "sandbox runs nothing else"
        )
    prompt = _text(row, "prompt", where)
    try:
        body = ast.parse(_text(row, "tests", where)).body
    except (SyntaxError, ValueError):
        body = []
    defined = DEFINITION.findall(prompt)
    names = [name for node in body for name in _checked(node) if name in defined] or defined
    kept = [
        node
        for node in body
        if isinstance(node, ast.Import | ast.ImportFrom)
        or (isinstance(node, ast.FunctionDef) and node.name == "check")
    ]
    if not names or not any(isinstance(node, ast.FunctionDef) for node in kept):
        raise ConfigError(
            "expected a prompt that defines a function and tests that define check(candidate), got "
            f"{prompt[-60:]!r} in {where}: give the Python problems of MultiPL-E"
        )
    return {
        "task_id": _text(row, "name", where),
        "prompt": prompt,
        "entry_point": names[-1],
        "canonical_solution": "",
        "test": "\n".join(ast.unparse(node) for node in kept) + "\n",
    }


def _checked(node: ast.stmt) -> list[str]:
    """The names that a statement gives to `check`."""
    return [
        call.args[0].id
        for call in ast.walk(node)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "check"
        and call.args
        and isinstance(call.args[0], ast.Name)
    ]


HUMANEVAL_KEYS = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
EVALPLUS_KEYS = (*HUMANEVAL_KEYS[:4], "base_input", "plus_input")

SHAPES = (
    Shape("EvalPlus", EVALPLUS_KEYS, read_evalplus),
    Shape("HumanEval or PandasEval", HUMANEVAL_KEYS, read_humaneval),
    Shape("MBPP", ("task_id", "code", "test_list"), read_mbpp),
    Shape("MultiPL-E", ("name", "prompt", "tests"), read_multipl_e),
)
