"""The order of the step: match, refuse, score, draw."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from components.artifacts.artifact import Artifact, ArtifactWriter
from components.artifacts.errors import ArtifactError
from components.artifacts.rows import draft_text, read_rows
from components.artifacts.tally import Tally
from components.scoring.benchmarks import (
    check_infra_errors,
    check_selfcheck,
    match_verdicts,
    score_benchmark,
)
from components.scoring.config import ScoringConfig
from components.scoring.continuations import line_warnings, score_lines
from components.scoring.counts import NO_VERDICT
from components.scoring.formats import draft_human_eval
from components.scoring.notes import benchmark_warnings
from components.scoring.page import draw_page
from components.scoring.published import PUBLISHED
from components.scoring.report import write_markdown
from components.stage.engine import Engine
from components.stage.step import Report

PROBLEMS = "problems"
"""The part of decontamination's artifact that says of each problem whether the corpus held it."""


def run(
    inputs: Mapping[str, Artifact],
    output: ArtifactWriter,
    config: ScoringConfig,
    engine: Engine,  # noqa: ARG001  all the work takes seconds
) -> Report:
    """Score the samples."""
    samples = read_rows(inputs["samples"], "samples")
    continuations = read_rows(inputs["samples"], "continuations")
    if not samples:
        raise ArtifactError(
            f"expected samples, got none in {inputs['samples'].storage.uri}: "
            "run generation with at least one benchmark"
        )
    names = list(dict.fromkeys(row["benchmark"] for row in samples))
    selfcheck = check_selfcheck(
        read_rows(inputs["verdicts"], "selfcheck"), names, config.max_unsound_share
    )
    verdicts = match_verdicts(samples, read_rows(inputs["verdicts"], "verdicts"))
    check_infra_errors(verdicts, config.max_infra_share, inputs["verdicts"].storage.uri)
    exposure = read_exposure(inputs.get("decontamination"))
    benchmarks = {
        name: score_benchmark(
            [row for row in samples if row["benchmark"] == name],
            verdicts,
            selfcheck[name],
            exposure.get(name, {}),
            config,
        )
        for name in names
    }
    lines = score_lines(continuations, config) if continuations else {}
    scores = {
        "benchmarks": benchmarks,
        "benchmark_sha256": read_hashes(inputs["verdicts"], names),
        "selfcheck": selfcheck,
        "lines": lines,
        "bootstrap": {"seed": config.seed, "resamples": config.resamples, "level": config.level},
        "published": [result.to_json() for result in PUBLISHED],
        "warnings": [
            *benchmark_warnings(benchmarks, selfcheck, config.level),
            *line_warnings(lines, config),
        ],
    }
    tally = Tally(counts={"samples": len(samples), "continuations": len(continuations)})
    text = json.dumps(scores, sort_keys=True, indent=1) + "\n"
    drafts = [draft_text("scores", ".json", text, name="scores.json")]
    output.commit(0, [*drafts, *draft_human_eval(samples, verdicts)], tally)
    return Report(
        tally=tally,
        measures=measures_of(scores),
        markdown=write_markdown(scores),
        html=draw_page(scores, read_level(inputs["verdicts"])),
    )


def read_exposure(artifact: Artifact | None) -> dict[str, dict[str, str]]:
    """What decontamination knows of each problem, by benchmark and task; empty without one."""
    found: dict[str, dict[str, str]] = {}
    for row in read_rows(artifact, PROBLEMS) if artifact is not None else ():
        found.setdefault(row["benchmark"], {})[row["task_id"]] = row["status"]
    return found


def read_hashes(verdicts: Artifact, names: Sequence[str]) -> dict[str, str]:
    """The sha256 of each benchmark's file, as the sandbox saw it."""
    observed = verdicts.manifest.config.get("observed", {}).get("benchmarks", {})
    return {name: observed[name] for name in names if name in observed}


def read_level(verdicts: Artifact) -> int:
    """The lowest level of isolation that the samples ran at: for people, in no digest."""
    return int(verdicts.manifest.measures.get("isolation_level", 0))


def measures_of(scores: Mapping[str, Any]) -> dict[str, float]:
    """The headline numbers under stable names."""
    benchmarks = scores["benchmarks"]
    measures = {
        f"pass_at_{k}_{name}": float(interval["value"])
        for name, benchmark in benchmarks.items()
        for k, interval in benchmark["pass_at_k"].items()
    }
    for name, benchmark in benchmarks.items():
        measures[f"syntax_valid_{name}"] = float(benchmark["syntax_valid"])
        measures[f"duplicates_{name}"] = float(benchmark["texts"]["duplicates"])
        measures[f"no_verdict_{name}"] = float(benchmark["verdicts"].get(NO_VERDICT, 0))
    shares = {f"lines_parse_{author}": score["share"] for author, score in scores["lines"].items()}
    return measures | shares
