"""Samples and results as openai/human-eval writes them, so that its tools read ours.

`samples.jsonl`: task_id, completion. `samples.jsonl_results.jsonl`: the same with `result`
(`passed`, `timed out`, or `failed: ` and why) and `passed`. A sample that has no verdict has the
result `infra_error` and `passed` null: it must not be read as failed.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from components.artifacts.artifact import Draft
from components.artifacts.rows import draft_text
from components.scoring.counts import NO_VERDICT, SampleKey, key_of, spell_temperature

Row = Mapping[str, Any]

PART = "human_eval"
SAMPLES_NAME = "samples.jsonl"
RESULTS_NAME = "samples.jsonl_results.jsonl"
"""As `evaluate_functional_correctness` names it: the samples' file and a suffix."""


def sample_line(row: Row) -> dict[str, Any]:
    """A sample as a row of human-eval's."""
    return {"task_id": row["task_id"], "completion": row["completion"]}


def result_line(row: Row, verdict: Row) -> dict[str, Any]:
    """A sample with its verdict as a row of human-eval's results."""
    return {**sample_line(row), **result_of(verdict)}


def result_of(verdict: Row) -> dict[str, Any]:
    """human-eval's two fields of a verdict."""
    name, detail = verdict["verdict"], verdict["detail"]
    if name == NO_VERDICT:
        return {"result": NO_VERDICT, "passed": None}
    if name == "passed":
        return {"result": "passed", "passed": True}
    if name == "timeout":
        return {"result": "timed out", "passed": False}
    why = detail if name == "failed" else f"{name} {detail}".strip()
    return {"result": f"failed: {why}", "passed": False}


def spell_lines(rows: Iterable[Row]) -> str:
    """Rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def draft_human_eval(samples: Sequence[Row], verdicts: Mapping[SampleKey, Row]) -> list[Draft]:
    """Two files for each benchmark and temperature: what human-eval would have written.

    Args:
        samples: of all benchmarks.
        verdicts: by the sample's name.
    """
    groups: dict[tuple[str, float], list[Row]] = {}
    for row in samples:
        groups.setdefault((row["benchmark"], row["temperature"]), []).append(row)
    drafts = []
    for (benchmark, temperature), rows in groups.items():
        folder = f"{PART}/{benchmark}/t-{spell_temperature(temperature).replace(' ', '-')}"
        lines = spell_lines(map(sample_line, rows))
        results = spell_lines(result_line(row, verdicts[key_of(row)]) for row in rows)
        drafts.append(draft_text(PART, ".jsonl", lines, name=f"{folder}/{SAMPLES_NAME}"))
        drafts.append(draft_text(PART, ".jsonl", results, name=f"{folder}/{RESULTS_NAME}"))
    return drafts
