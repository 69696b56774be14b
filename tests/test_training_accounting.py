"""FLOPs, memory, published sizes and scaled comparisons are worked out right."""

import dataclasses
import json

import pytest
import torch

from components.artifacts.errors import ConfigError
from components.model.config import ModelConfig
from components.model.initialization import initialize
from components.model.names import count_parameters
from components.model.sizes import GPT_NEO_VOCABULARY, published_size
from components.training.config import TrainingConfig
from components.training.flops import (
    flops_per_token,
    model_flops_utilisation,
    peak_flops,
    seen_keys,
)
from components.training.memory import check_memory, device_memory, smallest_mesh, state_bytes
from components.training.optimizer import Optimizer
from pipelines.comparing import format_comparison, scaled_schedule, scaled_training
from pipelines.recipes import RECIPES, find_recipe

SMALL = ModelConfig(
    vocabulary_size=40, context_length=16, num_layers=2, num_heads=2, hidden_size=32, window=8
)


def published(name: str) -> ModelConfig:
    return dataclasses.replace(published_size(name), vocabulary_size=GPT_NEO_VOCABULARY)


def test_the_published_sizes_have_their_published_parameters() -> None:
    wanted = {"125M": 125_198_592, "1.3B": 1_315_575_808, "2.7B": 2_651_307_520}
    for name, parameters in wanted.items():
        assert count_parameters(published(name)) == parameters
    with pytest.raises(ConfigError, match=r"got '6B': one of 125M, 350M, 1\.3B, 2\.7B"):
        published_size("6B")


def test_flops_are_six_a_weight_and_twelve_a_pair_that_attention_sees() -> None:
    assert seen_keys(4, 4) == 2.5
    assert seen_keys(4, 2) == (1 + 2 + 2 + 2) / 4
    weights = 2 * 12 * 32**2 + 40 * 32
    assert flops_per_token(SMALL, 16) == 6 * weights + 12 * 32 * (8.5 + seen_keys(16, 8))
    shape = ModelConfig(vocabulary_size=32_000, context_length=1024)
    assert flops_per_token(shape, 1024) == pytest.approx(698e6, rel=0.01)  # facts of 2026-11


def test_mfu_is_a_share_of_the_peak_of_all_devices_and_unknown_on_processors() -> None:
    speed = 989e12 / flops_per_token(SMALL, 16)
    for devices in (1, 8):
        name = "NVIDIA H100 80GB HBM3"
        used = model_flops_utilisation(SMALL, 16, speed, name, devices)
        assert used == pytest.approx(1 / devices)
    assert model_flops_utilisation(SMALL, 16, speed, "cpu", 1) is None
    assert peak_flops("TPU v5 lite") == 197e12
    assert peak_flops("NVIDIA L40S") == 181e12


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "adafactor"])
def test_the_state_takes_the_bytes_that_are_worked_out(optimizer: str) -> None:
    model = initialize(SMALL, 0)
    config = TrainingConfig(optimizer=optimizer)  # type: ignore[arg-type]
    held = Optimizer(dict(model.named_parameters()), config)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    held.step(1.0)
    tensors = [
        value
        for part in held.parts
        for state in part.state.values()
        for name, value in state.items()
        if isinstance(value, torch.Tensor) and name != "step"
    ]
    weights, wanted = state_bytes(SMALL, optimizer)
    assert weights == sum(tensor.nbytes for tensor in model.parameters())
    assert sum(tensor.nbytes for tensor in tensors) == wanted


H100, TPU_V4, TPU_V5E = 80 * 10**9, 32 * 10**9, 16 * 10**9
PLACED = (
    ("125M", "adamw", 1, H100, (1, 1)),
    ("350M", "adamw", 8, TPU_V5E, (8, 1)),
    ("1.3B", "adamw", 8, H100, (8, 1)),
    ("1.3B", "adamw", 16, TPU_V5E, (4, 4)),
    ("2.7B", "adamw", 8, H100, (8, 1)),
    ("2.7B", "adamw", 16, TPU_V4, (4, 4)),
    ("2.7B", "adafactor", 16, TPU_V5E, (4, 4)),
)
"""Size, optimizer, devices, memory of each, mesh: the table of the room's README."""


