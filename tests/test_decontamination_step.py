"""Traces of a benchmark are found however they are laid out, and nothing else is dropped."""

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from components.artifacts.artifact import Artifact
from components.artifacts.documents import DOCUMENTS, read_documents
from components.artifacts.errors import ConfigError
from components.artifacts.rows import read_rows
from components.decontamination.config import DecontaminationConfig
from components.decontamination.needles import (
    DOCSTRING,
    NGRAMS,
    RULES,
    SOLUTION,
    docstring_of,
    targets_of,
    without_doctests,
)
from components.decontamination.search import Hit, Searcher
from components.problems.benchmark import Benchmark, Problem, load_benchmark

HUMANEVAL = load_benchmark("humaneval")
PROBLEMS = {problem.task_id: problem for problem in HUMANEVAL.problems}
TARGETS = targets_of([HUMANEVAL], DecontaminationConfig())
SEARCHER = Searcher(TARGETS, DecontaminationConfig())

NEIGHBOUR = '''
def rescale(values, low, high):
    """ Given list of numbers (of at least two elements), apply a linear map to it and return
    the result: the least value becomes low, and the greatest becomes high
    """
    span = max(values) - min(values)
    return [low + (high - low) * (x - min(values)) / span for x in values]
'''
"""Near HumanEval/21, and not it."""


def found(content: str) -> set[tuple[str, str]]:
    return {(hit.target.task_id, hit.rule) for hit in SEARCHER.find(content)}


def hit_of(content: str, rule: str) -> Hit:
    [hit] = [hit for hit in SEARCHER.find(content) if hit.rule == rule]
    return hit


def docstring_part(problem: Problem) -> str:
    return max(without_doctests(docstring_of(problem)), key=len)


def make_problem(**changes: str) -> Problem:
    fields = {
        "benchmark": "mine",
        "task_id": "mine/0",
        "prompt": 'def f(x):\n    """"""\n',
        "entry_point": "f",
        "canonical_solution": "",
        "test": "",
    }
    return Problem(**{**fields, **changes})


def kept_paths(artifact: Artifact) -> list[str]:
    return [
        path
        for entry in artifact.part(DOCUMENTS)
        for path in read_documents(artifact, entry, ["path"])["path"].to_pylist()
    ]


def test_every_problem_that_has_a_needle_is_found_in_its_own_text():
    for target in TARGETS:
        problem = PROBLEMS[target.task_id]
        hits = found(f"import os\n\n{problem.prompt}{problem.canonical_solution}\nmain()\n")
        rules = {needle.rule for needle in target.needles} | ({NGRAMS} if target.grams else set())
        assert {(target.task_id, rule) for rule in rules} <= hits


def test_only_a_few_problems_are_too_short_to_be_guarded():
    unguarded = [each.task_id for each in TARGETS if not each.needles and not each.grams]
    assert len(unguarded) == 9
    assert "HumanEval/53" in unguarded  # "Add two numbers x and y", return x + y


def test_a_reindented_solution_is_found_with_its_place():
    solution = PROBLEMS["HumanEval/0"].canonical_solution
    moved = textwrap.indent(textwrap.dedent(solution), "\t\t").replace("\n", "   \n\n")
    content = f"class A:\n\tdef m(numbers, threshold):\n{moved}\nend = 1\n"
    hit = hit_of(content, SOLUTION)
    assert hit.target.task_id == "HumanEval/0"
    assert content[hit.start : hit.end] == moved.strip()


def test_a_rewrapped_docstring_in_capitals_is_found_with_its_place():
    text = docstring_part(PROBLEMS["HumanEval/10"])
    wrapped = textwrap.fill(" ".join(text.split()), 30).upper()
    content = f'def g():\n    """{wrapped}"""\n    return None\n'
    hit = hit_of(content, DOCSTRING)
    assert hit.target.task_id == "HumanEval/10"
    assert content[hit.start : hit.end] == wrapped


