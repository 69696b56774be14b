"""Drop what holds a benchmark's problems: the order of the steps."""

from collections.abc import Mapping
from functools import partial

from components.artifacts.artifact import Artifact, ArtifactWriter
from components.artifacts.documents import DOCUMENTS
from components.artifacts.rows import draft_rows
from components.artifacts.tally import Tally
from components.decontamination.config import DecontaminationConfig
from components.decontamination.needles import targets_of
from components.decontamination.removal import drop_contaminated
from components.decontamination.report import (
    PROBLEMS,
    measures_of,
    needles_markdown,
    problem_rows,
)
from components.problems.benchmark import load_benchmarks
from components.stage.engine import Engine, map_shards
from components.stage.step import Report


def run(
    inputs: Mapping[str, Artifact],
    output: ArtifactWriter,
    config: DecontaminationConfig,
    engine: Engine,
) -> Report:
    """Make needles of the benchmarks, look for them in every shard, drop what holds one."""
    documents = inputs["documents"]
    targets = targets_of(load_benchmarks(config.benchmarks), config)
    work = partial(drop_contaminated, documents, targets, config)
    entries = documents.part(DOCUMENTS)
    tally = map_shards(engine, output, work, entries, "decontamination")
    if output.committed(len(entries)) is None:
        rows = problem_rows(targets, tally)
        output.commit(len(entries), [draft_rows(PROBLEMS, rows)], Tally())
    return Report(
        tally=tally,
        measures=measures_of(targets, tally),
        markdown=needles_markdown(targets, tally),
    )