@pytest.mark.parametrize(("size", "optimizer", "devices", "memory", "mesh"), PLACED)
def test_the_meshes_of_the_larger_sizes_are_the_smallest_that_fit(
    size: str, optimizer: str, devices: int, memory: int, mesh: tuple[int, int]
) -> None:
    config = TrainingConfig(
        model=published_size(size),
        optimizer=optimizer,  # type: ignore[arg-type]
        batch_size=devices,
        dtype="bfloat16",
    )
    assert smallest_mesh(config, published(size), devices, memory) == mesh
    check_memory(config, published(size), devices, mesh[1], memory)


def test_too_little_memory_is_refused_before_anything_is_placed() -> None:
    config = TrainingConfig(model=published_size("2.7B"), optimizer="adamw", batch_size=4)
    held = device_memory(config, published("2.7B"), 4, 1)
    assert held.weights + held.gradients + held.optimizer == 4 * 4 * 2_651_307_520
    with pytest.raises(
        ConfigError, match=r"42 GB with CODEKILN_FSDP 1 on 4: set CODEKILN_FSDP to 2"
    ):
        check_memory(config, published("2.7B"), 4, 1, 40 * 10**9)
    with pytest.raises(ConfigError, match="take more or larger devices"):
        check_memory(config, published("2.7B"), 1, 1, 16 * 10**9)


def test_a_comparison_trains_each_recipes_way_on_one_model_and_equal_tokens() -> None:
    scale = find_recipe("tiny")
    configs = {name: scaled_training(find_recipe(name), scale, 2) for name in RECIPES}
    assert len({config.model for config in configs.values()}) == 1
    assert {config.max_steps * config.tokens_per_pass for config in configs.values()} == {
        650 * 16 * 128
    }
    assert all(config.seed == 2 for config in configs.values())
    assert configs["tiny"] == dataclasses.replace(scale.training, seed=2, validate_every_steps=0), (
        "the scale's own recipe is what it is"
    )
    published = configs["gpt_cc_125m"]
    assert (published.learning_rate, published.optimizer) == (3e-5, "adamw")
    assert published.schedule.warmup_steps == round(2500 / 100_000 * 650)
    assert published.schedule.decay_steps == round(25_000 / 100_000 * 650)
    assert configs["gpt_cc_125m_corrected"].schedule.decay_steps == 0
    assert scaled_schedule(published.schedule, 1e-9).warmup_steps == 1


def test_the_table_of_a_comparison_ends_with_json_and_the_best_comes_first() -> None:
    rows = {"slow": [2.0, 2.2], "fast": [1.0, 1.4]}
    lines = format_comparison(rows, find_recipe("tiny")).splitlines()
    assert lines[3].startswith("| fast | 1.2000 | 0.2828 | 1.0000 | 1.4000 | 2 |")
    assert lines[4].startswith("| slow | 2.1000 |")
    assert json.loads(lines[-1]) == {"bits_per_byte": rows, "tokens": 650 * 16 * 128}


def test_recipes_hold_the_published_values_and_the_corrected_one_mends_the_faults() -> None:
    """Defects R1, R2 and R5: what GPT-CC's card says, and what its size wants."""
    published = find_recipe("gpt_cc_125m").training
    assert (published.learning_rate, published.schedule.decay_steps) == (3e-5, 25_000)
    assert (published.batch_size, published.gradient_accumulation) == (64, 1)
    assert published.pretrained_folder == ""
    assert published.save_total_limit == 10
    corrected = find_recipe("gpt_cc_125m_corrected").training
    assert corrected.learning_rate == pytest.approx(20 * published.learning_rate)
    assert corrected.schedule.decay_steps == 0
    assert corrected.model == published.model
    assert corrected.max_steps == published.max_steps
    kiln = find_recipe("kiln_110m").training
    assert kiln.tokens_per_pass * kiln.gradient_accumulation == 2**19
    assert kiln.initialization.scale_queries
    pycodegpt = find_recipe("pycodegpt_110m").training
    assert pycodegpt.tokens_per_pass * pycodegpt.gradient_accumulation == 2**19
