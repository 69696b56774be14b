"""The commands and programs of docs/corpus.md run, offline and without a warning."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from components.artifacts.artifact import Artifact
from components.artifacts.documents import DOCUMENTS, read_documents

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "corpus.md").read_text()


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    return [text for name, text in fenced if name == language]


@pytest.fixture
def corpus(make_step: Any, documents_of: Any, document: Any) -> dict[str, Artifact]:
    """Documents in two shards, and their tokens."""
    rows = [
        document(f"{n}.py", f"value_{n} = [{n}]\n" * 40, repo=f"me/r{n % 7}", stars=n)
        for n in range(28)
    ]
    documents = documents_of(rows[:10], rows[10:])
    tokenizer = make_step("tokenizer", {"documents": documents}, vocabulary_size=280).artifact
    inputs = {"documents": documents, "tokenizer": tokenizer}
    tokens = make_step("packing", inputs, validation_fraction=0.5).artifact
    return {"DOCUMENTS": documents, "TOKENS": tokens}


@pytest.fixture
def run(tmp_path: Path, corpus: dict[str, Artifact]) -> Any:
    """Run a Python program where a user would: warnings are errors, nothing is fetched."""
    environment = {
        **os.environ,
        **{name: artifact.storage.uri for name, artifact in corpus.items()},
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "hub"),
        "PYTHONPATH": str(ROOT),
    }

    def start(*arguments: str) -> str:
        if "-c" in arguments:
            # The end of an interpreter can abort where Arrow's threads are just starting.
            end = "\nimport os, sys\nsys.stdout.flush()\nos._exit(0)\n"
            arguments = (*arguments[:-1], arguments[-1] + end)
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return start


def lines_of(artifact: Artifact) -> list[dict[str, Any]]:
    tables = [read_documents(artifact, entry) for entry in artifact.part(DOCUMENTS)]
    return [row for table in tables for row in table.to_pylist()]


def test_every_command_runs_and_the_archive_reads_back(
    run: Any, corpus: dict[str, Artifact], tmp_path: Path
) -> None:
    commands = [line for block in blocks("") for line in block.splitlines()]
    assert len(commands) == 7
    for command in commands:
        for name, artifact in corpus.items():
            command = command.replace(f"${name}", artifact.storage.uri)
        name, *arguments = command.split()
        assert name == "codekiln"
        assert run("-m", "pipelines.cli", *arguments)
    assert len(list((tmp_path / "out" / "archive").iterdir())) == 2
    read = run("-c", blocks("python")[1])
    assert read.splitlines() == [
        f"{row['repo']} {row['path']} {row['stars']} {len(row['content'])}"
        for row in lines_of(corpus["DOCUMENTS"])
    ]


@pytest.mark.slow
def test_the_corpus_opens_in_datasets_whole_and_streamed(
    run: Any, corpus: dict[str, Artifact]
) -> None:
    rows = lines_of(corpus["DOCUMENTS"])
    check = f"""
assert len(rows) == {len(rows)} == sum(1 for _ in streamed)
assert rows[11]["content"] == {rows[11]["content"]!r}
assert [row["path"] for row in streamed] == rows["path"][:]
"""
    program = f"{blocks('python')[0]}{check}"
    first, second = run("-W", "error", "-c", program).splitlines()[-2:]
    row = rows[0]
    assert first == f"{row['repo']} {row['path']} {row['license']} {len(row['content'])}"
    assert second == row["sha256"]