def test_a_docstring_turned_into_comments_is_found_by_its_ngrams():
    text = docstring_part(PROBLEMS["HumanEval/129"])
    comment = "\n".join(f"# {line}" for line in textwrap.wrap(" ".join(text.split()), 50))
    content = f"x = 1\n{comment}\ny = 2\n"
    assert found(content) == {("HumanEval/129", NGRAMS)}
    hit = hit_of(content, NGRAMS)
    assert content[hit.start : hit.end].startswith("Given a grid with N rows")
    assert "y = 2" not in content[hit.start : hit.end]


def test_half_of_the_ngrams_is_the_limit():
    problem = make_problem(prompt=f'def f():\n    """{" ".join(f"w{i}" for i in range(32))}"""\n')
    [target] = targets_of([Benchmark("mine", (problem,), "")], DecontaminationConfig())
    assert len(target.grams) == 20
    searcher = Searcher([target], DecontaminationConfig())
    for words, expected in ((22, [NGRAMS]), (21, [])):
        content = ", ".join(f"w{i}" for i in range(words))
        assert [hit.rule for hit in searcher.find(content)] == expected


def test_repeating_one_ngram_does_not_reach_half_of_them():
    problem = make_problem(prompt=f'def f():\n    """{" ".join(f"w{i}" for i in range(32))}"""\n')
    targets = targets_of([Benchmark("mine", (problem,), "")], DecontaminationConfig())
    line = ", ".join(f"w{i}" for i in range(14))
    assert Searcher(targets, DecontaminationConfig()).find(f"{line};\n" * 50) == []


def test_neighbours_and_ordinary_code_are_kept():
    assert found(NEIGHBOUR) == set()
    for module in (json, textwrap, re):
        assert module.__file__ is not None
        assert found(Path(module.__file__).read_text(encoding="utf-8")) == set()
    assert found("") == set()


def test_humaneval_115_makes_no_empty_needle_and_its_own_docstring_is_found():
    [target] = [each for each in TARGETS if each.task_id == "HumanEval/115"]
    assert [needle.rule for needle in target.needles] == [DOCSTRING, SOLUTION]
    assert target.needles[0].text.startswith("you are given a rectangular grid of wells")
    assert ("HumanEval/115", DOCSTRING) not in found("import math\n")


@pytest.mark.parametrize(
    "prompt",
    [
        'def f(x):\n    """"""\n',
        'def f(x):\n    """   \n    """\n',
        'def f(x):\n    """\n    >>> f(1)\n    1\n    """\n',
        "def f(x):\n",
        "",
    ],
)
def test_empty_and_short_needles_are_refused_and_counted(prompt: str):
    for solution in ("", "   \n", "    return x + y\n"):
        problem = make_problem(prompt=prompt, canonical_solution=solution)
        [target] = targets_of([Benchmark("mine", (problem,), "")], DecontaminationConfig())
        assert target.needles == ()
        assert [needle.rule for needle in target.refused] == [DOCSTRING, SOLUTION]
        assert Searcher([target], DecontaminationConfig()).find("return x + y\n" * 99) == []


def test_no_needle_is_shorter_than_the_limits():
    config = DecontaminationConfig(min_needle_characters=60, min_needle_tokens=20)
    for target in targets_of([HUMANEVAL], config):
        for needle in target.needles:
            assert len(needle.text) >= 60
            assert len(re.findall(r"\w+|[^\w\s]", needle.text)) >= 20


def test_doctests_are_no_part_of_a_needle_and_do_not_join_what_they_part():
    docstring = "First words.\n\n>>> f(1)\n1\n>>> f(2)\n2\n\nLast words.\n"
    assert [piece.strip() for piece in without_doctests(docstring)] == [
        "First words.",
        "Last words.",
    ]


def test_a_needle_inside_longer_words_is_a_substring_all_the_same():
    needle = "each of the seven words here is followed by another; all (of them) count"
    problem = make_problem(prompt=f'def f():\n    """{needle}"""\n')
    searcher = Searcher(
        targets_of([Benchmark("mine", (problem,), "")], DecontaminationConfig()),
        DecontaminationConfig(),
    )
    [hit] = [each for each in searcher.find(f"pre{needle}post") if each.rule == DOCSTRING]
    assert (hit.start, hit.end) == (3, 3 + len(needle))


