"""Planted problems are found where they stand, near misses stay, and every problem is accounted."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from components.artifacts.artifact import Artifact
from components.artifacts.documents import DOCUMENTS, read_documents
from components.artifacts.errors import ConfigError
from components.artifacts.rows import read_rows
from components.decontamination.folding import encoded_words_of, fold_case, words_of
from components.decontamination.needles import DOCSTRING, SOLUTION
from components.problems.benchmark import load_benchmark

PROBLEMS = {problem.task_id: problem for problem in load_benchmark("humaneval").problems}

CANARY = PROBLEMS["HumanEval/9"]
"""Its solution: a running maximum."""

SOLVED = f"import typing\n\n\n{CANARY.prompt}{CANARY.canonical_solution}"

NEAR_MISS = '''
def running_least(numbers):
    """The least number up to each place."""
    running_min = None
    out = []
    for n in numbers:
        running_min = n if running_min is None else min(running_min, n)
        out.append(running_min)
    return out
'''
"""The same idea in other words: code that anyone writes, and no copy."""


def contents(artifact: Artifact) -> dict[str, str]:
    tables = [read_documents(artifact, entry) for entry in artifact.part(DOCUMENTS)]
    return {row["path"]: row["content"] for table in tables for row in table.to_pylist()}


def padding(seed: int) -> str:
    return "\n".join(f"value_{seed}_{i} = compute({i}, 'text {i}')" for i in range(200))


def test_canaries_are_dropped_with_their_spans_and_a_near_miss_stays(
    make_step: Any, documents_of: Any, document: Any
) -> None:
    solution = CANARY.canonical_solution
    spread = solution.replace("    ", "\t \t").replace("\n", " \r\n\n")
    rows = [
        document("a/verbatim.py", SOLVED),
        document("b/whitespace.py", f"def f(numbers):\n{spread}"),
        document("c/middle.py", f"{padding(1)}\ndef g(numbers):\n{solution}\n{padding(2)}\n"),
        document("d/near_miss.py", NEAR_MISS),
        document("e/other.py", padding(3)),
    ]
    made = make_step("decontamination", {"documents": documents_of(rows[:2], rows[2:])})
    assert contents(made.artifact).keys() == {"d/near_miss.py", "e/other.py"}
    spans = [row for row in read_rows(made.artifact, "spans") if row["rule"] == SOLUTION]
    assert [row["path"] for row in spans] == ["a/verbatim.py", "b/whitespace.py", "c/middle.py"]
    planted = {row["path"]: row["content"] for row in rows}
    for row in spans:
        span = planted[row["path"]][row["start"] : row["end"]]
        assert " ".join(span.split()) == " ".join(solution.split())
        assert (row["benchmark"], row["task_id"]) == ("humaneval", CANARY.task_id)


def test_every_problem_is_seen_unseen_or_unguarded(
    make_step: Any, documents_of: Any, document: Any
) -> None:
    rows = [document("a.py", SOLVED), document("b.py", SOLVED + padding(4))]
    rows.append(document("c.py", padding(5)))
    made = make_step("decontamination", {"documents": documents_of(rows[:1], [], rows[1:])})
    problems = {row["task_id"]: row for row in read_rows(made.artifact, "problems")}
    assert problems.keys() == PROBLEMS.keys()
    seen = {name: row["documents"] for name, row in problems.items() if row["status"] == "seen"}
    assert seen == {CANARY.task_id: 2}
    unguarded = {name for name, row in problems.items() if row["status"] == "unguarded"}
    assert len(unguarded) == made.artifact.manifest.measures["problems_unguarded"] == 9
    refused = [one for row in problems.values() for one in row["refused"]]
    assert len(refused) == made.artifact.manifest.measures["needles_refused"] == 36
    assert all(one["characters"] < 40 or one["tokens"] < 13 for one in refused)
    [solution] = problems["HumanEval/53"]["refused"][1:]
    assert solution == {
        "rule": SOLUTION,
        "characters": len("return x + y"),
        "tokens": 4,
        "text": "return x + y",
    }


def test_an_empty_docstring_is_a_refused_needle_and_drops_nothing(
    make_step: Any, documents_of: Any, document: Any, tmp_path: Path
) -> None:
    path = tmp_path / "mine.jsonl"
    problem = {
        "task_id": "mine/0",
        "prompt": 'def f(x):\n    """"""\n',
        "entry_point": "f",
        "canonical_solution": "    return x\n",
        "test": "def check(candidate):\n    pass\n",
    }
    path.write_text(json.dumps(problem) + "\n")
    documents = documents_of([document("a.py", padding(6))])
    made = make_step("decontamination", {"documents": documents}, benchmarks=[str(path)])
    [row] = read_rows(made.artifact, "problems")
    assert row["status"] == "unguarded"
    assert [(one["rule"], one["characters"]) for one in row["refused"]] == [
        (DOCSTRING, 0),
        (SOLUTION, 8),
    ]
    assert contents(made.artifact).keys() == {"a.py"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"at least one problem, got none in .*mine\.jsonl"),
        ("\n\n", r"at least one problem, got none"),
        ("task_id: 1\n", r"JSON, got 'task_id: 1' in line 1 of .*mine\.jsonl"),
        ("[1, 2]\n", r"JSON object, got '\[1, 2\]' in line 1"),
        (
            '{"task_id": "a", "prompt": "p"}\n',
            r"the keys prompt, task_id in line 1 .* lacks 'entry_point'",
        ),
        ('{"question": "q"}\n', r"one of the shapes .* the keys question in line 1"),
        ("\udcff", r"UTF-8 JSON, got .*mine\.jsonl"),
    ],
)
def test_a_benchmark_that_cannot_be_read_is_one_line(
    make_step: Any, documents_of: Any, document: Any, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(text, errors="surrogateescape")
    documents = documents_of([document("a.py", "x = 1\n")])
    with pytest.raises(ConfigError, match=message) as caught:
        make_step("decontamination", {"documents": documents}, benchmarks=[str(path)])
    assert "\n" not in str(caught.value)


@given(st.text(st.characters(codec="utf-8"), max_size=200))
@example("Stra\u00dfe\nABC_1\u2029x\u00b2 \u0130i\n\u1fb3\x1cq\x85r\x00s")
@example("a\u0301b\ncaf\u00e9 = na\u00efve_1\n\u03a3\u03a3 end")
def test_words_cut_by_bytes_are_the_words_of_the_pattern(text: str) -> None:
    folded = fold_case(text)
    assert [word.decode() for word in encoded_words_of(folded)] == words_of(folded)


@given(st.lists(st.sampled_from(["a1 b", "\u00e9 c", "", "D.e-f", "\tx\u00a0y\r"]), max_size=9))
def test_lines_of_both_kinds_stay_in_order(lines: list[str]) -> None:
    folded = fold_case("\n".join(lines))
    assert [word.decode() for word in encoded_words_of(folded)] == words_of(folded)
