"""Losses, gradients, optimizers and schedules are those of their definitions."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from components.artifacts.errors import ConfigError
from components.model.config import ModelConfig
from components.model.initialization import initialize
from components.model.names import is_block_matrix, is_decayed
from components.model.neo import GptNeo
from components.training import loss
from components.training.config import ScheduleConfig, TrainingConfig
from components.training.determinism import deterministic
from components.training.loss import next_token_loss, next_token_nats
from components.training.muon import orthogonalize
from components.training.optimizer import Optimizer
from components.training.schedule import learning_rate_factor

SHAPE = ModelConfig(
    vocabulary_size=40, context_length=16, num_layers=2, num_heads=2, hidden_size=32, window=8
)
GPT_CC = ScheduleConfig(kind="cosine", warmup_steps=2500, decay_steps=25_000, floor_share=0.1)


def problem(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(3, 11, 8, generator=generator).requires_grad_()
    weight = torch.randn(23, 8, generator=generator).requires_grad_()
    return hidden, weight, torch.randint(0, 23, (3, 11), generator=generator)


@pytest.mark.parametrize("elements", [1, 23 * 17, 2**20])
def test_the_chunked_loss_and_its_gradients_are_those_of_cross_entropy(
    monkeypatch: pytest.MonkeyPatch, elements: int
) -> None:
    monkeypatch.setitem(loss.CHUNK_ELEMENTS, "cpu", elements)
    monkeypatch.setattr(loss, "LEAST_ROWS", 5)
    hidden, weight, targets = problem()
    wanted = F.cross_entropy((hidden @ weight.T).flatten(0, 1), targets.flatten())
    got = next_token_loss(hidden, weight, targets, torch.float32)
    assert got.item() == pytest.approx(wanted.item(), abs=1e-6)
    for mine, theirs in zip(
        torch.autograd.grad(got * 3, (hidden, weight)),
        torch.autograd.grad(wanted * 3, (hidden, weight)),
        strict=True,
    ):
        assert (mine - theirs).abs().max() < 1e-6
    with torch.no_grad():
        nats = next_token_nats(hidden.flatten(0, 1), weight, targets.flatten())
    assert nats.mean().item() == pytest.approx(wanted.item(), abs=1e-6)


def test_the_loss_in_bfloat16_is_near_and_keeps_float32_gradients_of_the_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loss, "CHUNK_ELEMENTS", {"cpu": 1})
    monkeypatch.setattr(loss, "LEAST_ROWS", 16)
    hidden, weight, targets = problem()
    exact = next_token_loss(hidden, weight, targets, torch.float32)
    rough = next_token_loss(hidden, weight, targets, torch.bfloat16)
    assert abs(exact.item() - rough.item()) < 2e-2
    (exact_gradient,) = torch.autograd.grad(exact, weight)
    (gradient,) = torch.autograd.grad(rough, weight)
    assert gradient.dtype == torch.float32
    assert (gradient - exact_gradient).abs().max() < 2e-2 * exact_gradient.abs().max()
    assert (gradient != gradient.bfloat16()).any(), "a sum over chunks, never rounded"


def test_a_hopeless_prediction_has_a_finite_loss_and_a_broken_one_has_not() -> None:
    hidden = torch.tensor([[1000.0]])
    weight = torch.tensor([[1.0], [-1.0]])
    assert 80 < next_token_loss(hidden, weight, torch.tensor([1]), torch.float32).item() < 90
    broken = next_token_loss(hidden * torch.nan, weight, torch.tensor([1]), torch.float32)
    assert broken.isnan()


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 24, 96)])
def test_orthogonalized_matrices_have_singular_values_near_one(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 1e-3
    result = orthogonalize(matrices)
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    values = torch.linalg.svdvals(result)
    assert values.max() < 1.25
    assert values.sort().values[:, 1:].min() > 0.7
    exact = u @ v
    assert F.cosine_similarity(result.flatten(), exact.flatten(), dim=0) > 0.98


def gradients(model: GptNeo) -> None:
    generator = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_weight_decay_shrinks_matrices_and_never_biases_or_norms(optimizer: str) -> None:
    """What decay takes in one step is rate * decay * weight, and from matrices alone."""
    models = []
    for decay in (0.0, 0.5):
        config = TrainingConfig(
            optimizer=optimizer,  # type: ignore[arg-type]
            weight_decay=decay,
            muon_weight_decay=decay,
            learning_rate=0.01,
            muon_learning_rate=0.03,
        )
        model = initialize(SHAPE, 0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1.0)
        start = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
        gradients(model)
        Optimizer(dict(model.named_parameters()), config).step(0.5)
        assert all(parameter.grad is None for parameter in model.parameters())
        models.append(dict(model.named_parameters()))
    for name, weight in start.items():
        rate = 0.03 if optimizer == "muon" and is_block_matrix(name) else 0.01
        wanted = weight * 0.5 * rate * 0.5 if is_decayed(name) else torch.zeros_like(weight)
        assert (models[0][name] - models[1][name] - wanted).abs().max() < 1e-6, name
        assert is_decayed(name) == (weight.dim() == 2), name


def test_the_gradient_is_clipped_by_its_norm_over_all_tensors() -> None:
    config = TrainingConfig(optimizer="adamw", learning_rate=1.0, epsilon=1.0, weight_decay=0.0)
    moved = []
    for clip in (0.0, 1e-3):
        model = initialize(SHAPE, 0)
        before = model.output_weight.detach().clone()
        gradients(model)
        Optimizer(
            dict(model.named_parameters()), dataclasses.replace(config, gradient_clip=clip)
        ).step(1.0)
        moved.append((model.output_weight - before).abs().max().item())
    assert moved[0] > 0.1
    assert moved[1] < 1e-3


def test_warm_up_hold_and_decay_fill_the_run() -> None:
    schedule = ScheduleConfig(kind="wsd", warmup_share=0.1, hold_share=0.5, floor_share=0.0)
    factors = [learning_rate_factor(schedule, step, 100) for step in range(100)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10:51] == [1.0] * 41
    assert factors[75] == pytest.approx(0.5)
    assert factors[99] == pytest.approx(0.02)
    floor = dataclasses.replace(schedule, floor_share=0.4)
    assert learning_rate_factor(floor, 75, 100) == pytest.approx(0.7)


def test_gpt_ccs_schedule_runs_72500_steps_at_its_floor() -> None:
    """Defects R1 and R5: the decay has its own length, and after it the rate stays at the floor."""
    factors = [learning_rate_factor(GPT_CC, step, 100_000) for step in range(0, 100_000, 100)]
    assert max(factors) == 1.0
    assert learning_rate_factor(GPT_CC, 2500, 100_000) == 1.0
    assert learning_rate_factor(GPT_CC, 15_000, 100_000) == pytest.approx(0.55)
    assert sum(factor <= 0.1 + 1e-12 for factor in factors[20:]) == 725


def test_a_cosine_without_a_length_of_its_own_ends_with_the_run() -> None:
    """Defect R1: a missing `decay_steps` must not divide by nothing."""
    schedule = ScheduleConfig(kind="cosine", warmup_steps=10, floor_share=0.1)
    assert learning_rate_factor(schedule, 55, 100) == pytest.approx(0.55)
    assert learning_rate_factor(schedule, 100, 100) == pytest.approx(0.1)


def test_a_schedule_of_one_step_learns() -> None:
    for kind in ("wsd", "cosine"):
        schedule = ScheduleConfig(kind=kind)  # type: ignore[arg-type]
        assert learning_rate_factor(schedule, 0, 1) == 1.0


def test_a_momentum_that_never_learns_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"below 1, got 0\.9, 1\.0 and 0\.95"):
        TrainingConfig(beta2=1.0)


@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of its own parts
def test_a_compiled_model_and_flex_attention_compute_the_same() -> None:
    """What a GPU runs: the graph that the compiler traces, with the kernel of local layers."""
    from components.model import flex

    model = initialize(SHAPE, 0)
    ids = torch.randint(0, 40, (2, 16), generator=torch.Generator().manual_seed(0))
    wanted = model(ids)
    gradient = torch.autograd.grad(wanted.square().mean(), model.output_weight)[0]
    model.use_flex(16, torch.device("cpu"))
    local = model.transformer.h[1].attn.attention  # type: ignore[union-attr]
    assert local.flex_mask is flex.window_mask(16, 8, torch.device("cpu"))
    assert model.transformer.h[0].attn.attention.flex_mask is None  # type: ignore[union-attr]
    with torch.no_grad():  # the kernel has no backward pass on a processor
        assert (model(ids) - wanted).abs().max() < 1e-5
        assert (model(ids[:, :9]) - wanted[:, :9]).abs().max() < 1e-5, "another length and mask"
    local.flex_mask = None
    model.transformer.compile(backend="aot_eager", dynamic=False)
    compiled = model(ids)
    assert (compiled - wanted).abs().max() < 1e-5
    again = torch.autograd.grad(compiled.square().mean(), model.output_weight)[0]
    assert (again - gradient).abs().max() < 1e-5


def test_the_deterministic_mode_ends_with_the_run() -> None:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with deterministic(1):
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
