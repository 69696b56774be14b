"""The tokenizer step gives the same files whatever the workers, threads and shards."""

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.artifacts.artifact import Artifact
from components.artifacts.errors import ArtifactError, ConfigError
from components.stage.engine import LocalEngine
from components.tokenizer.config import TokenizerConfig
from components.tokenizer.sample import draw_sample, num_bytes

TRAIN = """
import sys, sysconfig
from hashlib import sha256
from pathlib import Path
from components.tokenizer.bpe import train_bpe
from components.tokenizer.config import TokenizerConfig
folder = Path(sysconfig.get_path("stdlib"))
texts = [path.read_text(encoding="utf-8") for path in sorted((folder / "email").glob("*.py"))]
texts = texts[::-1] if sys.argv[1] == "reversed" else texts
data = train_bpe(texts, TokenizerConfig(vocabulary_size=2000)).to_str().encode()
print(sha256(data).hexdigest())
"""


def _rows(document: Callable[..., dict[str, Any]]) -> list[dict[str, Any]]:
    folder = Path(sysconfig.get_path("stdlib")) / "email"
    paths = sorted(folder.glob("*.py"))
    return [document(path.name, path.read_text(encoding="utf-8")) for path in paths]


def test_threads_and_order_do_not_change_the_vocabulary() -> None:
    hashes = set()
    for threads, order in (("1", "as listed"), ("2", "as listed"), ("2", "reversed")):
        environment = {**os.environ, "RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true"}
        done = subprocess.run(
            [sys.executable, "-c", TRAIN, order],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[1],
        )
        hashes.add(done.stdout)
    assert len(hashes) == 1


def test_shards_and_workers_do_not_change_the_tokenizer(
    make_step: Any, documents_of: Any, document: Any, tmp_path: Path
) -> None:
    rows = _rows(document)
    config = {"vocabulary_size": 500, "max_training_bytes": 100_000}
    digests = set()
    for number, shards in enumerate(([rows], [rows[:3], rows[3:9], rows[9:]], [rows[::-1]])):
        outcome = make_step(
            "tokenizer",
            {"documents": documents_of(*shards)},
            workers=1 + number % 2,
            data_root=str(tmp_path / str(number)),
            **config,
        )
        digests.add(outcome.artifact.manifest.digest)
    assert len(digests) == 1


def test_the_sample_keeps_to_its_bytes_and_never_measures_what_it_learns(
    documents_of: Any, document: Any
) -> None:
    rows = _rows(document)
    total = sum(row["size"] for row in rows)
    engine = LocalEngine(workers=1, threads=1)
    for limit in (20_000, 100_000, 10 * total):
        sample = draw_sample(documents_of(rows[:5], rows[5:]), engine, 0, limit)
        assert sample.measured
        assert sample.learnt
        assert num_bytes(sample.learnt) <= limit
        assert not {text.content for text in sample.measured} & {t.content for t in sample.learnt}
    assert num_bytes(sample.learnt) + num_bytes(sample.measured) == total


def test_equal_documents_are_never_on_both_sides(documents_of: Any, document: Any) -> None:
    rows = [
        document(f"{copy}/{row['path']}", row["content"])
        for row in _rows(document)
        for copy in "ab"
    ]
    sample = draw_sample(documents_of(rows), LocalEngine(workers=1, threads=1), 0, 10**9)
    assert not {text.content for text in sample.measured} & {t.content for t in sample.learnt}


def test_another_seed_draws_another_sample(documents_of: Any, document: Any) -> None:
    documents = documents_of(_rows(document))
    engine = LocalEngine(workers=1, threads=1)
    drawn = {draw_sample(documents, engine, seed, 60_000).learnt for seed in range(3)}
    assert len(drawn) == 3


def test_one_document_measures_itself_and_the_summary_says_so(
    make_step: Any, documents_of: Any, document: Any
) -> None:
    documents = documents_of([document("a.py", "x = 1\n" * 50)])
    outcome = make_step("tokenizer", {"documents": documents}, vocabulary_size=4096)
    artifact: Artifact = outcome.artifact
    summary = artifact.storage.read("summary.md").decode()
    assert "Measured on the same documents" in summary
    assert artifact.manifest.measures["vocabulary_size"] < 4096
    assert "4,096 were asked for" in summary


def test_an_empty_corpus_is_an_error_of_one_line(make_step: Any, documents_of: Any) -> None:
    for documents in (documents_of(), documents_of([])):
        with pytest.raises(ArtifactError, match="expected documents to learn from") as caught:
            make_step("tokenizer", {"documents": documents})
        assert "\n" not in str(caught.value)


def test_measures_are_those_of_the_files(make_step: Any, documents_of: Any, document: Any) -> None:
    rows = [
        {**row, "language": "Python" if index % 2 else "C"}
        for index, row in enumerate(_rows(document) * 3)
    ]
    for index, row in enumerate(rows):
        row.update(
            document(f"{index}.py", f"# {index}\n" + row["content"], language=row["language"])
        )
    outcome = make_step("tokenizer", {"documents": documents_of(rows)}, vocabulary_size=1000)
    manifest = outcome.artifact.manifest
    assert manifest.measures["vocabulary_size"] == 1000
    assert 2 < manifest.measures["bytes_per_token"] < 4
    extension = next(f for f in manifest.files if f.name == "tokenizer/extension.json")
    assert json.loads(outcome.artifact.read(extension)) == {
        "new_token_ids": [],
        "copy_from_id": None,
        "base_vocabulary_size": 1000,
    }
    counts = manifest.tally.counts
    assert counts["documents_learnt"] + counts["documents_measured"] == len(rows)


def test_a_misfit_of_method_and_base_is_refused() -> None:
    for value in (
        {"method": "extend"},
        {"base": "gpt2"},
        {"method": "extend", "base": "gpt2", "fim_tokens": True},
    ):
        with pytest.raises(ConfigError, match="TokenizerConfig"):
            TokenizerConfig.from_json(value)
