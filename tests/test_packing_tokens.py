"""Packed tokens spell their documents, end with EOS and trace back to where they are from."""

import json
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from components.artifacts.artifact import Artifact
from components.artifacts.errors import ArtifactError, ConfigError
from components.artifacts.rows import draft_text
from components.artifacts.tokens import SOURCE_COLUMNS, SPLITS, read_tokens
from components.model.text import END_OF_TEXT, TextCodec
from components.packing import run as packing_run

HOSTILE = f"stop = '{END_OF_TEXT}'\nsplit('{END_OF_TEXT}')\n"


@pytest.fixture
def rows(document: Any) -> list[dict[str, Any]]:
    """Documents of ten repositories, sorted as in a corpus; some spell a special token."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    texts = [path.read_text(encoding="utf-8") for path in sorted((stdlib / "email").glob("*.py"))]
    made = []
    for repo in range(10):
        for path in range(4):
            text = texts[(4 * repo + path) % len(texts)][: 900 + 211 * repo]
            content = f"# {repo} {path}\n{text}" + HOSTILE * (path == 2)
            made.append(
                document(
                    f"{path}.py",
                    content,
                    repo=f"me/project{repo}",
                    license="MIT" if repo % 2 else "Apache-2.0",
                )
            )
    made.append(document("empty.py", "", repo="me/project9"))
    return made


@pytest.fixture
def tokenizer(make_step: Any, documents_of: Any, rows: Any) -> Artifact:
    artifact: Artifact = make_step(
        "tokenizer", {"documents": documents_of(rows)}, vocabulary_size=400
    ).artifact
    return artifact


def _documents(artifact: Artifact, split: str) -> dict[tuple[str, str], tuple[list[int], Any]]:
    """(repo, path) -> ids with EOS, source row."""
    found = {}
    for shard in read_tokens(artifact, split):
        for number, source in enumerate(shard.sources.to_pylist()):
            ids = shard.ids[shard.offsets[number] : shard.offsets[number + 1]].tolist()
            found[source["repo"], source["path"]] = (ids, source)
    return found


def test_each_document_comes_back_and_ends_with_eos(
    make_step: Any, documents_of: Any, rows: Any, tokenizer: Artifact
) -> None:
    """Defect T3: GPT-CC put nothing between two documents."""
    inputs = {"documents": documents_of(rows[:15], rows[15:]), "tokenizer": tokenizer}
    packed = make_step("packing", inputs, validation_fraction=0.4).artifact
    codec = TextCodec.from_artifact(tokenizer)
    found = _documents(packed, "training") | _documents(packed, "validation")
    assert len(found) == len(rows)
    for row in rows:
        ids, source = found[row["repo"], row["path"]]
        assert ids[-1] == codec.eos_id
        assert codec.eos_id not in ids[:-1]
        assert codec.decode(ids[:-1]) == row["content"]
        assert source == {name: row[name] for name in SOURCE_COLUMNS}


def test_no_repository_is_in_both_splits(
    make_step: Any, documents_of: Any, rows: Any, tokenizer: Artifact
) -> None:
    inputs = {"documents": documents_of(rows[::2], rows[1::2]), "tokenizer": tokenizer}
    packed = make_step("packing", inputs, validation_fraction=0.4).artifact
    training, validation = (
        {repo for repo, _ in _documents(packed, split)} for split in ("training", "validation")
    )
    assert len(validation) >= 3
    assert not training & validation
    assert training | validation == {row["repo"] for row in rows}


def test_shards_and_workers_do_not_change_the_splits(
    make_step: Any, documents_of: Any, rows: Any, tokenizer: Artifact, tmp_path: Path
) -> None:
    plans = ([rows], [rows[:7], rows[7:9], [], rows[9:]])
    splits = []
    for number, (plan, workers) in enumerate(((plans[0], 1), (plans[1], 1), (plans[1], 2))):
        inputs = {"documents": documents_of(*plan), "tokenizer": tokenizer}
        packed = make_step(
            "packing",
            inputs,
            workers=workers,
            data_root=str(tmp_path / str(number)),
            validation_fraction=0.4,
        ).artifact
        splits.append((packed.manifest.digest, [_documents(packed, split) for split in SPLITS]))
    assert splits[0][1] == splits[1][1] == splits[2][1]
    assert splits[1][0] == splits[2][0]


def test_the_index_and_the_counts_fit_the_tokens(
    make_step: Any, documents_of: Any, rows: Any, tokenizer: Artifact
) -> None:
    inputs = {"documents": documents_of(rows[:20], rows[20:]), "tokenizer": tokenizer}
    packed = make_step("packing", inputs, validation_fraction=0.4).artifact
    codec = TextCodec.from_artifact(tokenizer)
    counts, measures = packed.manifest.tally.counts, packed.manifest.measures
    for split in ("training", "validation"):
        shards = read_tokens(packed, split)
        assert counts[f"tokens_{split}"] == measures[f"tokens_{split}"]
        assert measures[f"tokens_{split}"] == sum(len(shard.ids) for shard in shards)
        sizes = [size for shard in shards for size in shard.sources["size"].to_pylist()]
        assert counts[f"bytes_{split}"] == sum(sizes)
        assert max(int(shard.ids.max()) for shard in shards) < codec.vocabulary_size
        for entry in packed.part(f"{split}_index"):
            index = json.loads(packed.read(entry))
            assert index["eos_id"] == codec.eos_id
            assert index["vocabulary_size"] == codec.vocabulary_size
            assert index["tokenizer_digest"] == tokenizer.manifest.digest
    assert counts["files_in"] == counts["files"] == len(rows)
    content = sum(row["size"] for row in rows)
    assert measures["bytes_per_token"] == pytest.approx(
        content / (counts["tokens_training"] + counts["tokens_validation"] - len(rows))
    )


def test_another_tokenizer_makes_other_tokens(
    make_step: Any, documents_of: Any, rows: Any, tokenizer: Artifact
) -> None:
    documents = documents_of(rows)
    other = make_step("tokenizer", {"documents": documents}, vocabulary_size=300).artifact
    packed = [
        make_step(
            "packing", {"documents": documents, "tokenizer": given}, validation_fraction=0.4
        ).artifact
        for given in (tokenizer, other)
    ]
    assert packed[0].manifest.key != packed[1].manifest.key
    assert packed[0].manifest.digest != packed[1].manifest.digest


def _normalising(artifact: Artifact, tmp_path: Path) -> Artifact:
    """The same tokenizer with a normaliser, which loses the difference of some texts."""
    codec = TextCodec.from_artifact(artifact)
    value = json.loads(codec.tokenizer.to_str())
    value["normalizer"] = {"type": "NFC"}
    entry = next(f for f in artifact.manifest.files if f.name == "tokenizer/tokenizer.json")
    draft = draft_text("tokenizer", ".json", json.dumps(value), name=entry.name)
    manifest = json.loads(artifact.storage.read("manifest.json"))
    for file in manifest["files"]:
        if file["name"] == entry.name:
            file["bytes"] = len(draft.data)
            file["sha256"] = file["digest"] = draft.digest
    (tmp_path / "lossy" / "tokenizer").mkdir(parents=True)
    (tmp_path / "lossy" / entry.name).write_bytes(draft.data)
    (tmp_path / "lossy" / "manifest.json").write_text(json.dumps(manifest))
    return Artifact.open(str(tmp_path / "lossy"))


def test_a_document_that_does_not_come_back_is_a_counted_drop(
    make_step: Any, documents_of: Any, document: Any, rows: Any, tokenizer: Artifact, tmp_path: Path
) -> None:
    decomposed = document("z.py", "cafe\u0301 = 1\n", repo="me/project3")
    lossy = _normalising(tokenizer, tmp_path)
    inputs = {"documents": documents_of([*rows, decomposed]), "tokenizer": lossy}
    packed = make_step("packing", inputs, validation_fraction=0.4).artifact
    assert packed.manifest.tally.drops == {"lossy_tokens": (1, decomposed["size"])}
    assert packed.manifest.tally.counts["files"] == len(rows)


def test_an_empty_corpus_is_an_error_of_one_line(
    make_step: Any, documents_of: Any, tokenizer: Artifact
) -> None:
    for documents in (documents_of(), documents_of([])):
        with pytest.raises(ArtifactError, match="expected documents to pack") as caught:
            make_step("packing", {"documents": documents, "tokenizer": tokenizer})
        assert "\n" not in str(caught.value)


def test_a_vocabulary_that_16_bits_cannot_hold_is_refused(
    make_step: Any,
    documents_of: Any,
    rows: Any,
    tokenizer: Artifact,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packing_run, "MAX_VOCABULARY", 399)
    with pytest.raises(ConfigError, match=r"at most 399 .* got 400") as caught:
        make_step("packing", {"documents": documents_of(rows), "tokenizer": tokenizer})
    assert "\n" not in str(caught.value)
