"""The source `archive`: GPT-Code-Clippy's files, Parquet of three kinds, streamed data sets."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.artifacts.archives import spell_archive
from components.artifacts.artifact import Artifact
from components.artifacts.documents import documents_table, read_documents
from components.artifacts.errors import ConfigError, CorruptArtifactError
from components.artifacts.rows import read_rows


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder for archives, beside the data root."""
    (tmp_path / "archives").mkdir()
    return tmp_path / "archives"


def rows_of(artifact: Artifact) -> list[dict[str, Any]]:
    return [
        row
        for entry in artifact.part("documents")
        for row in read_documents(artifact, entry).to_pylist()
    ]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """JSON lines in zstd as GPT-Code-Clippy's own crawler wrote them."""
    with pa.OSFile(str(path), "wb") as file, pa.CompressedOutputStream(file, "zstd") as stream:
        for row in rows:
            stream.write(json.dumps(row).encode() + b"\n")


def crawl(make_step: Callable[..., Any], *paths: Path, **config: Any) -> Artifact:
    chosen = {"archive": {"paths": [str(path) for path in paths]}, **config}
    artifact: Artifact = make_step("crawl", source="archive", **chosen).artifact
    return artifact


def test_documents_come_back_from_an_archive_with_their_provenance(
    make_step: Callable[..., Any], document: Callable[..., Any], place: Path, tmp_path: Path
) -> None:
    rows = [
        document(f"src/{n}.py", f"x = {n}\n", repo=f"o/r{n % 3}", stars=n % 3, commit="c" * 40)
        for n in range(9)
    ]
    (place / "a.jsonl.zst").write_bytes(spell_archive(rows))
    pq.write_table(documents_table(rows), place / "b.parquet")
    artifact = crawl(make_step, place)
    assert str(tmp_path) not in json.dumps(artifact.manifest.config)
    back = rows_of(artifact)
    names = ("repo", "path", "content", "sha256", "commit", "license", "stars", "blob_sha1")
    expected = sorted(tuple(row[name] for name in names) for row in rows)
    for half in (back[:9], back[9:]):
        assert sorted(tuple(row[name] for name in names) for row in half) == expected
    records = read_rows(artifact, "repositories")
    assert [(one["repo"], one["files"], one["swhid"]) for one in records[:3]] == [
        (f"o/r{n}", 3, "swh:1:rev:" + "c" * 40) for n in range(3)
    ]


def test_files_that_carry_the_last_ones_name_are_flagged(
    make_step: Callable[..., Any], place: Path
) -> None:
    """C1, read back: every file of a repository is called as its last one, here `setup.cfg`."""
    meta = {"stars": "12", "repo_language": "Python", "mime_type": "text/plain"}
    shared = {**meta, "repo_name": "me/wrong", "file_name": "setup.cfg"}
    lines = [{"text": f"value = {n}\n", "meta": shared} for n in range(4)]
    lines.append({"text": "y = 1\n", "meta": {**meta, "repo_name": "me/one", "file_name": "y.py"}})
    write_lines(place / "00000.jsonl.zst", lines)
    rows = rows_of(crawl(make_step, place))
    assert [(row["repo"], row["flags"], row["language"]) for row in rows] == [
        ("me/one", [], "Python"),
        *[("me/wrong", ["name_repeated"], "Python")] * 4,
    ]
    assert {row["license"] for row in rows} == {"unknown"}
    assert {row["commit"] for row in rows} == {""}
    assert {row["stars"] for row in rows} == {12}


