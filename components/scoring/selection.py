"""pass@k at several temperatures: the grid, its best cells, and a choice that is not optimistic.

The best of several temperatures, each scored on the problems that it is chosen by, is too good on
average. The honest figure splits the problems in two: each half is scored at the temperature that
is best on the other one.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from components.scoring.bootstrap import interval_of_mean
from components.scoring.config import ScoringConfig
from components.scoring.counts import Counts
from components.scoring.passatk import curve_points


def split_halves(tasks: Sequence[str], seed: int) -> tuple[list[int], list[int]]:
    """Places of the problems of two halves: dealt out in turn in the order of a seeded hash."""
    places = sorted(
        range(len(tasks)),
        key=lambda place: hashlib.sha256(f"{seed}/{tasks[place]}".encode()).digest(),
    )
    return sorted(places[::2]), sorted(places[1::2])


def choose_across(
    values: Sequence[Sequence[float]], halves: tuple[list[int], list[int]]
) -> tuple[list[float], tuple[int, int]]:
    """The value of every problem at the temperature that is best on the half without it.

    Args:
        values: [T][P] pass@k.
        halves: places of the problems.

    Returns:
        [P] values, and the places of the temperatures that the two halves chose; the lower one
        where two are equal.
    """
    first, second = (best_of([[row[p] for p in half] for row in values]) for half in halves)
    chosen = [0.0] * len(values[0])
    for place in halves[0]:
        chosen[place] = values[second][place]
    for place in halves[1]:
        chosen[place] = values[first][place]
    return chosen, (first, second)


def best_of(values: Sequence[Sequence[float]]) -> int:
    """The place of the temperature with the greatest sum; the lowest of equal ones."""
    sums = [round(sum(row), 9) for row in values]
    return sums.index(max(sums))


def headline_values(counts: Counts, k: int, seed: int) -> tuple[list[int], list[float]]:
    """Places and pass@k of the problems that are scored: chosen across halves where T > 1."""
    tasks = counts.judged_tasks(k)
    values = [counts.values(place, tasks, k) for place in range(len(counts.temperatures))]
    if len(values) == 1 or not tasks:
        return tasks, values[0]
    halves = split_halves([counts.tasks[task] for task in tasks], seed)
    return tasks, choose_across(values, halves)[0]


def score_selection(counts: Counts, k: int, config: ScoringConfig) -> dict[str, Any]:
    """The choice across halves in full: what each half chose, and how it did on the other."""
    tasks = counts.judged_tasks(k)
    values = [counts.values(place, tasks, k) for place in range(len(counts.temperatures))]
    halves = split_halves([counts.tasks[task] for task in tasks], config.seed)
    chosen, places = choose_across(values, halves)
    best = best_of(values)
    return {
        **interval(chosen, config),
        "best": counts.temperatures[best],
        "best_value": interval(values[best], config)["value"],
        "halves": [
            {
                "problems": len(own),
                "chosen": counts.temperatures[place],
                "other_half": round(sum(chosen[task] for task in other) / max(1, len(other)), 10),
            }
            for own, other, place in zip(halves, halves[::-1], places, strict=True)
        ],
    }


def score_grid(counts: Counts, config: ScoringConfig) -> list[dict[str, Any]]:
    """pass@k and its curve at each temperature, every problem counted that has k verdicts."""
    return [_score_temperature(counts, place, config) for place in range(len(counts.temperatures))]


def _score_temperature(counts: Counts, place: int, config: ScoringConfig) -> dict[str, Any]:
    n = counts.n_at(place)

    def at(k: int) -> dict[str, float] | None:
        tasks = [task for task, judged in enumerate(counts.judged[place]) if judged >= k]
        return interval(counts.values(place, tasks, k), config) if tasks else None

    curve = {k: at(k) for k in curve_points(n)}
    asked = {k: curve.get(k) or at(k) for k in config.k if k <= n}
    return {
        "temperature": counts.temperatures[place],
        "n": n,
        "pass_at_k": {str(k): bounds for k, bounds in asked.items() if bounds},
        "curve": [
            [k, bounds["value"], bounds["low"], bounds["high"]]
            for k, bounds in curve.items()
            if bounds
        ],
    }


def interval(values: Sequence[float], config: ScoringConfig) -> dict[str, float]:
    """The mean over problems with its bootstrap interval, as JSON."""
    bounds = interval_of_mean(
        values, resamples=config.resamples, level=config.level, seed=config.seed
    )
    return bounds.to_json()
