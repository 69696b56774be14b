"""Drop what holds a benchmark's problems: the order of the steps."""

from collections.abc import Mapping
from functools import partial

from components.artifacts.artifact import Artifact, ArtifactWriter
from components.artifacts.documents import DOCUMENTS
from components.decontamination.config import DecontaminationConfig
from components.decontamination.needles import targets_of
from components.decontamination.removal import drop_contaminated
from components.decontamination.report import measures_of, needles_markdown
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
    tally = map_shards(engine, output, work, documents.part(DOCUMENTS), "decontamination")
    return Report(
        tally=tally,
        measures=measures_of(targets, tally),
        markdown=needles_markdown(targets, tally),
    )
