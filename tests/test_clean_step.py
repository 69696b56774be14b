"""The clean step: every document kept or counted, provenance kept, the same bytes whoever works."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.artifacts.artifact import Artifact
from components.artifacts.documents import git_blob_sha1, read_documents
from components.artifacts.errors import ConfigError

NOTICE = "# Copyright 2020 Somebody\n"
CODE = "import os\n\n\ndef size(path):\n    return os.stat(path).st_size\n"


def rows_of(artifact: Artifact) -> list[list[dict[str, Any]]]:
    return [read_documents(artifact, one).to_pylist() for one in artifact.part("documents")]


@pytest.fixture
def mixed(document: Callable[..., Any], documents_of: Callable[..., Artifact]) -> Artifact:
    """Three shards of documents that meet many fates."""
    first = [
        document("a/keep.py", CODE, repo="one"),
        document("a/notice.py", NOTICE + CODE, repo="one", flags=["seen"]),
        document("a/__init__.py", CODE, repo="one"),
        document("a/wrong.py", CODE + "def (:\n", repo="one"),
        document("a/deep.py", CODE + "x = " + "-" * 900 * 8 + "1\n", repo="one"),
    ]
    second = [
        document("b/deeper.py", CODE + "x = 0\\\n" + "+1\\\n" * 20_000 + "\n", repo="two"),
        document("b/short.py", "x = 1\n", repo="two"),
        document("b/keep.c", "int a;\nint b;\nint c;\nint d;\nint (e;\n", repo="two", language="C"),
    ]
    third = [document(f"c/{i}.py", CODE + f"x = {i}\n", repo="three") for i in range(30)]
    return documents_of(first, second, third)


def test_every_document_is_kept_or_counted_with_its_reason(
    mixed: Artifact, make_step: Callable[..., Any]
) -> None:
    artifact = make_step("clean", {"documents": mixed}).artifact
    tally = artifact.manifest.tally
    drops = {reason: files for reason, (files, _) in tally.drops.items()}
    assert drops == {
        "excluded_name": 1,
        "syntax_error": 1,
        "max_line_too_long": 1,
        "syntax_crash": 1,
        "too_few_lines": 1,
    }
    assert (tally.counts["files_in"], tally.counts["files"]) == (38, 33)
    assert tally.counts["bytes_in"] == mixed.manifest.tally.counts["bytes"]
    assert tally.counts["header_bytes_stripped"] == len(NOTICE)
    dropped = sum(size for _, size in tally.drops.values())
    assert tally.counts["bytes_in"] == tally.counts["bytes"] + dropped + len(NOTICE)


def test_shard_i_comes_out_of_shard_i_in_the_same_order(
    mixed: Artifact, make_step: Callable[..., Any]
) -> None:
    artifact = make_step("clean", {"documents": mixed}).artifact
    paths = [[row["path"] for row in shard] for shard in rows_of(artifact)]
    assert paths[:2] == [["a/keep.py", "a/notice.py"], ["b/keep.c"]]
    assert paths[2] == [f"c/{i}.py" for i in range(30)]


def test_a_kept_row_is_the_row_that_came(mixed: Artifact, make_step: Callable[..., Any]) -> None:
    came = {row["path"]: row for shard in rows_of(mixed) for row in shard}
    kept = [
        row for shard in rows_of(make_step("clean", {"documents": mixed}).artifact) for row in shard
    ]
    assert len(kept) == 33
    assert all(row == came[row["path"]] for row in kept if row["path"] != "a/notice.py")


def test_a_stripped_document_is_measured_again_and_keeps_gits_id(
    mixed: Artifact, make_step: Callable[..., Any]
) -> None:
    row = rows_of(make_step("clean", {"documents": mixed}).artifact)[0][1]
    assert row["content"] == CODE
    assert (row["size"], row["sha256"]) == (len(CODE), hashlib.sha256(CODE.encode()).hexdigest())
    assert row["blob_sha1"] == git_blob_sha1((NOTICE + CODE).encode())
    assert row["flags"] == ["seen", "header_stripped"]


def test_workers_do_not_change_a_byte(
    mixed: Artifact, make_step: Callable[..., Any], tmp_path: Path
) -> None:
    made = [
        make_step(
            "clean", {"documents": mixed}, workers=n, data_root=str(tmp_path / str(n))
        ).artifact
        for n in (1, 2)
    ]
    assert made[0].manifest.to_bytes() == made[1].manifest.to_bytes()


def test_an_empty_corpus_stays_empty(
    documents_of: Callable[..., Artifact], make_step: Callable[..., Any]
) -> None:
    for empty in (documents_of(), documents_of([])):
        artifact = make_step("clean", {"documents": empty}).artifact
        assert artifact.manifest.tally.counts.get("files", 0) == 0
        assert artifact.manifest.measures["files"] == 0
        assert rows_of(artifact) == [[] for _ in empty.part("documents")]


def test_the_summary_names_rules_with_thresholds_and_drops(
    mixed: Artifact, make_step: Callable[..., Any]
) -> None:
    summary = make_step("clean", {"documents": mixed}).artifact.storage.read("summary.md").decode()
    assert "| too_few_lines | under 5 lines | every | 1 |" in summary
    assert "| syntax_error | no Python 3.11 | Python | 1 |" in summary
    assert "Licence headers cut off: 1 documents" in summary


def test_the_parser_stands_in_the_identity_where_syntax_is_checked(
    mixed: Artifact, make_step: Callable[..., Any]
) -> None:
    checked = make_step("clean", {"documents": mixed}).artifact.manifest.config
    assert checked["observed"]["parser"].startswith("CPython 3.")
    unchecked = make_step("clean", {"documents": mixed}, syntax_version="").artifact.manifest
    assert unchecked.config["observed"] == {}
    assert "syntax_error" not in unchecked.tally.drops


def test_a_target_newer_than_the_parser_is_refused(
    mixed: Artifact, make_step: Callable[..., Any]
) -> None:
    with pytest.raises(ConfigError, match="expected syntax_version at most 3"):
        make_step("clean", {"documents": mixed}, syntax_version="3.99")
