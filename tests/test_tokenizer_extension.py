"""GPT-Code-Clippy's tokens of blanks, without the defects of its own script."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from components.artifacts.errors import ArtifactError, CodekilnError, ConfigError
from components.model.text import END_OF_TEXT, TextCodec
from components.tokenizer.config import TokenizerConfig
from components.tokenizer.extension import BLANKS, extend
from components.tokenizer.observation import observe

GPT2_SIZE = 50_257


def _base(size: int = GPT2_SIZE) -> Tokenizer:
    """A vocabulary of GPT-2's size, pattern and ids: 256 bytes, fillers, `<|endoftext|>` last."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    fillers = [f"filler{number}" for number in range(size - 1 - len(alphabet))]
    vocabulary = {token: number for number, token in enumerate([*alphabet, *fillers])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
    return tokenizer


BASE = _base().to_str().encode()
TOKENIZER, EXTENSION = extend(BASE, "base")
CODEC = TextCodec.from_bytes(TOKENIZER.to_str().encode())
INDENTED = "def f(x):\n    if x:\n        return 1\n\t\tpass  # end\n"


def test_new_ids_follow_the_base_and_leave_end_of_text_alone() -> None:
    assert [CODEC.tokenizer.token_to_id(blanks) for blanks in BLANKS] == [*range(50_257, 50_261)]
    assert EXTENSION.new_token_ids == (50_257, 50_258, 50_259, 50_260)
    assert EXTENSION.base_vocabulary_size == GPT2_SIZE
    assert CODEC.eos_id == 50_256
    assert CODEC.eos_id not in EXTENSION.new_token_ids
    assert CODEC.vocabulary_size == 50_261


def test_the_new_rows_begin_as_the_tab() -> None:
    assert EXTENSION.copy_from_id is not None
    assert CODEC.decode([EXTENSION.copy_from_id]) == "\t"


def test_blanks_survive_a_decoder_that_skips_special_tokens() -> None:
    """Defect T2: GPT-CC registered its blanks as special tokens."""
    ids = CODEC.encode(INDENTED)
    assert set(EXTENSION.new_token_ids) <= set(ids)
    assert CODEC.tokenizer.decode(ids, skip_special_tokens=True) == INDENTED
    assert CODEC.tokenizer.decode(ids, skip_special_tokens=False) == INDENTED


def test_the_longest_run_of_blanks_is_taken_first() -> None:
    eight, four = EXTENSION.new_token_ids[3], EXTENSION.new_token_ids[2]
    assert CODEC.encode(" " * 12) == [eight, four]


@given(st.one_of(st.text(), st.text(alphabet=" \t\nx<|>endoftext")))
def test_any_text_comes_back(text: str) -> None:
    ids = CODEC.encode(text)
    assert CODEC.decode(ids) == text
    assert CODEC.eos_id not in ids


def test_the_step_writes_what_training_needs(
    make_step: Any, documents_of: Any, document: Any, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.json").write_bytes(BASE)
    documents = documents_of([document("a.py", INDENTED)])
    outcome = make_step("tokenizer", {"documents": documents}, method="extend", base=str(tmp_path))
    files = {f.name: f for f in outcome.artifact.part("tokenizer")}
    extension = json.loads(outcome.artifact.read(files["tokenizer/extension.json"]))
    assert extension["new_token_ids"] == [50_257, 50_258, 50_259, 50_260]
    assert extension["base_vocabulary_size"] == GPT2_SIZE
    codec = TextCodec.from_artifact(outcome.artifact)
    assert codec.encode(INDENTED) == CODEC.encode(INDENTED)
    assert outcome.artifact.manifest.measures["vocabulary_size"] == 50_261


def test_the_bytes_of_the_base_name_the_key(
    make_step: Any, documents_of: Any, document: Any, tmp_path: Path
) -> None:
    path = tmp_path / "base.json"
    documents = documents_of([document("a.py", INDENTED)])
    keys = set()
    for size in (300, 301):
        path.write_text(_base(size).to_str())
        outcome = make_step("tokenizer", {"documents": documents}, method="extend", base=str(path))
        keys.add(outcome.artifact.manifest.key)
    assert len(keys) == 2
    assert observe(TokenizerConfig()) == {}


def test_a_missing_base_is_an_error_of_one_line(tmp_path: Path) -> None:
    for base in (str(tmp_path / "none.json"), str(tmp_path)):
        with pytest.raises(ConfigError, match="expected base to be a") as caught:
            observe(TokenizerConfig(method="extend", base=base))
        assert "\n" not in str(caught.value)


def test_a_hub_name_without_a_network_is_an_error_of_one_line(tmp_path: Path) -> None:
    program = (
        "from components.tokenizer.config import TokenizerConfig\n"
        "from components.tokenizer.observation import observe\n"
        "try:\n"
        "    observe(TokenizerConfig(method='extend', base='owner/name'))\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert done.stdout.count("\n") == 1
    assert "'owner/name'" in done.stdout
    assert "give the path of a local tokenizer.json" in done.stdout


def test_a_base_that_cannot_be_extended_is_refused() -> None:
    no_end = json.loads(BASE)
    no_end["added_tokens"] = []
    no_tab = Tokenizer(models.BPE({"a": 0}, []))
    no_tab.add_special_tokens([END_OF_TEXT])
    gap = json.loads(_base(300).to_str())
    gap["model"]["vocab"]["far"] = 400
    for data in (
        b"no json",
        b"\xff\xfe",
        json.dumps(no_end).encode(),
        no_tab.to_str().encode(),
        json.dumps(gap).encode(),
    ):
        with pytest.raises(CodekilnError) as caught:
            extend(data, "base")
        assert isinstance(caught.value, ArtifactError)
        assert "\n" not in str(caught.value)
