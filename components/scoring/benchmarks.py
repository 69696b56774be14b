"""The scores of a benchmark: verdicts of its samples, refused where the sandbox checked badly."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from components.artifacts.errors import ArtifactError
from components.scoring.config import ScoringConfig
from components.scoring.counts import NO_VERDICT, Counts, SampleKey, count_samples, key_of
from components.scoring.selection import (
    headline_values,
    interval,
    score_grid,
    score_selection,
)
from components.scoring.texts import describe_texts

Row = Mapping[str, Any]

EXPOSURES = ("seen", "unseen", "unguarded", "unchecked")
"""What decontamination knows of a problem: the corpus held it (and lost those documents), did not,
has nothing long enough to look for, or was not searched for it."""


def check_selfcheck(
    selfcheck: Sequence[Row], benchmarks: Sequence[str], max_unsound_share: float
) -> dict[str, Any]:
    """Count the self-check by benchmark.

    Args:
        selfcheck: rows of that part of the verdicts.
        benchmarks: those that the samples belong to.
        max_unsound_share: of a benchmark's problems that may be left out.

    Returns:
        By benchmark; `unsound` names the problems whose own solution failed, or that the empty
        completion passed.

    Raises:
        ArtifactError: more problems than that are unsound, or none was run.
    """
    counts: dict[str, Any] = {}
    for name in benchmarks:
        rows = [row for row in selfcheck if row["benchmark"] == name]
        problems = len({row["task_id"] for row in rows})
        wrong = [row for row in rows if (row["verdict"] == "passed") != (row["kind"] != "empty")]
        unsound = list(dict.fromkeys(row["task_id"] for row in wrong))
        kinds = Counter((row["kind"], row["verdict"] == "passed") for row in rows)
        counts[name] = {
            "canonical": kinds["canonical", True] + kinds["canonical", False],
            "canonical_passed": kinds["canonical", True],
            "empty_passed": kinds["empty", True],
            "problems": problems,
            "unsound": unsound,
        }
        if not problems or len(unsound) > max_unsound_share * problems:
            first = f" (first {_spell(wrong[0])})" if wrong else ""
            raise ArtifactError(
                f"expected the sandbox's self-check of {name} to read canonical "
                f"{counts[name]['canonical'] or 'all'} of {counts[name]['canonical'] or 'all'} "
                f"and empty 0, got canonical {kinds['canonical', True]} and empty "
                f"{kinds['empty', True]} of {problems}{first}: run sandbox again with a larger "
                "timeout_s or on a machine that is less loaded; where the benchmark itself is at "
                "fault, --max-unsound-share leaves such problems out"
            )
    return counts


def _spell(row: Row) -> str:
    return f"{row['task_id']}: {row['kind']} {row['verdict']} {row['detail']}".strip()


def match_verdicts(samples: Sequence[Row], verdicts: Sequence[Row]) -> dict[SampleKey, Row]:
    """The verdict of every sample.

    Raises:
        ArtifactError: a sample without a verdict, or a verdict without its sample.
    """
    found = {key_of(row): row for row in verdicts}
    wanted = {key_of(row) for row in samples}
    if found.keys() != wanted or len(verdicts) != len(samples):
        raise ArtifactError(
            f"expected one verdict for each of {len(samples)} samples, got {len(verdicts)} "
            f"verdicts, {len(found.keys() - wanted)} of them of other samples: give the verdicts "
            "that sandbox made of these samples"
        )
    return found


def check_infra_errors(verdicts: Mapping[SampleKey, Row], max_share: float, where: str) -> None:
    """Refuse where too many samples have no verdict: what is left may not stand for all.

    Raises:
        ArtifactError: more than that share.
    """
    broken = sum(row["verdict"] == NO_VERDICT for row in verdicts.values())
    if broken > max_share * len(verdicts):
        raise ArtifactError(
            f"expected at most {100 * max_share:g} % of the samples without a verdict, got "
            f"{broken:,} of {len(verdicts):,} (infra_error): free memory or lower --workers, "
            f"remove {where} and run sandbox again"
        )


def score_benchmark(
    samples: Sequence[Row],
    verdicts: Mapping[SampleKey, Row],
    selfcheck: Mapping[str, Any],
    exposure: Mapping[str, str],
    config: ScoringConfig,
) -> dict[str, Any]:
    """pass@k with intervals, by temperature and by exposure, verdict classes, and the texts.

    Args:
        samples: the samples of one benchmark.
        verdicts: of `match_verdicts`.
        selfcheck: of this benchmark, of `check_selfcheck`.
        exposure: what decontamination knows, by task.
        config: k and the bootstrap.

    Raises:
        ArtifactError: no problem is left.
    """
    counts = count_samples(samples, verdicts, frozenset(selfcheck["unsound"]))
    if not counts.tasks:
        raise ArtifactError(
            f"expected samples of a sound problem of {samples[0]['benchmark']}, got samples of "
            "unsound ones only: see the part selfcheck of the verdicts"
        )
    rows = [verdicts[key_of(sample)] for sample in samples]
    texts = describe_texts(samples)
    scored = [k for k in config.k if k <= counts.n and counts.judged_tasks(k)]
    heats = range(len(counts.temperatures))
    several = len(counts.temperatures) > 1
    return {
        "n": counts.n,
        "samples": len(samples),
        "problems": len(counts.tasks),
        "problems_in_benchmark": selfcheck["problems"],
        "temperatures": list(counts.temperatures),
        "pass_at_k": {str(k): interval(_values(counts, k, config), config) for k in scored},
        "k_left_out": [k for k in config.k if k not in scored],
        "short": {
            str(k): len(counts.tasks) - len(counts.judged_tasks(k))
            for k in scored
            if len(counts.judged_tasks(k)) < len(counts.tasks)
        },
        "grid": score_grid(counts, config),
        "selection": {str(k): score_selection(counts, k, config) for k in scored if several},
        "verdicts": count_values(row["verdict"] for row in rows),
        "verdict_details": count_values(
            row["detail"] for row in rows if row["verdict"] != "passed" and row["detail"]
        ),
        "syntax_valid": texts.pop("syntax_valid"),
        "texts": texts,
        "exposure": score_exposure(counts, exposure, scored, config),
        "per_problem": [
            {
                "task_id": task,
                "exposure": exposure.get(task, "unchecked"),
                "drawn": [counts.drawn[heat][place] for heat in heats],
                "judged": [counts.judged[heat][place] for heat in heats],
                "passed": [counts.passed[heat][place] for heat in heats],
                "verdicts": verdicts_of,
            }
            for place, (task, verdicts_of) in enumerate(_by_task(counts, rows))
        ],
    }


def _values(counts: Counts, k: int, config: ScoringConfig) -> list[float]:
    return headline_values(counts, k, config.seed)[1]


def _by_task(counts: Counts, rows: Sequence[Row]) -> list[tuple[str, dict[str, int]]]:
    """The verdict classes of every scored problem."""
    found: dict[str, list[str]] = {task: [] for task in counts.tasks}
    for row in rows:
        if row["task_id"] in found:
            found[row["task_id"]].append(row["verdict"])
    return [(task, count_values(names)) for task, names in found.items()]


def score_exposure(
    counts: Counts, exposure: Mapping[str, str], ks: Sequence[int], config: ScoringConfig
) -> dict[str, Any]:
    """pass@k of the problems by what decontamination knows; empty where it knows of none."""
    if not any(task in exposure for task in counts.tasks):
        return {}
    scores: dict[str, Any] = {}
    for name in EXPOSURES:
        member = [exposure.get(task, "unchecked") == name for task in counts.tasks]
        if not any(member):
            continue
        values = {k: _members(counts, k, member, config) for k in ks}
        scores[name] = {
            "problems": sum(member),
            "pass_at_k": {str(k): interval(part, config) for k, part in values.items() if part},
        }
    return scores


def _members(counts: Counts, k: int, member: Sequence[bool], config: ScoringConfig) -> list[float]:
    places, values = headline_values(counts, k, config.seed)
    return [value for place, value in zip(places, values, strict=True) if member[place]]


def count_values(values: Iterable[str]) -> dict[str, int]:
    """How often each value comes, the most frequent first."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
