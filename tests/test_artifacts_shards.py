import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.artifacts import documents as documents_module
from components.artifacts.artifact import Artifact, ArtifactWriter
from components.artifacts.canonical import canonical_json, digest_of, key_of
from components.artifacts.documents import (
    canonical_lines,
    digest_documents,
    documents_table,
    draft_documents,
    read_documents,
    read_row_groups,
    read_rows,
)
from components.artifacts.errors import (
    CorruptArtifactError,
    MissingArtifactError,
    WrongKindError,
)
from components.artifacts.manifest import Manifest, digest_of_files
from components.artifacts.rows import draft_rows
from components.artifacts.storage import open_storage
from components.artifacts.tally import Tally
from components.artifacts.tokens import draft_tokens, read_tokens


def damage(artifact, change):
    entry = artifact.part("documents")[0]
    path = artifact.storage.root / entry.name
    path.write_bytes(change(path.read_bytes()))
    return entry


@pytest.mark.parametrize("change", [lambda d: d[:-100], lambda d: d[:50] + b"?" + d[51:]])
def test_a_damaged_shard_is_named_with_its_digest(documents_of, document, change):
    artifact = documents_of([document("a.py", "x = 1\n" * 100)])
    entry = damage(artifact, change)
    with pytest.raises(CorruptArtifactError) as error:
        read_documents(artifact, entry)
    assert entry.name in str(error.value)
    assert entry.sha256[:16] in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_without_a_manifest_is_no_artifact(tmp_path):
    writer = ArtifactWriter(open_storage(str(tmp_path / "half")))
    writer.commit(0, [draft_rows("samples", [{"a": 1}])], Tally())
    with pytest.raises(MissingArtifactError, match="run the step that makes it"):
        Artifact.open(writer.storage.uri)


def test_a_manifest_of_another_kind_is_refused(documents_of):
    artifact = documents_of([])
    with pytest.raises(WrongKindError, match="expected an artifact of kind 'tokens', got 'doc"):
        Artifact.open(artifact.storage.uri, kind="tokens")


def test_a_manifest_of_another_schema_is_refused(documents_of):
    artifact = documents_of([])
    path = artifact.storage.root / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    with pytest.raises(WrongKindError, match="schema 1, got 99"):
        Artifact.open(artifact.storage.uri)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": 1}'])
