"""What packing's options cost and bring, on installed Python code.

    python -m benchmarks.packing [MEGABYTES]

The whole step runs with every option, one worker, reading, encoding and writing counted. Cut
documents are those that would fit a block and do not stand in one. The last line is one JSON
object.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpus import megabytes, read_corpus
from benchmarks.documents import write_documents
from benchmarks.measuring import measure, print_result, print_table, read_number
from components.artifacts.artifact import Artifact
from components.artifacts.documents import DOCUMENTS, read_documents
from components.artifacts.tokens import read_tokens
from components.packing.functions import extract_functions
from components.stage.execution import Execution, execute
from components.stage.step import find_step

VOCABULARY_SIZE = 8192
SHARD_MB = (1, 32)
BLOCK_LENGTHS = (128, 1024)
FUNCTION_SHARE = 0.3
FUNCTION_MAX_LINES = 30


def main() -> None:
    """Pack the same files by stream and by best fit, in small and in large shards."""
    limit = read_number(__doc__, "megabytes", 48, "of the corpus")
    files = read_corpus((".py",), max_bytes=int(limit * 1e6))
    size = megabytes(files)
    rows: list[Sequence[object]] = []
    result: dict[str, object] = {"corpus_mb": round(size, 1)}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for shard_mb in SHARD_MB:
            documents = write_documents(files, root / f"documents-{shard_mb}", shard_mb * 10**6)
            tokenizer, _ = run_step(
                root, "tokenizer", {"documents": documents}, vocabulary_size=VOCABULARY_SIZE
            )
            inputs = {"documents": documents, "tokenizer": tokenizer}
            stream, stream_s = run_step(root, "packing", inputs)
            for block_length in BLOCK_LENGTHS:
                packed, packed_s = run_step(
                    root, "packing", inputs, packing="best_fit", block_length=block_length
                )
                padding = share_of(packed, "padding")
                cut = share_cut(stream, block_length)
                rows += [
                    (shard_mb, block_length, "stream", cut, 0.0, stream_s),
                    (shard_mb, block_length, "best_fit", 0.0, padding, packed_s),
                ]
                result[f"padding_{block_length}_shards_{shard_mb}mb"] = round(padding, 5)
                result[f"stream_cut_{block_length}"] = round(cut, 4)
        functions, functions_s = run_step(
            root,
            "packing",
            inputs,
            function_share=FUNCTION_SHARE,
            function_max_lines=FUNCTION_MAX_LINES,
        )
        texts = [text for entry in documents.part(DOCUMENTS) for text in contents(documents, entry)]
    print_table(("shard MB", "block", "packing", "fitting documents cut", "padding", "cpu s"), rows)
    scan = measure(lambda: [extract_functions(text, FUNCTION_MAX_LINES) for text in texts])
    counts = functions.manifest.tally.counts
    result |= {
        "functions_found": counts["functions_found"],
        "function_share_attained": round(share_of(functions, "functions"), 3),
        "function_scan_mb_per_cpu_s": round(size / scan.cpu_s, 1),
        "step_s": round(stream_s, 1),
        "step_with_functions_s": round(functions_s, 1),
    }
    print_result(result)


def run_step(
    root: Path, name: str, inputs: dict[str, Artifact], **config: Any
) -> tuple[Artifact, float]:
    """A step's artifact, and the CPU seconds that it took."""
    step = find_step(name)
    outcome: list[Artifact] = []

    def run() -> None:
        made = execute(
            step,
            step.config.from_json(config),
            {key: artifact.storage.uri for key, artifact in inputs.items()},
            root / "output",
            Execution(data_root=str(root / "data"), workers=1, threads=1),
        )
        outcome.append(made.artifact)

    cost = measure(run)
    return outcome[0], cost.cpu_s


def contents(documents: Artifact, entry: Any) -> list[str]:
    """The texts of a shard."""
    texts: list[str] = read_documents(documents, entry, ["content"])["content"].to_pylist()
    return texts


def share_of(packed: Artifact, kind: str) -> float:
    """The share of the training tokens that are of a kind."""
    counts = packed.manifest.tally.counts
    return counts[f"tokens_{kind}"] / counts["tokens_training"]


def share_cut(stream: Artifact, block_length: int) -> float:
    """The share of documents that fit a block and are cut where a stream is cut from its start."""
    cut = fitting = begin = 0
    for shard in read_tokens(stream, "training"):
        starts, ends = shard.offsets[:-1] + begin, shard.offsets[1:] + begin
        fits = ends - starts <= block_length
        cut += int(np.count_nonzero(fits & (starts // block_length != (ends - 1) // block_length)))
        fitting += int(np.count_nonzero(fits))
        begin += len(shard.ids)
    return cut / max(fitting, 1)


if __name__ == "__main__":
    main()