def test_the_stacks_columns_and_codeparrots(make_step: Callable[..., Any], place: Path) -> None:
    stack = {
        "hexsha": "0" * 40,
        "max_stars_repo_name": "o/stack",
        "max_stars_repo_path": "a.py",
        "max_stars_repo_head_hexsha": "d" * 40,
        "max_stars_repo_licenses": ["MIT", "Apache-2.0"],
        "max_stars_count": 7,
        "content": "x = 1\n",
        "lang": "Python",
    }
    parrot = {"repo_name": "o/parrot", "path": "b.py", "code": "y = 1\n", "license": "gpl-3.0"}
    pq.write_table(pa.Table.from_pylist([stack]), place / "stack.parquet")
    pq.write_table(pa.Table.from_pylist([parrot]), place / "parrot.parquet")
    rows = rows_of(crawl(make_step, place))
    seen = [(r["repo"], r["path"], r["commit"], r["license"], r["stars"]) for r in rows]
    assert seen == [
        ("o/parrot", "b.py", "", "gpl-3.0", 0),
        ("o/stack", "a.py", "d" * 40, "Apache-2.0 AND MIT", 7),
    ]
    kept = rows_of(crawl(make_step, place, licenses=["permissive"]))
    assert [row["repo"] for row in kept] == ["o/stack"]


def test_what_is_left_out_is_counted(
    make_step: Callable[..., Any], document: Callable[..., Any], place: Path
) -> None:
    rows = [
        document("a.py", "x = 1\n", repo="o/kept"),
        document("b.py", "x = 2\n", repo="gone/r"),
        document("c.py", "x" * 2000, repo="o/large"),
        document("d.py", "x = 3\n", repo="o/altered", sha256="0" * 64),
        document("e.unknown", "x = 4\n", repo="o/other"),
    ]
    pq.write_table(documents_table(rows), place / "a.parquet")
    artifact = crawl(make_step, place, opt_out=["gone"], max_file_bytes=1000)
    assert [row["repo"] for row in rows_of(artifact)] == ["o/kept"]
    drops = {reason: files for reason, (files, _) in artifact.manifest.tally.drops.items()}
    assert drops == {"opted_out": 1, "too_large": 1, "altered": 1}
    assert artifact.manifest.tally.counts["files_without_language"] == 1


def test_shards_are_cut_by_the_plan_and_hold_every_row(
    make_step: Callable[..., Any], document: Callable[..., Any], place: Path, tmp_path: Path
) -> None:
    for number in range(3):
        rows = [document(f"{n}.py", f"v = {number}\n" * 30, repo=f"o/r{n % 4}") for n in range(40)]
        pq.write_table(documents_table(rows), place / f"{number}.parquet")
    one, two = (
        make_step(
            "crawl",
            source="archive",
            archive={"paths": [str(place)]},
            shard_bytes=3000,
            workers=n,
            data_root=str(tmp_path / f"root{n}"),
        ).artifact
        for n in (1, 2)
    )
    assert one.manifest.to_bytes() == two.manifest.to_bytes()
    assert len(one.part("documents")) >= 9
    assert len(rows_of(one)) == 120


def test_unknown_columns_and_empty_folders_are_one_clear_line(
    make_step: Callable[..., Any], place: Path
) -> None:
    with pytest.raises(ConfigError, match="got none in"):
        crawl(make_step, place)
    pq.write_table(pa.table({"text": ["x"]}), place / "a.parquet")
    with pytest.raises(CorruptArtifactError, match="expected the columns of codekiln"):
        crawl(make_step, place)
    with pytest.raises(ConfigError, match="40 hex digits"):
        make_step("crawl", source="archive", archive={"dataset": "o/d", "dataset_revision": "main"})


@pytest.mark.slow
def test_a_data_set_is_streamed(
    make_step: Callable[..., Any],
    document: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for shard in range(2):
        rows = [document(f"{n}.py", f"x = {shard}{n}\n", repo=f"o/r{n}") for n in range(6)]
        folder = tmp_path / "hub" / "data"
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(documents_table(rows), folder / f"train-0000{shard}-of-00002.parquet")
    chosen = {"dataset": str(tmp_path / "hub"), "dataset_revision": "a" * 40}
    artifact = make_step("crawl", source="archive", archive=chosen).artifact
    assert len(rows_of(artifact)) == 12
    assert {entry.index for entry in artifact.part("documents")} == {0, 1}
    few = make_step("crawl", source="archive", archive={**chosen, "max_documents": 5}).artifact
    assert len(rows_of(few)) == 5
