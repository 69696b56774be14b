"""Rows of added tokens start as copies, and no other row changes (defect T1 of GPT-CC)."""

import dataclasses
import json

import numpy as np
import pytest

from components.artifacts.errors import ArtifactError
from components.model.config import ModelConfig
from components.model.extension import Extension, grow_vocabulary
from components.model.names import TOKEN_EMBEDDING
from components.model.tensors import initial_tensors

BASE, NEW, TAB, EOS = 50, (50, 51, 52, 53), 7, 49
SHAPE = ModelConfig(
    vocabulary_size=BASE, context_length=8, num_layers=1, num_heads=2, hidden_size=8
)
EXTENSION = Extension(new_token_ids=NEW, copy_from_id=TAB, base_vocabulary_size=BASE)


@pytest.mark.parametrize("rows", [BASE, BASE + 4])
def test_every_new_row_is_the_copied_row_and_the_eos_row_is_untouched(rows: int) -> None:
    config = dataclasses.replace(SHAPE, vocabulary_size=rows)
    tensors = initial_tensors(config, seed=1)
    before = {name: array.copy() for name, array in tensors.items()}
    grown, after = grow_vocabulary(config, tensors, BASE + 4, EXTENSION)
    assert grown.vocabulary_size == BASE + 4
    assert np.array_equal(after[TOKEN_EMBEDDING][:BASE], before[TOKEN_EMBEDDING][:BASE])
    assert np.array_equal(after[TOKEN_EMBEDDING][EOS], before[TOKEN_EMBEDDING][EOS])
    for new in NEW:
        assert np.array_equal(after[TOKEN_EMBEDDING][new], before[TOKEN_EMBEDDING][TAB])
    assert all(
        np.array_equal(after[name], array)
        for name, array in before.items()
        if name != TOKEN_EMBEDDING
    )


def test_an_extension_is_read_from_the_tokenizers_file() -> None:
    value = {"new_token_ids": list(NEW), "copy_from_id": TAB, "base_vocabulary_size": BASE}
    assert Extension.from_bytes(json.dumps(value).encode(), "there") == EXTENSION


@pytest.mark.parametrize(
    "change",
    [{"copy_from_id": 50}, {"new_token_ids": [49, 50]}, {"new_token_ids": "x"}, {"extra": None}],
)
def test_an_extension_that_would_overwrite_a_row_is_refused(change: dict[str, object]) -> None:
    value: dict[str, object] = {
        "new_token_ids": list(NEW),
        "copy_from_id": TAB,
        "base_vocabulary_size": BASE,
    }
    if "extra" in change:
        del value["copy_from_id"]
    else:
        value |= change
    with pytest.raises(ArtifactError, match=r"expected .*copy_from_id.* make the tokenizer again"):
        Extension.from_bytes(json.dumps(value).encode(), "there")
