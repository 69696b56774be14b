"""Charts: ticks span what is drawn, no label hides another, and text stays text."""

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from components.publishing.charts import (
    LABEL_GAP,
    Bar,
    Interval,
    Series,
    draw_bars,
    draw_intervals,
    draw_lines,
    find_ticks,
    spell_tick,
    thin_points,
)

VALUES = st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda value: round(value, 6))


@given(VALUES, VALUES)
def test_ticks_span_the_range_in_equal_round_steps(one: float, other: float):
    low, high = sorted((one, other))
    ticks = find_ticks(low, high)
    step = ticks[1] - ticks[0]
    assert ticks[0] <= low + step * 1e-6
    assert ticks[-1] >= high - step * 1e-6
    assert 2 <= len(ticks) <= 8
    assert all(abs(b - a - step) <= step * 1e-6 for a, b in pairwise(ticks))
    assert len({spell_tick(tick, step) for tick in ticks}) == len(ticks)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1), st.integers(1, 50))
def test_thinning_keeps_the_mean_and_the_limit(points: list[tuple[float, float]], limit: int):
    thinned = thin_points(points, limit)
    assert len(thinned) <= limit or thinned == points
    run = -(-len(points) // limit)
    last = points[(len(thinned) - 1) * run :]
    total = sum(y for _, y in thinned[:-1]) * run + thinned[-1][1] * len(last)
    assert abs(total - sum(y for _, y in points)) < 1e-6 * max(1, len(points) * 100)


def test_a_line_goes_down_the_page_as_its_values_fall():
    series = Series(name="loss", points=[(0, 9.0), (50, 5.0), (100, 3.0)], style="ours")
    drawn = draw_lines([series], "Loss", "step", "loss")
    [path] = re.findall(r'points="([^"]*)"', drawn)
    pairs = [tuple(map(float, pair.split(","))) for pair in path.split()]
    assert [x for x, _ in pairs] == sorted(x for x, _ in pairs)
    assert [y for _, y in pairs] == sorted(y for _, y in pairs)  # SVG counts y downwards
    assert ">loss 3<" in drawn


def test_labels_of_lines_that_end_together_stand_apart():
    names = ("a", "b", "c")
    series = [Series(name=name, points=[(0, 1.0), (9, 2.0)], style="ours") for name in names]
    drawn = draw_lines(series, "Loss", "step", "loss")
    heights = sorted(map(float, re.findall(r'class="end ours" x="[^"]*" y="([^"]*)"', drawn)))
    assert len(heights) == 3
    gaps = [b - a for a, b in pairwise(heights)]
    assert all(gap >= LABEL_GAP - 0.1 for gap in gaps)


def test_a_run_without_records_says_so():
    assert "Nothing was recorded" in draw_lines(
        [Series(name="a", points=[], style="ours")], "Loss", "step", "loss"
    )


def test_an_interval_lies_around_its_value():
    row = Interval(label="<b>", value=0.25, low=0.1, high=0.5, text="25 %")
    drawn = draw_intervals([row], "pass@1")
    [(low, high)] = re.findall(r'class="whisker ours" x1="([^"]*)" x2="([^"]*)"', drawn)
    [value] = re.findall(r'class="dot ours" cx="([^"]*)"', drawn)
    assert float(low) < float(value) < float(high)
    assert "&lt;b&gt;" in drawn


def test_bars_are_as_long_as_their_shares_and_never_longer_than_the_track():
    bars = [Bar(label="a", share=0.5, text="x"), Bar(label="b", share=7.0, text="<i>")]
    drawn = draw_bars(bars)
    assert re.findall(r"width:([\d.]+)%", drawn) == ["50.00", "100.00"]
    assert "<i>" not in drawn


def test_a_plot_without_rows_is_empty_and_no_error():
    assert "<circle" not in draw_intervals([], "pass@1")
