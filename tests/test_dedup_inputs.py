"""Input that is large of one kind, empty or damaged: counted drops or one line, with any engine."""

import dataclasses
import importlib.util
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from components.artifacts.artifact import Artifact, ArtifactWriter, Draft
from components.artifacts.documents import DOCUMENTS, read_documents
from components.artifacts.errors import CorruptArtifactError, StepFailedError
from components.artifacts.manifest import digest_of_files
from components.artifacts.rows import read_rows
from components.artifacts.storage import open_storage
from components.artifacts.tally import Tally
from components.dedup import clusters
from components.dedup.shingles import gram_sets
from components.dedup.verification import HeldSets
from components.stage.command import run_step_command
from components.stage.step import find_step

has_spark = importlib.util.find_spec("pyspark") is not None and shutil.which("java") is not None
needs_spark = pytest.mark.skipif(not has_spark, reason="needs pyspark (make spark) and Java 17")
any_engine = pytest.mark.parametrize(
    "engine", ["local", "indexed", pytest.param("spark", marks=needs_spark)]
)
TEXT = "import os\n\nfor name in os.listdir():\n    print(name, os.stat(name).st_size)\n"
MANY = 100_000


def kept_rows(artifact):
    tables = [read_documents(artifact, entry) for entry in artifact.part(DOCUMENTS)]
    return pa.concat_tables(tables).to_pylist() if tables else []


@pytest.mark.slow
@any_engine
def test_one_file_a_hundred_thousand_times_leaves_one(make_step, documents_of, document, engine):
    row = document("000000.py", TEXT)
    half = MANY // 2
    rows = [{**row, "path": f"{number:06d}.py"} for number in range(MANY)]
    made = make_step(
        "dedup", {"documents": documents_of(rows[half:], rows[:half])}, engine=engine, workers=2
    ).artifact
    assert [row["path"] for row in kept_rows(made)] == ["000000.py"]
    assert made.manifest.tally.counts["files_in"] == MANY
    assert made.manifest.tally.drops["exact_duplicate"] == (MANY - 1, (MANY - 1) * len(TEXT))
    [cluster] = read_rows(made, "clusters")
    assert len(cluster["dropped"]) == MANY - 1


@pytest.mark.slow
def test_one_file_with_another_first_line_each_time_leaves_one_in_linear_time(
    make_step, documents_of, document
):
    # All are one bucket in most bands: compared pair by pair they would be 50 million.
    body = TEXT + "\n".join(f"value_{i} = table[{i}] + offset" for i in range(60))
    rows = [document(f"{n:05d}.py", f"version = {n}\n{body}") for n in range(10_000)]
    made = make_step("dedup", {"documents": documents_of(rows)}).artifact
    assert [row["path"] for row in kept_rows(made)] == ["00000.py"]
    assert made.manifest.tally.drops["near_duplicate"][0] == 9_999
    assert made.manifest.measures["pairs_compared"] < 30_000


@any_engine
@pytest.mark.parametrize("shards", [[], [[]], [[], []]], ids=["no shard", "one", "two"])
def test_an_empty_corpus_is_an_empty_artifact(make_step, documents_of, engine, shards):
    made = make_step("dedup", {"documents": documents_of(*shards)}, engine=engine, workers=2)
    assert kept_rows(made.artifact) == []
    assert len(made.artifact.part(DOCUMENTS)) == len(shards)
    assert read_rows(made.artifact, "clusters") == []


@any_engine
@pytest.mark.parametrize("damage", ["altered", "cut off", "gone"])
def test_a_damaged_shard_is_one_line_and_no_artifact(
    documents_of, document, tmp_path, capfd, engine, damage
):
    shards = [[document(f"{n}.py", TEXT * n)] for n in range(1, 4)]
    artifact = documents_of(*shards)
    path = Path(artifact.storage.uri) / artifact.part(DOCUMENTS)[1].name
    data = path.read_bytes()
    damaged = {"altered": data[:40] + b"?" + data[41:], "cut off": data[:-20]}
    path.unlink() if damage == "gone" else path.write_bytes(damaged[damage])
    data_root = tmp_path / "data"
    arguments = ["--documents", artifact.storage.uri, "--output", str(tmp_path / "out")]
    arguments += ["--data-root", str(data_root), "--workers", "2", "--engine", engine]
    assert run_step_command(find_step("dedup"), arguments) == 1
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("codekiln dedup: error: expected ")
    assert path.name in said
    assert "run again" in said
    assert not list(data_root.rglob("manifest.json"))


@any_engine
def test_a_shard_that_is_no_parquet_is_one_line(
    tmp_path, documents_of, document, make_step, engine
):
    like = documents_of([document("a.py", TEXT)]).manifest
    writer = ArtifactWriter(open_storage(str(tmp_path / "broken")))
    draft = Draft(part=DOCUMENTS, suffix=".parquet", data=b"PAR1 no", rows=1, digest="0" * 64)
    writer.commit(0, [draft], Tally())
    committed = writer.committed(0)
    assert committed is not None
    files = tuple(committed[0])
    digest = digest_of_files(files, frozenset())
    manifest = dataclasses.replace(like, files=files, digest=digest)
    writer.storage.create("manifest.json", manifest.to_bytes())
    broken = Artifact.open(writer.storage.uri)
    with pytest.raises(CorruptArtifactError, match="expected a document shard"):
        make_step("dedup", {"documents": broken}, engine=engine, workers=2)


def test_more_documents_than_the_join_can_number_are_refused(monkeypatch):
    monkeypatch.setattr(clusters, "MAX_DOCUMENTS", 2)
    sets = HeldSets(gram_sets([b"a", b"b", b"c"], 5, "runs"))
    with pytest.raises(StepFailedError, match=r"at most 2 documents .* got 3.*--engine spark"):
        clusters.Join(sets, 0.7, 0)
