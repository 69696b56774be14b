"""The clean step: every document kept or counted, provenance kept, the same bytes whoever works."""

import hashlib
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from components.artifacts.artifact import Artifact
from components.artifacts.documents import git_blob_sha1, read_documents
from components.artifacts.errors import ConfigError, CorruptArtifactError
from components.clean import cleaning
from tests.conftest import DocumentsOf, MakeStep

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
        document("a/long.py", CODE + "x = " + "-" * 900 * 8 + "1\n", repo="one"),
    ]
    second = [
        document("b/deeper.py", CODE + "x = 0\\\n" + "+1\\\n" * 100_000 + "\n", repo="two"),
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
    assert checked["observed"]["parser"].startswith("ruff 0.")
    assert checked["observed"]["unicode"] == unicodedata.unidata_version
    unchecked = make_step(
        "clean", {"documents": mixed}, syntax_version="", min_alphanumeric_share=0
    ).artifact.manifest
    assert unchecked.config["observed"] == {}
    assert "syntax_error" not in unchecked.tally.drops


def test_a_target_newer_than_the_parser_is_refused(
    mixed: Artifact, make_step: Callable[..., Any]
) -> None:
    with pytest.raises(ConfigError, match="expected a syntax_version that ruff"):
        make_step("clean", {"documents": mixed}, syntax_version="3.99")


ADDRESS = "jane.doe" + "@" + "mail.org"


def test_a_redacted_document_is_measured_again_flagged_and_counted(
    document: Callable[..., Any],
    documents_of: Callable[..., Artifact],
    make_step: Callable[..., Any],
) -> None:
    content = CODE + f"AUTHOR = '{ADDRESS}'\n"
    documents = documents_of([document("a.py", NOTICE + content), document("b.py", CODE)])
    artifact = make_step("clean", {"documents": documents}).artifact
    row, other = rows_of(artifact)[0]
    cleaned = content.replace(ADDRESS, "<EMAIL>")
    assert row["content"] == cleaned
    assert (row["size"], row["flags"]) == (len(cleaned), ["header_stripped", "redacted"])
    assert row["sha256"] == hashlib.sha256(cleaned.encode()).hexdigest()
    assert row["blob_sha1"] == git_blob_sha1((NOTICE + content).encode())
    assert other["flags"] == []
    counts = artifact.manifest.tally.counts
    assert (counts["files_redacted"], counts["redacted/email"]) == (1, 1)
    assert counts["redaction_bytes_removed"] == len(ADDRESS) - len("<EMAIL>")
    removed = counts["redaction_bytes_removed"] + counts["header_bytes_stripped"]
    assert counts["bytes_in"] == counts["bytes"] + removed
    assert "| email | 1 |" in artifact.storage.read("summary.md").decode()
    off = make_step("clean", {"documents": documents}, redact=False).artifact
    assert rows_of(off)[0][0]["content"] == content


def test_a_document_that_redaction_breaks_is_dropped_with_a_reason_of_its_own(
    document: Callable[..., Any],
    documents_of: Callable[..., Artifact],
    make_step: Callable[..., Any],
) -> None:
    product = CODE + "y = left" + "@" + "right.co\n"  # a product of matrices that looks like mail
    broken = CODE + f"# {ADDRESS}\ndef (:\n"
    documents = documents_of([document("a.py", product), document("b.py", broken)])
    tally = make_step("clean", {"documents": documents}).artifact.manifest.tally
    assert {reason: files for reason, (files, _) in tally.drops.items()} == {
        "redaction_breaks_syntax": 1,
        "syntax_error": 1,
    }


def test_a_file_that_states_its_licence_is_judged_by_it(
    document: Callable[..., Any],
    documents_of: Callable[..., Artifact],
    make_step: Callable[..., Any],
) -> None:
    tag = "# SPDX-License-" + "Identifier: "
    rows = [
        document("a.py", f"{tag}GPL-3.0-only\n" + CODE, license="MIT"),
        document("b.py", f"{tag}ISC\n" + CODE, license="unknown"),
        document("c.py", CODE, license="unknown"),
        document("d.py", CODE, license="MIT"),
    ]
    artifact = make_step("clean", {"documents": documents_of(rows)}).artifact
    kept = [(row["path"], row["license"], row["license_source"]) for row in rows_of(artifact)[0]]
    assert kept == [("b.py", "ISC", "SPDX-License-Identifier"), ("d.py", "MIT", "test")]
    tally = artifact.manifest.tally
    assert tally.drops == {"license_not_allowed": (2, rows[0]["size"] + rows[2]["size"])}
    assert {name: files for name, (files, _) in tally.licenses.items()} == {"ISC": 1, "MIT": 1}
    assert tally.counts["licenses_read_in_files"] == 1
    every = make_step("clean", {"documents": documents_of(rows)}, licenses=[], file_licenses=False)
    assert every.artifact.manifest.tally.counts["files"] == 4


def test_drops_are_counted_by_language(mixed: Artifact, make_step: Callable[..., Any]) -> None:
    artifact = make_step("clean", {"documents": mixed}, languages=["Python"]).artifact
    counts = artifact.manifest.tally.counts
    assert counts["dropped/C/language_not_wanted"] == 1
    assert counts["dropped/Python/syntax_error"] == 1
    dropped = sum(number for name, number in counts.items() if name.startswith("dropped/"))
    assert dropped == counts["files_in"] - counts["files"]
    sizes = sum(number for name, number in counts.items() if name.startswith("dropped_bytes/"))
    assert sizes == sum(size for _, size in artifact.manifest.tally.drops.values())
    summary = artifact.storage.read("summary.md").decode()
    assert "| C | 1 | 1 | 0 | 0.00 | language_not_wanted 1 |" in summary


def test_shards_cut_otherwise_keep_the_same_rows(
    mixed: Artifact, documents_of: Callable[..., Artifact], make_step: Callable[..., Any]
) -> None:
    rows = [row for shard in rows_of(mixed) for row in shard]
    cut = documents_of(*[rows[start : start + 5] for start in range(0, len(rows), 5)])
    kept = [
        [row for shard in rows_of(make_step("clean", {"documents": one}).artifact) for row in shard]
        for one in (mixed, cut)
    ]
    assert kept[0] == kept[1]


@pytest.mark.slow
def test_hostile_documents_are_counted_and_harm_no_neighbour(
    document: Callable[..., Any],
    documents_of: Callable[..., Artifact],
    make_step: Callable[..., Any],
) -> None:
    rows = [
        document("a.py", CODE),
        document("line.py", CODE + "x = '" + "y" * 100_000_000 + "'\n"),
        document("nest.py", CODE + "x = " + "[" * 200_000 + "]" * 200_000 + "\n"),
        document("nul.py", CODE + "x = '\0'\n"),
        document("z.py", CODE),
    ]
    documents = documents_of(rows)
    tally = make_step("clean", {"documents": documents}).artifact.manifest.tally
    assert {reason: files for reason, (files, _) in tally.drops.items()} == {
        "too_large": 1,
        "max_line_too_long": 1,
        "syntax_error": 1,
    }
    off = {"max_bytes": 0, "max_line_length": 0, "max_mean_line_length": 0}
    artifact = make_step("clean", {"documents": documents}, **off).artifact
    assert [row["path"] for row in rows_of(artifact)[0]] == ["a.py", "line.py", "z.py"]
    assert {name: files for name, (files, _) in artifact.manifest.tally.drops.items()} == {
        "syntax_crash": 1,
        "syntax_error": 1,
    }


def test_a_corrupt_shard_is_one_clear_error(mixed: Artifact, make_step: Callable[..., Any]) -> None:
    entry = mixed.part("documents")[0]
    path = mixed.storage.local_path(entry.name)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CorruptArtifactError, match="remove that artifact's folder"):
        make_step("clean", {"documents": mixed})


def test_content_that_is_no_utf8_is_one_clear_error(
    document: Callable[..., Any],
    documents_of: Callable[..., Artifact],
    make_step: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    documents = documents_of([document("a.py", CODE)])
    table = read_documents(documents, documents.part("documents")[0])
    broken = pa.array([b"x = '\xff'\n"], pa.binary()).view(pa.string())
    place = table.schema.get_field_index("content")
    monkeypatch.setattr(
        cleaning, "read_documents", lambda *_: table.set_column(place, "content", broken)
    )
    with pytest.raises(CorruptArtifactError, match="expected content as valid UTF-8"):
        make_step("clean", {"documents": documents})


def test_languages_of_which_the_documents_have_none_are_refused_with_the_nearest(
    document: Callable[..., dict[str, Any]], documents_of: DocumentsOf, make_step: MakeStep
) -> None:
    documents = documents_of([document("a.py", "x = 1\n")])
    with pytest.raises(ConfigError, match=r"unknown language 'Pyton' .*did you mean 'Python'"):
        make_step("clean", {"documents": documents}, languages=["Pyton"])
    make_step("clean", {"documents": documents}, languages=["Python", "Go"])
