"""The order of the step: match, refuse, score, draw."""

import json
from collections.abc import Mapping
from typing import Any

from components.artifacts.artifact import Artifact, ArtifactWriter
from components.artifacts.errors import ArtifactError
from components.artifacts.rows import draft_text, read_rows
from components.artifacts.tally import Tally
from components.scoring.benchmarks import check_selfcheck, match_verdicts, score_benchmark
from components.scoring.config import ScoringConfig
from components.scoring.continuations import line_warnings, score_lines
from components.scoring.published import PUBLISHED
from components.scoring.report import draw_page, write_markdown
from components.stage.engine import Engine
from components.stage.step import Report


def run(
    inputs: Mapping[str, Artifact],
    output: ArtifactWriter,
    config: ScoringConfig,
    engine: Engine,  # noqa: ARG001  all the work takes about a second
) -> Report:
    """Score the samples."""
    samples = read_rows(inputs["samples"], "samples")
    continuations = read_rows(inputs["samples"], "continuations")
    names = list(dict.fromkeys(row["benchmark"] for row in samples))
    if not names:
        raise ArtifactError(
            f"expected samples, got none in {inputs['samples'].storage.uri}: "
            "run generation with at least one benchmark"
        )
    selfcheck = check_selfcheck(read_rows(inputs["verdicts"], "selfcheck"), names)
    verdicts = match_verdicts(samples, read_rows(inputs["verdicts"], "verdicts"))
    lines = score_lines(continuations, config)
    scores = {
        "benchmarks": {
            name: score_benchmark(
                [row for row in samples if row["benchmark"] == name], verdicts, config
            )
            for name in names
        },
        "selfcheck": selfcheck,
        "lines": lines,
        "bootstrap": {"seed": config.seed, "resamples": config.resamples, "level": config.level},
        "published": [result.to_json() for result in PUBLISHED],
        "warnings": line_warnings(lines, config),
    }
    tally = Tally(counts={"samples": len(samples), "continuations": len(continuations)})
    text = json.dumps(scores, sort_keys=True, indent=1) + "\n"
    output.commit(0, [draft_text("scores", ".json", text, name="scores.json")], tally)
    return Report(
        tally=tally,
        measures=measures_of(scores),
        markdown=write_markdown(scores),
        html=draw_page(scores),
    )


def measures_of(scores: Mapping[str, Any]) -> dict[str, float]:
    """The headline numbers under stable names."""
    measures = {
        f"pass_at_{k}_{name}": float(interval["value"])
        for name, benchmark in scores["benchmarks"].items()
        for k, interval in benchmark["pass_at_k"].items()
    }
    shares = {f"lines_parse_{author}": score["share"] for author, score in scores["lines"].items()}
    return measures | shares
