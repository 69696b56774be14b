"""The command `codekiln compare-scores`: are two models told apart by what they were scored on?"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.artifacts.artifact import Artifact
from components.artifacts.errors import ArtifactError
from components.scoring.comparison import compare_scores
from components.stage.command import OneLineParser
from pipelines.score_table import align

SCORES_NAME = "scores.json"


def run_compare_scores(argv: Sequence[str]) -> int:
    """Compare two scores, problem by problem; the exit code."""
    parser = OneLineParser(
        prog="codekiln compare-scores",
        usage="codekiln compare-scores FIRST SECOND [--json]",
        description="The difference of pass@k of two evaluations of the same problems, with a "
        "paired bootstrap interval over problems, and the share of problems that moved.",
        allow_abbrev=False,
    )
    for name in ("first", "second"):
        parser.add_argument(
            name,
            metavar=name.upper(),
            help="the folder that `codekiln evaluate` wrote, an artifact of scoring, the step of a "
            "run (runs/NAME/steps/pretraining/scoring), or a scores.json",
        )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    arguments = parser.parse_known(argv)
    first, second = read_scores(arguments.first), read_scores(arguments.second)
    compared = compare_scores(first, second)
    if arguments.json:
        sys.stdout.write(json.dumps(compared, sort_keys=True) + "\n")
    else:
        sys.stdout.write("\n".join(_lines(compared, first["bootstrap"]["level"])) + "\n")
    return 0


def read_scores(place: str) -> Mapping[str, Any]:
    """Scores from a file, a folder of an evaluation, or an artifact.

    Raises:
        ArtifactError: there are none, or they are of another version.
    """
    path = Path(place)
    file = path / SCORES_NAME if path.is_dir() else path
    if file.is_file():
        data = file.read_bytes()
    else:
        artifact = Artifact.open(place, kind="scores")
        data = artifact.read(artifact.only("scores"))
    try:
        scores: Any = json.loads(data)
    except ValueError:
        scores = None
    if not isinstance(scores, dict) or "benchmark_sha256" not in scores:
        raise ArtifactError(
            f"expected scores of codekiln evaluate or of the scoring step, got {data[:40]!r} in "
            f"{place!r}: evaluate again"
        )
    return scores


def _lines(compared: Mapping[str, Any], level: float) -> list[str]:
    head = ["benchmark", "pass@k", "first", "second", "difference", "interval"]
    head += ["better", "worse", "equal"]
    rows, notes = [], []
    for name, benchmark in compared.items():
        rows += [
            [
                f"{name} ({found['problems']:,} problems)",
                f"pass@{k}",
                *(f"{100 * found[key]:.2f} %" for key in ("first", "second")),
                f"{100 * found['difference']:+.2f}",
                f"{100 * found['low']:+.2f} to {100 * found['high']:+.2f}",
                *(f"{100 * found[key]:.1f} %" for key in ("better", "worse", "equal")),
            ]
            for k, found in benchmark["pass_at_k"].items()
        ]
        if benchmark["left_out"]:
            notes.append(
                f"{name}: {benchmark['left_out']:,} problems that only one scored left out"
            )
        if benchmark["k_left_out"]:
            ks = ", ".join(f"pass@{k}" for k in benchmark["k_left_out"])
            notes.append(f"{name}: {ks} left out, which only one scored")
    notes.append(
        f"difference and interval in points, {100 * level:g} % of a paired bootstrap over "
        "problems; one that holds 0 does not tell the two apart. Better, worse and equal are "
        "shares of problems."
    )
    return [*align([head, *rows]), *notes]
