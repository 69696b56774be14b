"""Both implementations have transformers' logits at GPT-Neo-125M's size, to 1e-5."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from components.model import neo, neo_jax
from components.model.config import ModelConfig
from components.model.exchange import spell_folder
from components.model.initialization import model_of_arrays
from components.model.neo import GptNeo
from components.model.sizes import GPT_NEO_VOCABULARY, published_size
from components.model.tensors import Tensors, initial_tensors
from components.model.tree import to_tree

SHAPE = ModelConfig.from_json(
    {**published_size("125M").to_json(), "vocabulary_size": GPT_NEO_VOCABULARY}
)
TOLERANCE = 1e-5
TOKENS = 512
"""Twice the window."""

SEEN = 128
"""The last tokens, whose logits are compared: their local layers cannot see the first."""


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    """Weights of deviation 0.02, biases and norms that matter."""
    random = np.random.default_rng(0)
    return {
        name: array + random.standard_normal(array.shape, dtype=np.float32) * np.float32(0.1)
        if array.ndim == 1
        else array
        for name, array in initial_tensors(SHAPE, 0).items()
    }


@pytest.fixture(scope="module")
def ids() -> Tensor:
    return torch.randint(
        0, GPT_NEO_VOCABULARY, (1, TOKENS), generator=torch.Generator().manual_seed(0)
    )


@pytest.fixture(scope="module")
def wanted(tensors: Tensors, ids: Tensor, tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    folder: Path = tmp_path_factory.mktemp("model")
    for name, data in spell_folder(SHAPE, tensors, bos_id=50_256, eos_id=50_256).items():
        (folder / name).write_bytes(data)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    assert model.config._attn_implementation == "eager"
    with torch.no_grad():
        logits: Tensor = model(ids).logits[:, -SEEN:]
    return logits


def logits_of(model: GptNeo, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return model.logits(model.hidden(ids)[:, -SEEN:])


def test_torch_has_the_logits_of_transformers_and_a_wrong_window_or_scale_has_not(
    tensors: Tensors, ids: Tensor, wanted: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of_arrays(SHAPE, tensors)
    assert (logits_of(model, ids) - wanted).abs().max() <= TOLERANCE
    attentions = [block.attn.attention for block in model.transformer.h]
    for attention in attentions:
        attention.window = None
    assert (logits_of(model, ids) - wanted).abs().max() > 1000 * TOLERANCE
    for attention in attentions[1::2]:
        attention.window = SHAPE.window
    monkeypatch.setattr(neo, "UNSCALED", SHAPE.head_size**-0.5)
    assert (logits_of(model, ids) - wanted).abs().max() > 1000 * TOLERANCE


def test_jax_has_the_logits_of_transformers(tensors: Tensors, ids: Tensor, wanted: Tensor) -> None:
    tree = to_tree(tensors)
    hidden = neo_jax.hidden(tree, ids.numpy(), SHAPE)[:, -SEEN:]
    logits = np.asarray(hidden @ tree["transformer.wte.weight"].T)
    assert np.abs(logits - wanted.numpy()).max() <= TOLERANCE
