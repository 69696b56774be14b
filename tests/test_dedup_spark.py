"""The join of near-dedup on Spark: the removed set of one process, a quiet terminal, clear errors.

Skipped visibly where pyspark or Java is missing: `make spark` installs the first.
"""

import importlib.util
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from components.artifacts.errors import MissingExtraError
from components.artifacts.rows import read_rows
from components.dedup import pairing, spark

needs_spark = pytest.mark.skipif(
    importlib.util.find_spec("pyspark") is None or shutil.which("java") is None,
    reason="needs pyspark (make spark) and Java 17",
)

ROOT = Path(__file__).resolve().parents[1]


def program(seed, changes=0):
    shuffle = random.Random(seed)
    words = [f"name_{shuffle.randrange(400)}" for _ in range(120)]
    for place in shuffle.sample(range(120), changes):
        words[place] = f"other_{shuffle.randrange(10_000)}"
    return " ".join(words)


@pytest.fixture
def corpus(document):
    """Programs with exact copies, near copies of several degrees, and short files."""
    rows = [
        document(f"{n:02d}/{changes}.py", program(n, changes), stars=n % 3)
        for n in range(24)
        for changes in (0, 1, 3, 5, 8, 12)
    ]
    rows += [document(f"copy/{n}.py", program(n), stars=5) for n in range(0, 24, 5)]
    return rows + [document(f"short/{n}.py", "x = 1") for n in range(3)]


@needs_spark
@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [{}, {"max_comparisons": 2, "keep": "extremes"}],
    ids=["defaults", "large buckets"],
)
def test_spark_removes_what_one_process_removes(
    make_step, documents_of, corpus, tmp_path, monkeypatch, config
):
    monkeypatch.setenv("SPARK_MASTER", "local[2]")
    documents = documents_of(corpus[::2], corpus[1::2], [])
    one = make_step("dedup", {"documents": documents}, **config).artifact
    root = tmp_path / "spark"
    two = make_step(
        "dedup", {"documents": documents}, engine="spark", data_root=str(root), **config
    ).artifact
    assert two.manifest.digest == one.manifest.digest
    assert two.manifest.tally == one.manifest.tally
    assert one.manifest.measures["near_duplicates"] > 20
    assert read_rows(two, "clusters") == read_rows(one, "clusters")
    skipped = (two.manifest.measures["pairs_skipped"], one.manifest.measures["pairs_skipped"])
    assert skipped[0] >= skipped[1]
    assert (skipped[0] > 0) == bool(config)
    assert not list(root.rglob("spark*"))


@needs_spark
@pytest.mark.slow
def test_spark_says_nothing_on_the_terminal_and_leaves_no_process(
    documents_of, corpus, tmp_path, wait_until_gone
):
    command = [sys.executable, "-P", "-m", "pipelines.cli", "dedup", "--engine", "spark"]
    command += ["--documents", documents_of(corpus).storage.uri, "--workers", "2"]
    command += ["--output", str(tmp_path / "out"), "--data-root", str(tmp_path / "data")]
    environment = {**os.environ, "CODEKILN_TEST_TOKEN": str(tmp_path)}
    # What lies in the folder that a process starts in is never imported.
    for name in ("components.py", "numpy.py", "pyarrow.py"):
        (tmp_path / name).write_text("raise SystemExit('imported from the working folder')")
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert [line for line in done.stderr.splitlines() if "codekiln dedup: made" not in line] == []
    wait_until_gone(processes_with(str(tmp_path)))
    folders = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert folders == ["data", "documents", "out"]


def processes_with(token):
    """Processes that were started with a token in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if token.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_a_missing_pyspark_is_one_line_before_any_work(
    make_step, documents_of, document, monkeypatch
):
    monkeypatch.setattr(spark.importlib.util, "find_spec", lambda _name: None)
    documents = documents_of([document("a.py", program(1))])
    with pytest.raises(MissingExtraError, match=r"pip install 'codekiln\[spark\]'"):
        make_step("dedup", {"documents": documents}, engine="spark")


def test_a_missing_java_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(spark.importlib.util, "find_spec", lambda _name: object())
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(MissingExtraError, match="needs Java 17, found no java in JAVA_HOME"):
        spark.check_spark()


def pairs_by_hand(members, threshold, limit):
    """(document, document) of a bucket, as the join in one process visits them."""
    found = []
    for place, (one, size) in enumerate(members):
        rest = members[place + 1 :]
        found += [
            (one, two)
            for two, other in (rest[:limit] if limit else rest)
            if min(size, other) >= threshold * max(size, other)
        ]
    return found


@pytest.mark.parametrize("limit", [0, 1, 7, 1000])
def test_pairs_of_buckets_are_those_of_one_process_whatever_the_batches(limit, monkeypatch):
    monkeypatch.setattr(pairing, "PAIRS_OF_A_BATCH", 13)
    draw = np.random.default_rng(limit)
    buckets = [
        [(document, int(draw.integers(1, 9))) for document in range(base, base + count)]
        for base, count in ((0, 2), (10, 1), (20, 40), (100, 5))
    ]
    rows = [
        [{"document": d, "shard": d % 3, "start": 8 * d, "size": s} for d, s in bucket]
        for bucket in buckets
    ]
    batch = pa.RecordBatch.from_pydict({"members": pa.array(rows)})
    made = [*pairing.pair_members(iter([batch, batch.slice(0, 0), batch.slice(2)]), 0.7, limit)]
    found = [
        (row["left_document"], row["right_document"]) for part in made for row in part.to_pylist()
    ]
    seen = buckets + buckets[2:]
    assert found == [pair for bucket in seen for pair in pairs_by_hand(bucket, 0.7, limit)]
    for row in (row for part in made for row in part.to_pylist()):
        assert row["left_shard"] == row["left_document"] % 3
        assert row["right_start"] == 8 * row["right_document"]
