"""Two models on the same problems: the difference of pass@k, problem by problem.

Problems differ far more than models do, so intervals of two scores overlap long before their
difference is unclear. Resampling the problems' differences takes that out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from components.artifacts.errors import ArtifactError
from components.scoring.bootstrap import DIGITS, interval_of_mean
from components.scoring.counts import Counts
from components.scoring.selection import headline_values

Scores = Mapping[str, Any]


def compare_scores(first: Scores, second: Scores) -> dict[str, Any]:
    """Compare what two `scores.json` hold, benchmark by benchmark.

    Args:
        first: scores.
        second: scores whose difference to the first is told: second minus first.

    Returns:
        By benchmark: `pass_at_k` with both values, the difference, its interval, and the shares of
        problems that are better, worse and equal in the second; `problems`, and `left_out`, those
        that only one of the two scored.

    Raises:
        ArtifactError: no benchmark is in both, or one is not the same file in both.
    """
    names = [name for name in first["benchmarks"] if name in second["benchmarks"]]
    if not names:
        raise ArtifactError(
            f"expected two scores of one benchmark, got {', '.join(first['benchmarks'])} and "
            f"{', '.join(second['benchmarks'])}: evaluate both with the same --benchmarks"
        )
    for name in names:
        hashes = [scores["benchmark_sha256"].get(name) for scores in (first, second)]
        if hashes[0] != hashes[1]:
            raise ArtifactError(
                f"expected one file of the benchmark {name}, got sha256 "
                f"{str(hashes[0])[:16]} and {str(hashes[1])[:16]}: evaluate both on one file"
            )
    bootstrap = first["bootstrap"]
    return {
        name: _compare(first["benchmarks"][name], second["benchmarks"][name], bootstrap)
        for name in names
    }


def _compare(first: Scores, second: Scores, bootstrap: Mapping[str, Any]) -> dict[str, Any]:
    counts = [read_counts(score) for score in (first, second)]
    tasks = set(counts[0].tasks) & set(counts[1].tasks)
    either = set(counts[0].tasks) | set(counts[1].tasks)
    both = [k for k in first["pass_at_k"] if k in second["pass_at_k"]]
    pairs = {k: [_by_task(count, int(k), bootstrap["seed"]) for count in counts] for k in both}
    return {
        "problems": len(tasks),
        "left_out": len(either) - len(tasks),
        "k_left_out": sorted(int(k) for k in {*first["pass_at_k"], *second["pass_at_k"]} - {*both}),
        "pass_at_k": {k: _difference(pair[0], pair[1], bootstrap) for k, pair in pairs.items()},
    }


def _by_task(counts: Counts, k: int, seed: int) -> dict[str, float]:
    places, values = headline_values(counts, k, seed)
    return dict(zip((counts.tasks[place] for place in places), values, strict=True))


def _difference(
    first: Mapping[str, float], second: Mapping[str, float], bootstrap: Mapping[str, Any]
) -> dict[str, Any]:
    tasks = [task for task in first if task in second]
    moved = [second[task] - first[task] for task in tasks]
    bounds = interval_of_mean(
        moved,
        resamples=bootstrap["resamples"],
        level=bootstrap["level"],
        seed=bootstrap["seed"],
    )
    return {
        "problems": len(tasks),
        "first": _mean([first[task] for task in tasks]),
        "second": _mean([second[task] for task in tasks]),
        "difference": bounds.value,
        "low": bounds.low,
        "high": bounds.high,
        "better": _mean([change > 0 for change in moved]),
        "worse": _mean([change < 0 for change in moved]),
        "equal": _mean([change == 0 for change in moved]),
    }


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / max(1, len(values)), DIGITS)


def read_counts(score: Scores) -> Counts:
    """The counts that a benchmark's scores hold."""
    rows = score["per_problem"]
    places = range(len(score["temperatures"]))

    def table(name: str) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(row[name][place] for row in rows) for place in places)

    return Counts(
        tuple(row["task_id"] for row in rows),
        tuple(score["temperatures"]),
        table("drawn"),
        table("judged"),
        table("passed"),
    )
