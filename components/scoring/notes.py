"""What a reader must know before the numbers: what limits them, and what looks wrong."""

from collections.abc import Mapping
from typing import Any

from components.scoring.counts import NO_VERDICT

Scores = Mapping[str, Any]

BLANK_SHARE = 0.05
REPEATED_SHARE = 0.05
"""Shares from which blank completions, and ones that begin with their prompt, are told of."""


def benchmark_warnings(
    benchmarks: Mapping[str, Scores], selfcheck: Mapping[str, Scores], level: float
) -> list[str]:
    """A line for each thing that limits a benchmark's scores or that a harness has done wrong."""
    return [
        f"{name}: {text}"
        for name, benchmark in benchmarks.items()
        for text in [
            *_about_problems(benchmark, selfcheck[name]),
            *_about_values(benchmark, level),
            *_about_texts(benchmark),
        ]
    ]


def _about_problems(benchmark: Scores, check: Scores) -> list[str]:
    texts = []
    missing = benchmark["problems_in_benchmark"] - benchmark["problems"] - len(check["unsound"])
    if missing > 0:
        texts.append(
            f"{missing:,} of {benchmark['problems_in_benchmark']:,} problems have no samples and "
            "are left out; this is no score of the whole benchmark."
        )
    if check["unsound"]:
        texts.append(
            f"{len(check['unsound']):,} problems are left out because their own solution fails "
            f"here or an empty one passes (first {check['unsound'][0]})."
        )
    if without := check["problems"] - check["canonical"]:
        texts.append(f"{without:,} problems come without a solution that would check the judge.")
    if broken := benchmark["verdicts"].get(NO_VERDICT):
        texts.append(
            f"{broken:,} samples without a verdict (infra_error) count neither as passed nor as "
            "failed; the n of their problems is smaller by them."
        )
    return texts


def _about_values(benchmark: Scores, level: float) -> list[str]:
    texts = []
    if benchmark["k_left_out"]:
        left_out = ", ".join(f"pass@{k}" for k in benchmark["k_left_out"])
        samples = "sample" if benchmark["n"] == 1 else "samples"
        texts.append(f"no {left_out}, each problem has {benchmark['n']} {samples}.")
    for k, count in benchmark["short"].items():
        texts.append(f"pass@{k} leaves out {count:,} problems with fewer verdicts than {k}.")
    if not benchmark["verdicts"].get("passed"):
        bound = 1 - (1 - level) ** (1 / benchmark["problems"])
        texts.append(
            "no problem was solved, so the bootstrap's interval has no width; "
            f"{benchmark['problems']} problems without a pass bound the share of problems that "
            f"the model solves by {100 * bound:.2f} % only."
        )
    if benchmark["selection"]:
        texts.append(
            "the best temperature of the grid is chosen on the problems that it is scored by, "
            "which is optimistic; the pass@k reported takes for each half of the problems the "
            "temperature that is best on the other half."
        )
    return texts


def _about_texts(benchmark: Scores) -> list[str]:
    texts, found, total = [], benchmark["texts"], benchmark["samples"]
    period = found["period"]
    if period == 1:
        texts.append("all samples of a problem are equal; no k above 1 says more than pass@1.")
    elif period:
        texts.append(
            f"the samples of every problem repeat after {period}: they were drawn with the same "
            f"seed again, so pass@k for k above {period} is not what it says."
        )
    if found["blank"] >= BLANK_SHARE * total and found["blank"]:
        texts.append(
            f"{found['blank']:,} of {total:,} completions are blank: an evaluator that cuts "
            "everything away where no stop string is met, or where decoding does not give the "
            "prompt back, does that."
        )
    if found["repeats_prompt"] >= REPEATED_SHARE * total and found["repeats_prompt"]:
        texts.append(
            f"{found['repeats_prompt']:,} of {total:,} completions begin with their prompt, which "
            "is put before them once more: give completions without it."
        )
    return texts
