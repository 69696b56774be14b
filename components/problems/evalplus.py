"""Tests of EvalPlus problems: the candidate and the reference get the same inputs.

Source: `unsafe_execute` of evalplus 0.3.1 (Apache-2.0) for what counts as equal, and
`mbpp_deserialize_inputs` for the types that its JSON lost. The reference is the benchmark's own
solution; it runs where tests run, inside the sandbox, and never here.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ORACLE = Path(__file__).with_name("oracle.py")
"""The part that all tests share: it is sent with them as text."""

MBPP_PREFIX = "Mbpp/"

TYPES = {
    "tuple_arguments": (
        *(2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630),
        *(726, 740, 744, 809),
    ),
    "tuples_in_arguments": (
        *(63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780),
    ),
    "tuples_in_first": (75, 413, 444, 753),
    "tuple_second": (106, 750),
    "sets_in_first": (115,),
    "float_and_complex": (124,),
    "tuple_first": (250, 307, 405, 446, 617, 720, 763, 808),
    "tuple_arguments_of_tuples": (259, 401, 445),
    "first_of_tuples": (278,),
    "tuple_values": (722,),
    "complex_first": (252,),
    "all_tuples": (580, 615, 791),
}
"""Which MBPP+ tasks take arguments of types that JSON does not have; the names are functions of the
oracle."""

KINDS = {number: kind for kind, numbers in TYPES.items() for number in numbers}


def spell_test(
    task_id: str, entry_point: str, reference: str, inputs: Sequence[Any], atol: float
) -> str:
    """The text of a test that defines `check(candidate)`.

    Args:
        task_id: such as `HumanEval/32` or `Mbpp/2`.
        entry_point: the function's name.
        reference: a program that defines it rightly.
        inputs: an argument list each.
        atol: absolute tolerance of numbers, 0 for equal ones.
    """
    is_mbpp = task_id.startswith(MBPP_PREFIX)
    number = task_id.removeprefix(MBPP_PREFIX)
    kind = KINDS.get(int(number), "") if is_mbpp and number.isdecimal() else ""
    values = (
        ("DATASET", "mbpp" if is_mbpp else "humaneval"),
        ("ENTRY_POINT", entry_point),
        ("REFERENCE", reference),
        ("TYPES", kind),
        ("INPUTS", json.dumps(inputs)),
        ("ATOL", atol),
    )
    lines = [f"{name} = {value!r}" for name, value in values]
    calls = (
        "def check(candidate):\n"
        "    compare(candidate, DATASET, ENTRY_POINT, REFERENCE, TYPES, INPUTS, ATOL)\n"
    )
    return "\n".join([ORACLE.read_text(encoding="utf-8"), *lines, "", calls])