def test_offsets_stand_even_behind_letters_that_grow_in_lower_case():
    solution = PROBLEMS["HumanEval/0"].canonical_solution
    content = "\u0130\u0130 = '\U0001f600 \u03a3'\n" + solution
    hit = hit_of(content, SOLUTION)
    assert content[hit.start : hit.end] == solution.strip()


def test_the_step_drops_by_the_first_rule_and_lists_every_span(
    make_step: Any, documents_of: Any, document: Any
):
    problem = PROBLEMS["HumanEval/0"]
    whole = document("whole.py", problem.prompt + problem.canonical_solution)
    only_solution = document(
        "solution.py", f"def g():\n{PROBLEMS['HumanEval/31'].canonical_solution}"
    )
    clean = document("clean.py", NEIGHBOUR)
    made = make_step(
        "decontamination", {"documents": documents_of([clean, only_solution], [whole])}
    )
    assert kept_paths(made.artifact) == ["clean.py"]
    drops = made.artifact.manifest.tally.drops
    assert {reason: files for reason, (files, _) in drops.items()} == {DOCSTRING: 1, SOLUTION: 1}
    spans = read_rows(made.artifact, "spans")
    assert [(row["path"], row["task_id"], row["rule"]) for row in spans] == [
        *(("solution.py", "HumanEval/31", rule) for rule in (SOLUTION, NGRAMS)),
        *(("whole.py", "HumanEval/0", rule) for rule in RULES),
    ]
    contents = {row["path"]: row["content"] for row in (whole, only_solution)}
    for row in spans:
        assert set(row) == {
            *("repo", "path", "sha256", "benchmark", "task_id"),
            *("rule", "start", "end", "excerpt"),
        }
        assert contents[row["path"]][row["start"] : row["end"]].startswith(row["excerpt"])
        assert row["excerpt"]
    summary = made.artifact.storage.read("summary.md").decode()
    assert "| humaneval | HumanEval/0 | 1 | 1 | 0 |" in summary
    assert len(re.findall(r"\| humaneval \| HumanEval/\d+ \|", summary)) == 164


def test_the_digest_is_the_same_for_one_worker_and_two(
    make_step: Any, documents_of: Any, document: Any, tmp_path: Path
):
    rows = [
        document(f"{index}.py", problem.prompt) for index, problem in enumerate(PROBLEMS.values())
    ]
    documents = documents_of(rows[:80], rows[80:])
    digests = {
        make_step(
            "decontamination",
            {"documents": documents},
            workers=workers,
            data_root=str(tmp_path / str(workers)),
        ).artifact.manifest.digest
        for workers in (1, 2)
    }
    assert len(digests) == 1


def test_another_content_of_a_benchmark_file_is_another_key(
    make_step: Any, documents_of: Any, document: Any, tmp_path: Path
):
    path = tmp_path / "mine.jsonl"
    documents = documents_of([document("a.py", "alpha beta " * 20)])
    keys = []
    for text in ("alpha beta " * 20, "gamma delta " * 20):
        row = {
            "task_id": "mine/0",
            "prompt": f'def f():\n    """{text}"""\n',
            "entry_point": "f",
            "canonical_solution": "    pass\n",
            "test": "",
        }
        path.write_text(json.dumps(row) + "\n")
        made = make_step("decontamination", {"documents": documents}, benchmarks=[str(path)])
        keys.append(made.artifact.manifest.key)
        kept = kept_paths(made.artifact)
        assert kept == ([] if text.startswith("alpha") else ["a.py"])
    assert len(set(keys)) == 2


def test_no_benchmark_drops_nothing(make_step: Any, documents_of: Any, document: Any):
    rows = [document("a.py", PROBLEMS["HumanEval/0"].prompt)]
    made = make_step("decontamination", {"documents": documents_of(rows, [])}, benchmarks=[])
    assert kept_paths(made.artifact) == ["a.py"]
    assert read_rows(made.artifact, "spans") == []


def test_an_unknown_benchmark_is_refused_before_the_work(
    make_step: Any, documents_of: Any, document: Any
):
    with pytest.raises(ConfigError, match="humaneval, easy"):
        make_step("decontamination", {"documents": documents_of([])}, benchmarks=["mbpp"])
