"""The tokenizer's files load with `transformers.AutoTokenizer` and give the same ids."""

import json
import shutil
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from components.model.text import END_OF_TEXT, TextCodec

transformers = pytest.importorskip("transformers")

TEXTS = (
    "",
    "def f(x):\n    if x:\n        return [1, 2345]  # two\n\n\n",
    "\tcaf\u00e9 \u4e2d\u6587 \U0001f600 don 't . , !  \r\n",
    f"stop = '{END_OF_TEXT}'\n",
)


@pytest.fixture
def folder(make_step: Any, documents_of: Any, document: Any, tmp_path: Path) -> Path:
    """The tokenizer's folder, beside the config of a GPT-Neo as in a model folder."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    rows = [
        document(path.name, path.read_text(encoding="utf-8"))
        for path in sorted((stdlib / "json").glob("*.py"))
    ]
    outcome = make_step(
        "tokenizer", {"documents": documents_of(rows)}, vocabulary_size=600, context_length=512
    )
    copy = tmp_path / "folder"
    shutil.copytree(Path(outcome.artifact.storage.uri) / "tokenizer", copy)
    return copy


@pytest.mark.parametrize("beside_a_model", [False, True])
def test_auto_tokenizer_gives_our_ids(folder: Path, beside_a_model: bool) -> None:
    if beside_a_model:
        (folder / "config.json").write_text(json.dumps({"model_type": "gpt_neo"}))
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    codec = TextCodec.from_bytes((folder / "tokenizer.json").read_bytes())
    assert loaded.is_fast
    assert loaded.model_max_length == 512
    assert loaded.eos_token_id == loaded.bos_token_id == loaded.pad_token_id == codec.eos_id
    assert len(loaded) == codec.vocabulary_size
    for text in TEXTS:
        ids = loaded(text)["input_ids"]
        assert ids == codec.encode(text)
        assert loaded.decode(ids) == text
        assert loaded.decode(ids, skip_special_tokens=True) == text


def test_a_caller_may_write_special_tokens_by_name(folder: Path) -> None:
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    assert loaded.eos_token_id not in loaded(END_OF_TEXT)["input_ids"]
    by_name = loaded(END_OF_TEXT, split_special_tokens=False)["input_ids"]
    assert by_name == [loaded.eos_token_id]
    assert loaded.eos_token_id not in loaded(END_OF_TEXT)["input_ids"]
