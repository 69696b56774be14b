"""The model is transformers' GPT-Neo: equal logits, and a folder that both read."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor

from components.artifacts.errors import ArtifactError, ConfigError
from components.model import neo
from components.model.config import InitializationConfig, ModelConfig
from components.model.folder import export_model, read_folder
from components.model.initialization import initialize
from components.model.names import count_parameters, tensor_shapes
from components.model.neo import GptNeo, KeyValueCache

SHAPE = ModelConfig(
    vocabulary_size=97, context_length=48, num_layers=3, num_heads=2, hidden_size=32, window=8
)
TOLERANCE = 1e-5


def randomised(config: ModelConfig = SHAPE, seed: int = 3) -> GptNeo:
    """A model whose biases and norms matter, and whose attention is far from uniform."""
    model = initialize(config, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise, alpha=0.2 if "q_proj" in name or "k_proj" in name else 0.05)
    return model.eval()


def write_folder(folder: Path, model: GptNeo) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in export_model(model, bos_id=0, eos_id=0).items():
        (folder / name).write_bytes(data)
    return folder


def tokens(batch: int, length: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 97, (batch, length), generator=torch.Generator().manual_seed(seed))


def reference(folder: Path) -> transformers.PreTrainedModel:
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.mark.parametrize("length", [1, 7, 8, 9, 30, 40, 48])
def test_logits_equal_those_of_transformers_within_and_past_the_window(
    tmp_path: Path, length: int
) -> None:
    model = randomised()
    ids = tokens(2, length)
    with torch.no_grad():
        wanted = reference(write_folder(tmp_path / "model", model))(ids).logits
        assert (model(ids) - wanted).abs().max() < TOLERANCE


@pytest.mark.parametrize("window", [None, 8, 5, 1])
@pytest.mark.parametrize("tokens", [3, 16, 29])
def test_attention_by_rows_is_attention(
    monkeypatch: pytest.MonkeyPatch, window: int | None, tokens: int
) -> None:
    monkeypatch.setattr(neo, "ROWS", 8)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, tokens, 4, generator=generator) for _ in range(3))
    wanted = neo.attend(q, k, v, window)
    assert (neo._attend_rows(q, k, v, window) - wanted).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("name", "value"), [("window", 48), ("window", 9), ("layer_norm_epsilon", 1e-2)]
)
def test_the_parity_test_sees_a_wrong_window_and_a_wrong_norm(
    tmp_path: Path, name: str, value: float
) -> None:
    model = randomised()
    wrong = GptNeo(dataclasses.replace(SHAPE, **{name: value}))
    wrong.load_state_dict(model.state_dict())
    ids = tokens(2, 40)
    with torch.no_grad():
        wanted = reference(write_folder(tmp_path / "model", model))(ids).logits
        assert (wrong(ids) - wanted).abs().max() > 100 * TOLERANCE


def test_the_parity_test_sees_a_scaled_attention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = randomised()
    monkeypatch.setattr(neo, "UNSCALED", SHAPE.head_size**-0.5)
    ids = tokens(2, 40)
    with torch.no_grad():
        wanted = reference(write_folder(tmp_path / "model", model))(ids).logits
        assert (model(ids) - wanted).abs().max() > 100 * TOLERANCE


def test_transformers_generates_from_the_folder_what_the_cache_generates(tmp_path: Path) -> None:
    model = randomised()
    prompt = tokens(1, 5)
    wanted = reference(write_folder(tmp_path / "model", model)).generate(
        prompt, do_sample=False, max_new_tokens=30, eos_token_id=None
    )
    cache = KeyValueCache.allocate(SHAPE, batch=1, capacity=5)
    row = prompt
    with torch.no_grad():
        hidden = model.hidden(prompt, cache)
        cache = cache.repeat(batch=3, capacity=40)
        hidden = hidden.expand(3, -1, -1)
        for _ in range(30):
            new = model.logits(hidden[:, -1]).argmax(-1, keepdim=True)
            assert torch.equal(new, new[:1].expand(3, 1))
            row = torch.cat([row, new[:1]], 1)
            hidden = model.hidden(new, cache)
    assert torch.equal(row, wanted)


@pytest.mark.parametrize("pieces", [[1] * 40, [40], [5, 12, 1, 22], [20, 20]])
def test_reading_in_pieces_through_the_cache_changes_no_logit(pieces: list[int]) -> None:
    model = randomised()
    ids = tokens(2, 40)
    cache = KeyValueCache.allocate(SHAPE, batch=2, capacity=44)
    with torch.no_grad():
        parts = [model(part, cache) for part in ids.split(pieces, dim=1)]
        assert cache.length == 40
        assert (torch.cat(parts, 1) - model(ids)).abs().max() < TOLERANCE


def test_rows_of_a_cache_can_be_dropped_while_sampling() -> None:
    model = randomised()
    ids = tokens(3, 20)
    cache = KeyValueCache.allocate(SHAPE, batch=3, capacity=20)
    with torch.no_grad():
        model(ids[:, :12], cache)
        rest = model(ids[[0, 2], 12:], cache.select(torch.tensor([0, 2])))
        assert (rest - model(ids)[[0, 2], 12:]).abs().max() < TOLERANCE


def test_more_tokens_than_positions_are_refused() -> None:
    model = randomised()
    with pytest.raises(ValueError, match="at most 48 tokens a row, got 49"):
        model(tokens(1, 49))
    cache = KeyValueCache.allocate(SHAPE, batch=1, capacity=6)
    model(tokens(1, 6), cache)
    with pytest.raises(ValueError, match="at most 6 tokens a row, got 7"):
        model(tokens(1, 1), cache)


def test_a_folder_reads_back_to_the_same_weights_and_the_same_bytes(tmp_path: Path) -> None:
    model = randomised()
    folder = write_folder(tmp_path / "model", model)
    again = read_folder(folder)
    assert again.config == SHAPE
    assert export_model(again, bos_id=0, eos_id=0) == export_model(model, bos_id=0, eos_id=0)
    assert all(
        torch.equal(again.state_dict()[name], tensor) for name, tensor in model.state_dict().items()
    )


def test_a_folder_that_transformers_saved_is_read(tmp_path: Path) -> None:
    config = transformers.GPTNeoConfig(
        vocab_size=97,
        max_position_embeddings=48,
        hidden_size=32,
        num_layers=2,
        num_heads=2,
        window_size=8,
        attention_types=[[["global", "local"], 1]],
        bos_token_id=0,
        eos_token_id=0,
    )
    saved = transformers.GPTNeoForCausalLM(config).eval()
    saved.save_pretrained(tmp_path / "model")
    ids = tokens(2, 33)
    with torch.no_grad():
        model = read_folder(tmp_path / "model")
        assert (model(ids) - saved(ids).logits).abs().max() < TOLERANCE


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model_type", "gpt2", "expected model_type 'gpt_neo', got 'gpt2'"),
        ("activation_function", "relu", "expected activation_function 'gelu_new', got 'relu'"),
        ("intermediate_size", 100, "expected intermediate_size 128, got 100"),
        ("attention_types", [[["global"], 3]], "expected attention .*got"),
        ("num_heads", 5, "multiple of num_heads"),
        ("vocab_size", 96, "the first is transformer.wte.weight"),
        ("hidden_size", "wide", "expected hidden_size to be int, got .wide."),
    ],
)
def test_a_folder_of_another_model_is_refused_in_one_line(
    tmp_path: Path, key: str, value: object, message: str
) -> None:
    folder = write_folder(tmp_path / "model", randomised())
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ArtifactError, match=message) as caught:
        read_folder(folder)
    assert "\n" not in str(caught.value)


def test_a_damaged_or_missing_weights_file_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", randomised())
    (folder / "model.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(ArtifactError, match="expected safetensors"):
        read_folder(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"expected a file 'model.safetensors'"):
        read_folder(folder)


def test_initial_weights_are_a_function_of_seed_and_shape() -> None:
    first, again, other = initialize(SHAPE, 1), initialize(SHAPE, 1), initialize(SHAPE, 2)
    state = first.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in again.state_dict().items())
    name = "transformer.h.1.mlp.c_fc.weight"
    assert not torch.equal(state[name], other.state_dict()[name])
    deeper = initialize(dataclasses.replace(SHAPE, num_layers=4), 1)
    assert torch.equal(state[name], deeper.state_dict()[name])


def test_initialization_options_do_what_they_say() -> None:
    wide = dataclasses.replace(SHAPE, hidden_size=128)
    how = InitializationConfig(output_projections="zero", scale_queries=True)
    state = initialize(wide, 0, how).state_dict()
    attention = "transformer.h.0.attn.attention."
    assert not state[f"{attention}out_proj.weight"].any()
    assert not state["transformer.h.2.mlp.c_proj.weight"].any()
    assert state[f"{attention}k_proj.weight"].std().item() == pytest.approx(0.02, rel=0.05)
    assert state[f"{attention}q_proj.weight"].std().item() == pytest.approx(0.02 / 8, rel=0.05)
    scaled = initialize(wide, 0, InitializationConfig(output_projections="scaled")).state_dict()
    wanted = 0.02 / 6**0.5
    assert scaled[f"{attention}out_proj.weight"].std().item() == pytest.approx(wanted, rel=0.05)
    assert torch.equal(state["transformer.ln_f.weight"], torch.ones(128))


def test_names_and_sizes_are_those_of_the_published_models() -> None:
    gpt_neo_125m = ModelConfig(vocabulary_size=50_257, context_length=2048)
    pycodegpt = ModelConfig(vocabulary_size=32_000, context_length=1024)
    assert count_parameters(gpt_neo_125m) == 125_198_592
    assert count_parameters(pycodegpt) == 110_390_784
    assert len(tensor_shapes(gpt_neo_125m)) == 160
    with torch.device("meta"):
        built = GptNeo(gpt_neo_125m)
    shapes = {name: tuple(tensor.shape) for name, tensor in built.state_dict().items()}
    assert shapes == tensor_shapes(gpt_neo_125m)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of num_heads, got 768 and 7"):
        ModelConfig(num_heads=7)


def test_the_config_and_the_names_import_without_torch() -> None:
    program = (
        "import sys, components.model.config, components.model.names; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
