"""How fast decontamination reads a corpus: the whole step, reading and writing Parquet counted.

    python -m benchmarks.decontamination [MEGABYTES]

The step runs as `codekiln decontamination` does, in processes of its own, on installed code; every
child process is counted, start-up too. The last line is one JSON object.
"""

import tempfile
from pathlib import Path

from benchmarks.corpus import megabytes, read_corpus
from benchmarks.documents import write_documents
from benchmarks.measuring import (
    measure,
    measure_in_turn,
    peak_rss_mb,
    print_result,
    print_table,
    read_number,
)
from components.artifacts.artifact import Artifact
from components.artifacts.documents import DOCUMENTS, draft_documents, read_documents
from components.decontamination.config import STEP, DecontaminationConfig
from components.decontamination.needles import targets_of
from components.decontamination.search import Searcher
from components.problems.benchmark import load_benchmarks
from components.stage.execution import Execution, execute

BENCHMARKS = ("humaneval", "easy")
ROUNDS = 3


def main() -> None:
    """Measure the search alone, the step, and reading and writing alone."""
    limit = read_number(__doc__, "megabytes", 0, "of the corpus; 0 takes all")
    files = read_corpus(max_bytes=int(limit * 1e6))
    size = megabytes(files)
    config = DecontaminationConfig(benchmarks=BENCHMARKS)
    targets = targets_of(load_benchmarks(config.benchmarks), config)
    texts = [file.content.decode() for file in files]
    searcher = Searcher(targets, config)
    with tempfile.TemporaryDirectory() as folder:
        documents = write_documents(files, Path(folder) / "documents")
        sides = {
            "search alone": lambda: [searcher.find(text) for text in texts],
            "read and write alone": lambda: copy(documents),
        }
        costs = measure_in_turn(sides, ROUNDS)
        costs["the step"] = measure(lambda: run_step(documents, config, Path(folder)))
    print_table(
        ("side", "MB", "cpu s", "MB per cpu s"),
        [(name, size, cost.cpu_s, size / cost.cpu_s) for name, cost in costs.items()],
    )
    print_result(
        {
            "corpus_mb": round(size, 1),
            "step_mb_per_cpu_s": round(size / costs["the step"].cpu_s, 1),
            "search_mb_per_cpu_s": round(size / costs["search alone"].cpu_s, 1),
            "peak_rss_mb": round(peak_rss_mb()),
        }
    )


def copy(documents: Artifact) -> None:
    """Read every shard and spell it again: the floor of any step that passes documents on."""
    for entry in documents.part(DOCUMENTS):
        draft_documents(read_documents(documents, entry))


def run_step(documents: Artifact, config: DecontaminationConfig, folder: Path) -> None:
    """The step with two workers, on a data root of its own."""
    execute(
        STEP,
        config,
        {"documents": documents.storage.uri},
        folder / "output",
        Execution(data_root=str(folder / "data"), workers=2, threads=1),
    )


if __name__ == "__main__":
    main()