def test_a_broken_manifest_is_one_line(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(CorruptArtifactError) as error:
        Artifact.open(str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_manifest_survives_a_round_trip(documents_of, document):
    manifest = documents_of([document("a.py", "x = 1\n")]).manifest
    assert Manifest.from_bytes(manifest.to_bytes(), "here") == manifest


def test_a_manifest_holds_no_nan(documents_of):
    manifest = dataclasses.replace(documents_of([]).manifest, measures={"loss": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        manifest.to_bytes()


def test_the_digest_is_of_the_rows_and_not_of_the_file(document, tmp_path):
    table = documents_table([document("a.py", "x = 1\n" * 999)])
    draft = draft_documents(table)
    pq.write_table(table, tmp_path / "other.parquet", compression="none")
    assert (tmp_path / "other.parquet").read_bytes() != draft.data
    assert digest_documents(pq.read_table(tmp_path / "other.parquet")) == draft.digest


@pytest.mark.parametrize("field", ["path", "repo", "license", "content"])
def test_every_column_counts_in_the_digest(document, field):
    row = document("a.py", "x = 1\n")
    other = document("a.py", "y = 2\n") if field == "content" else {**row, field: "another"}
    one, two = (draft_documents(documents_table([r])).digest for r in (row, other))
    assert one != two


def test_order_of_rows_and_shards_counts_in_the_digest(documents_of, document):
    a, b = document("a.py", "x = 1\n"), document("b.py", "y = 1\n")
    digests = {documents_of(*shards).manifest.digest for shards in ([[a, b]], [[b, a]], [[a], [b]])}
    assert len(digests) == 3


def test_undigested_parts_do_not_change_the_digest(documents_of, document):
    files = documents_of([document("a.py", "x = 1\n")]).manifest.files
    page = dataclasses.replace(files[0], part="report", digest="0" * 64)
    assert digest_of_files(files, frozenset()) == digest_of_files((*files, page), {"report"})


def test_a_place_is_not_overwritten_by_other_rows(tmp_path):
    writer = ArtifactWriter(open_storage(str(tmp_path)))
    writer.commit(0, [draft_rows("samples", [{"a": 1}])], Tally())
    writer.commit(0, [draft_rows("samples", [{"a": 1}])], Tally())
    with pytest.raises(CorruptArtifactError, match="not deterministic"):
        writer.commit(0, [draft_rows("samples", [{"a": 2}])], Tally())


def test_keys_depend_on_each_of_their_parts():
    base = ("dedup", 1, {"threshold": 0.7}, {"documents": "d"})
    others = [
        ("clean", 1, {"threshold": 0.7}, {"documents": "d"}),
        ("dedup", 2, {"threshold": 0.7}, {"documents": "d"}),
        ("dedup", 1, {"threshold": 0.8}, {"documents": "d"}),
        ("dedup", 1, {"threshold": 0.7}, {"documents": "e"}),
    ]
    assert len({key_of(*parts) for parts in [base, *others]}) == 5


def test_canonical_json_has_one_spelling():
    assert canonical_json({"b": 1, "a": "\u00e9"}) == '{"a":"\\u00e9","b":1}'
    assert digest_of({"b": 1, "a": 2}) == digest_of({"a": 2, "b": 1})


def test_a_tally_that_lost_a_document_is_caught():
    tally = Tally()
    tally.take_in(10)
    with pytest.raises(AssertionError, match="lost"):
        tally.balance()
    tally.drop("too_large", 10)
    tally.balance()


def test_tallies_add_up():
    parts = []
    for size in (1, 2):
        tally = Tally()
        tally.take_in(size)
        tally.keep(size, "MIT", "Python")
        parts.append(tally)
    whole = Tally.total(parts)
    assert whole.licenses == {"MIT": (2, 3)}
    assert whole.counts == {"files_in": 2, "bytes_in": 3, "files": 2, "bytes": 3}
    assert Tally.from_json(whole.to_json()) == whole


def tokens_artifact(tmp_path, documents_of, ids, offsets, sources):
    base = documents_of([]).manifest
    writer = ArtifactWriter(open_storage(str(tmp_path / "tokens")))
    index = {"eos_id": 0, "tokenizer_digest": "t", "vocabulary_size": 100}
    writer.commit(0, draft_tokens("training", ids, offsets, sources, index), Tally())
    committed = writer.committed(0)
    assert committed is not None
    manifest = dataclasses.replace(base, kind="tokens", files=tuple(committed[0]))
    writer.storage.create("manifest.json", manifest.to_bytes())
    return Artifact.open(writer.storage.uri)


def test_token_shards_trace_back_to_their_documents(tmp_path, documents_of, document):
    ids = np.array([5, 6, 0, 7, 0], dtype=np.uint16)
    sources = [document("a.py", "ab"), document("b.py", "c", license="BSD-3-Clause")]
    artifact = tokens_artifact(tmp_path, documents_of, ids, [0, 3, 5], sources)
    (shard,) = read_tokens(artifact, "training")
    assert shard.ids[shard.offsets[1] : shard.offsets[2]].tolist() == [7, 0]
    assert shard.sources.to_pylist()[1]["license"] == "BSD-3-Clause"
    assert read_tokens(artifact, "validation") == []


@given(
    st.lists(
        st.tuples(
            st.none() | st.text(st.characters(exclude_categories=["Cs"])),
            st.none() | st.integers(-(2**63), 2**63 - 1),
            st.none() | st.lists(st.none() | st.sampled_from(["a", '"%s', "\\\u2028"])),
        )
    )
)
def test_rows_spelled_by_column_are_the_canonical_rows(values):
    rows = [dict(zip(("repo", "stars", "flags"), row, strict=True)) for row in values]
    table = documents_table(rows)
    wanted = [canonical_json(row) for row in table.drop_columns(["content"]).to_pylist()]
    assert canonical_lines(table) == "".join(f"{line}\n" for line in wanted)


def test_rows_and_row_groups_are_those_of_the_whole_shard(
    document, documents_of, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(documents_module, "ROW_GROUP_ROWS", 4)
    artifact = documents_of([document(f"{n:02}.py", f"x = {n}\n") for n in range(11)])
    (entry,) = artifact.part("documents")
    whole = read_documents(artifact, entry)
    groups = list(read_row_groups(artifact, entry))
    assert [len(group) for group in groups] == [4, 4, 3]
    assert pa.concat_tables(groups).equals(whole)
    rows = read_rows(artifact, entry, [0, 5, 6, 10], ["path", "stars"])
    assert rows.equals(whole.select(["path", "stars"]).take([0, 5, 6, 10]))
    assert len(read_rows(artifact, entry, [])) == 0
    damage(artifact, lambda data: data[:-9])
    with pytest.raises(CorruptArtifactError):
        list(read_row_groups(artifact, entry))
