"""The clean step on real Python files, all rules on: files per CPU second, and where they go.

    python -m benchmarks.clean [--files N] [--seed N] [--rounds N]

Draws installed Python files by seed, makes a documents artifact of them in a temporary folder, and
runs the real step on it: Parquet read and written, shards hashed, ruff's processes counted. The
parts are measured by themselves on the same files and need not add up: the step asks the later
ones only for documents that the earlier ones keep.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import pyarrow as pa

from benchmarks.corpus import draw, megabytes, read_corpus
from benchmarks.documents import write_documents
from benchmarks.measuring import measure_in_turn, peak_rss_mb, print_result, print_table
from components.artifacts.artifact import Artifact
from components.artifacts.documents import (
    DOCUMENTS,
    draft_documents,
    read_documents,
)
from components.artifacts.license_tags import read_license_tags
from components.clean.cleaning import read_candidates
from components.clean.comments import strip_license_header
from components.clean.config import CleanConfig
from components.clean.presets import pycodegpt
from components.clean.redaction import redact
from components.clean.rules import AFTER_STRIPPING, BEFORE_STRIPPING, first_reason
from components.clean.syntax import SyntaxChecker
from components.clean.view import DocumentView
from components.stage.execution import Execution, execute
from components.stage.step import find_step

ALL_RULES = replace(
    CleanConfig(),
    languages=("Python",),
    excluded_names=pycodegpt().excluded_names,
    max_chars_per_newline=200.0,
    max_digit_share=0.8,
    min_assignments=5,
    no_keyword_drop_share=0.7,
    config_or_test_drop_share=0.7,
    drop_xml=True,
)
"""Every rule for Python at its published number, no matter whose; the licences are all MIT here."""

DEFAULTS, WHOLE = "the whole step, defaults", "the whole step, all rules"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=8000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    files = draw(read_corpus((".py",)), options.files, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        documents = write_documents(files, Path(folder) / "documents")
        roots = Path(folder)
        sides = {
            **parts(documents),
            DEFAULTS: whole_step(documents, CleanConfig(), roots / "defaults"),
            WHOLE: whole_step(documents, ALL_RULES, roots / "all"),
        }
        costs = measure_in_turn(sides, options.rounds)
    total = costs[WHOLE].cpu_s
    print_table(
        ("part", "CPU s", "files per CPU s", "MB per CPU s", "of the step"),
        [
            (
                name,
                cost.cpu_s,
                len(files) / cost.cpu_s,
                megabytes(files) / cost.cpu_s,
                f"{cost.cpu_s / total:.0%}",
            )
            for name, cost in costs.items()
        ],
    )
    print_result(
        {
            "files_per_cpu_s": round(len(files) / total, 1),
            "files_per_cpu_s_defaults": round(len(files) / costs[DEFAULTS].cpu_s, 1),
            "mb_per_cpu_s": round(megabytes(files) / total, 2),
            "files": len(files),
            "megabytes": round(megabytes(files), 2),
            "seed": options.seed,
            "rounds": options.rounds,
            "peak_rss_mb": round(peak_rss_mb(), 1),
        }
    )


def whole_step(documents: Artifact, config: CleanConfig, folder: Path) -> Callable[[], object]:
    """The step as its command runs it; every call on a data root of its own."""
    step, calls = find_step("clean"), count()

    def run() -> object:
        root = folder / f"run-{next(calls)}"
        execution = Execution(data_root=str(root / "data"), workers=1)
        inputs = {"documents": documents.storage.uri}
        return execute(step, config, inputs, root / "out", execution)

    return run


def parts(documents: Artifact) -> dict[str, Callable[[], object]]:
    """The parts of the step, each over all files."""
    entries = documents.part(DOCUMENTS)
    tables = [read_documents(documents, entry) for entry in entries]
    candidates = [one for table in tables for one in read_candidates(table)]
    texts = [one.data for one in candidates]

    def read() -> None:
        for entry in entries:
            read_candidates(read_documents(documents, entry))

    def ask_rules() -> None:
        for one in candidates:
            view = DocumentView(one.path, one.language, one.license, one.data)
            for rule in (*BEFORE_STRIPPING, *AFTER_STRIPPING):
                first_reason((rule,), view, ALL_RULES)

    def check_syntax() -> None:
        limits = (ALL_RULES.syntax_cpu_s, ALL_RULES.syntax_memory_bytes)
        with SyntaxChecker(ALL_RULES.syntax_version, *limits) as checker:
            checker.reasons(texts)

    return {
        "read and hash Parquet": read,
        "all rules, none skipped": ask_rules,
        "licence tags": lambda: [read_license_tags(text) for text in texts],
        "licence headers": lambda: [strip_license_header(text, "Python") for text in texts],
        "secrets and addresses": lambda: [redact(text) for text in texts],
        "syntax, child processes": check_syntax,
        "write and digest Parquet": partial(_write, tables),
    }


def _write(tables: list[pa.Table]) -> None:
    for table in tables:
        draft_documents(table)


if __name__ == "__main__":
    main()
