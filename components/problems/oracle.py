"""What counts as equal to the reference: the text that EvalPlus tests begin with.

Standard library only: it runs in the test's process of the sandbox.
"""

import copy
import json
import math
from collections.abc import Callable
from typing import Any

RELATIVE_TOLERANCE = 1e-7
FLOAT_TOLERANCE = 1e-6
"""Of a reference that returns floats, where the problem names no tolerance."""

AS_SETS = (
    "similar_elements",
    "find_char_long",
    "common_in_nested_lists",
    "extract_singly",
    "larg_nnum",
    "intersection_array",
    "find_dissimilar",
    "Diff",
)
"""Functions of MBPP+ whose results are compared without order."""

AS_TRUTH = ("check_str", "text_match_three", "text_starta_endb")
"""Functions of MBPP+ of whose results it counts only whether there is one."""

RETYPE: dict[str, Callable[[list[Any]], Any]] = {
    "": lambda given: given,
    "tuple_arguments": lambda given: [tuple(part) for part in given],
    "tuples_in_arguments": lambda given: [[tuple(item) for item in part] for part in given],
    "tuples_in_first": lambda given: [[tuple(item) for item in given[0]], given[1]],
    "tuple_second": lambda given: [given[0], tuple(given[1])],
    "sets_in_first": lambda given: [[set(item) if item else {} for item in given[0]]],
    "float_and_complex": lambda given: (float(given[0]), complex(given[1])),
    "tuple_first": lambda given: [tuple(given[0]), *given[1:]],
    "tuple_arguments_of_tuples": lambda given: [
        tuple(tuple(item) for item in part) for part in given
    ],
    "first_of_tuples": lambda given: [
        tuple(tuple(item) if isinstance(item, list) else item for item in given[0])
    ],
    "tuple_values": lambda given: [
        {name: tuple(value) for name, value in given[0].items()},
        *given[1:],
    ],
    "complex_first": lambda given: [complex(given[0])],
    "all_tuples": lambda given: _as_tuples(given),
}
"""From the arguments as JSON has them to those that the function takes."""


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def compare(
    candidate: Any,
    dataset: str,
    entry_point: str,
    reference: str,
    types: str,
    inputs: str,
    atol: float,
) -> None:
    """Give candidate and reference every input, and raise AssertionError where they differ."""
    scope: dict[str, Any] = {}
    exec(compile(reference, "reference", "exec"), scope)
    expected = scope[entry_point]
    for given in json.loads(inputs):
        arguments = RETYPE[types](given)
        wanted = expected(*copy.deepcopy(arguments))
        found = candidate(*copy.deepcopy(arguments))
        assert agree(found, wanted, arguments, dataset, entry_point, atol)


def agree(
    found: Any, wanted: Any, arguments: Any, dataset: str, entry_point: str, atol: float
) -> bool:
    """Whether a result counts as the reference's."""
    if dataset == "humaneval" and entry_point == "find_zero":
        (coefficients,) = arguments
        powers = (c * math.pow(found, power) for power, c in enumerate(coefficients))
        return bool(abs(sum(powers)) <= atol)
    if dataset == "mbpp":
        if entry_point in AS_SETS:
            return set(found) == set(wanted)
        if entry_point in AS_TRUTH:
            truth = found if isinstance(found, bool) else found is not None
            return bool(truth == (wanted if isinstance(wanted, bool) else wanted is not None))
        if _is_ambiguous(found, arguments, entry_point, atol):
            return True
    if found == wanted:
        return True
    tolerance = FLOAT_TOLERANCE if atol == 0 and _is_floats(wanted) else atol
    return tolerance != 0 and type(found) is type(wanted) and _is_close(found, wanted, tolerance)


def _is_floats(value: Any) -> bool:
    items = value if isinstance(value, list | tuple) and value else (value,)
    return all(isinstance(item, float) for item in items)


def _is_close(found: Any, wanted: Any, tolerance: float) -> bool:
    if isinstance(wanted, list | tuple):
        return (
            isinstance(found, list | tuple)
            and len(found) == len(wanted)
            and all(_is_close(*pair, tolerance) for pair in zip(found, wanted, strict=True))
        )
    numbers = (int, float, complex)
    if not isinstance(found, numbers) or not isinstance(wanted, numbers):
        return False
    near = abs(found - wanted) <= tolerance + RELATIVE_TOLERANCE * abs(wanted)
    return found == wanted or near


def _pyramid_surface(edge: float, height: float) -> int:
    """Mbpp/581, with the height read as that of the apex over the base."""
    return round(edge**2 + 2 * edge * math.sqrt((edge / 2) ** 2 + height**2))


def _distance_of_digits(first: int, second: int) -> int:
    """Mbpp/558, with the shorter number padded with zeros."""
    width = max(len(str(first)), len(str(second)))
    pairs = zip(str(first).zfill(width), str(second).zfill(width), strict=True)
    return sum(abs(int(one) - int(other)) for one, other in pairs)


def _is_ambiguous(found: Any, arguments: Any, entry_point: str, atol: float) -> bool:
    """Whether EvalPlus takes a result for right because the task is told ambiguously."""
    if entry_point == "sum_div":
        return bool(found == 0)
    if entry_point == "surface_Area":
        return bool(abs(found - _pyramid_surface(*arguments)) <= atol)
    if entry_point == "digit_distance_nums":
        return bool(found == _distance_of_digits(*arguments))
    return entry_point == "are_equivalent"
