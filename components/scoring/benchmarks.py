"""The scores of a benchmark: verdicts of its samples, refused where the sandbox checked badly."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from components.artifacts.errors import ArtifactError
from components.scoring.bootstrap import DIGITS, interval_of_mean
from components.scoring.config import ScoringConfig
from components.scoring.passatk import pass_at_k
from components.scoring.syntax import parse_sources

Row = Mapping[str, Any]
SampleKey = tuple[str, str, int]


def check_selfcheck(selfcheck: Sequence[Row], benchmarks: Sequence[str]) -> dict[str, Any]:
    """Count the self-check by benchmark.

    Args:
        selfcheck: rows of that part of the verdicts.
        benchmarks: those that the samples belong to.

    Raises:
        ArtifactError: a reference solution failed, an empty completion passed, or one was not run.
    """
    counts: dict[str, Any] = {}
    for name in benchmarks:
        rows = [row for row in selfcheck if row["benchmark"] == name]
        passed = {
            kind: sum(row["verdict"] == "passed" for row in rows if row["kind"] == kind)
            for kind in ("canonical", "empty")
        }
        problems = len({row["task_id"] for row in rows})
        counts[name] = {
            "canonical_passed": passed["canonical"],
            "empty_passed": passed["empty"],
            "problems": problems,
        }
        if not problems or passed["canonical"] != problems or passed["empty"]:
            raise ArtifactError(
                f"expected the sandbox's self-check of {name} to read canonical "
                f"{problems or 'all'} of {problems or 'all'} and empty 0, got canonical "
                f"{passed['canonical']} and empty {passed['empty']} of {problems}"
                f"{_first_wrong(rows)}: run sandbox again with a larger timeout_s, or on a "
                "machine that is less loaded"
            )
    return counts


def _first_wrong(rows: Sequence[Row]) -> str:
    for row in rows:
        if (row["verdict"] == "passed") != (row["kind"] == "canonical"):
            return f" (first {row['task_id']}: {row['kind']} {row['verdict']} {row['detail']})"
    return ""


def match_verdicts(samples: Sequence[Row], verdicts: Sequence[Row]) -> dict[SampleKey, Row]:
    """The verdict of every sample.

    Raises:
        ArtifactError: a sample without a verdict, or a verdict without its sample.
    """
    found = {_key(row): row for row in verdicts}
    wanted = {_key(row) for row in samples}
    if found.keys() != wanted or len(verdicts) != len(samples):
        raise ArtifactError(
            f"expected one verdict for each of {len(samples)} samples, got {len(verdicts)} "
            f"verdicts, {len(found.keys() - wanted)} of them of other samples: give the verdicts "
            "that sandbox made of these samples"
        )
    return found


def _key(row: Row) -> SampleKey:
    return row["benchmark"], row["task_id"], row["sample"]


def score_benchmark(
    samples: Sequence[Row], verdicts: Mapping[SampleKey, Row], config: ScoringConfig
) -> dict[str, Any]:
    """pass@k with intervals, verdict classes and the share of completions that parse.

    Args:
        samples: the samples of one benchmark.
        verdicts: of `match_verdicts`.
        config: k and the bootstrap.
    """
    tasks: dict[str, list[Row]] = {}
    for sample in samples:
        tasks.setdefault(sample["task_id"], []).append(verdicts[_key(sample)])
    n = min(len(rows) for rows in tasks.values())
    passed = [
        (len(rows), sum(row["verdict"] == "passed" for row in rows)) for rows in tasks.values()
    ]
    rows = [row for task in tasks.values() for row in task]
    parsed = parse_sources([sample["prompt"] + sample["completion"] for sample in samples])
    return {
        "n": n,
        "problems": len(tasks),
        "pass_at_k": {
            str(k): interval_of_mean(
                [pass_at_k(size, count, k) for size, count in passed],
                resamples=config.resamples,
                level=config.level,
                seed=config.seed,
            ).to_json()
            for k in config.k
            if k <= n
        },
        "k_left_out": [k for k in config.k if k > n],
        "verdicts": _count(row["verdict"] for row in rows),
        "verdict_details": _count(
            row["detail"] for row in rows if row["verdict"] != "passed" and row["detail"]
        ),
        "syntax_valid": round(sum(parsed) / len(parsed), DIGITS),
    }


def _count(values: Any) -> dict[str, int]:
    """How often each value comes, the most frequent first."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
