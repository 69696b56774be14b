"""JAX computes what torch computes: logits, losses, updates; on one device and on eight."""

import concurrent.futures
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from components.artifacts.errors import ConfigError, MissingExtraError
from components.model import neo_jax
from components.model.config import ModelConfig
from components.model.exchange import read_tensors, spell_folder
from components.model.initialization import model_of_arrays
from components.model.splash import splash_attention
from components.model.tensors import Tensors, initial_tensors
from components.model.tree import from_tree, to_tree
from tests.launched_learner import SHAPE, check_like_one, run_launched, small_learner, train

TOLERANCE = 1e-5
pytestmark = pytest.mark.usefixtures("compiled_once")


def randomised(config: ModelConfig, seed: int = 3) -> Tensors:
    """Weights whose biases and norms matter."""
    random = np.random.default_rng(seed)
    return {
        name: array + random.standard_normal(array.shape, dtype=np.float32) * np.float32(0.1)
        for name, array in initial_tensors(config, seed).items()
    }


def test_a_tree_gives_the_weights_back_bit_by_bit_and_so_does_the_folder(tmp_path: Path) -> None:
    """Hugging Face -> JAX -> Hugging Face."""
    tensors = randomised(SHAPE)
    for name, data in spell_folder(SHAPE, tensors, bos_id=0, eos_id=0).items():
        (tmp_path / name).write_bytes(data)
    config, read = read_tensors(tmp_path)
    assert config == SHAPE
    tree = jax.tree.map(jax.numpy.asarray, to_tree(read))
    back = spell_folder(SHAPE, from_tree(tree), bos_id=0, eos_id=0)
    assert back["model.safetensors"] == (tmp_path / "model.safetensors").read_bytes()
    assert set(from_tree(tree)) == set(tensors)


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("length", [7, 16, 21])
def test_logits_are_those_of_torch_within_and_past_the_window(layers: int, length: int) -> None:
    import torch

    config = ModelConfig.from_json({**SHAPE.to_json(), "num_layers": layers})
    tensors = randomised(config)
    ids = np.random.default_rng(0).integers(0, 64, (2, length))
    with torch.no_grad():
        wanted = model_of_arrays(config, tensors)(torch.from_numpy(ids)).numpy()
    assert np.abs(neo_jax.logits(to_tree(tensors), ids, config) - wanted).max() < TOLERANCE


@pytest.mark.parametrize(("name", "value"), [("window", 24), ("UNSCALED", 16**-0.5)])
def test_the_comparison_sees_a_wrong_window_and_a_scaled_attention(
    name: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = randomised(SHAPE)
    tree = to_tree(tensors)
    ids = np.random.default_rng(0).integers(0, 64, (2, 16))
    right = np.asarray(neo_jax.logits(tree, ids, SHAPE))
    shape = SHAPE
    if name == "window":
        shape = ModelConfig.from_json({**SHAPE.to_json(), name: value})
    else:
        monkeypatch.setattr(neo_jax, name, value)
    assert np.abs(neo_jax.logits(tree, ids, shape) - right).max() > 100 * TOLERANCE


@pytest.mark.parametrize("window", [128, None])
def test_the_splash_kernel_attends_as_the_model_does(window: int | None) -> None:
    """In interpret mode, with the shapes of a TPU: head size 64, a window of whole blocks."""
    random = np.random.default_rng(0)
    q, k, v = random.standard_normal((3, 2, 256, 2, 64), dtype=np.float32) * 0.5
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("data", "fsdp"))
    attend = splash_attention(mesh, ("data", "fsdp"), interpret=True)

    def loss(attend: neo_jax.Attend) -> Any:
        def mean(q: Any, k: Any, v: Any) -> Any:
            return (attend(q, k, v, window) ** 2).mean()

        return jax.jit(jax.value_and_grad(mean, argnums=(0, 1, 2)))(q, k, v)

    (got, gradients), (wanted, others) = loss(attend), loss(neo_jax.attend_blocks)
    assert abs(got - wanted) < TOLERANCE
    for mine, theirs in zip(gradients, others, strict=True):
        assert np.abs(mine - theirs).max() < TOLERANCE


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "adafactor"])
def test_twenty_updates_have_the_losses_of_torch(optimizer: str) -> None:
    """Accumulation, clipping, decay on matrices alone, tokens that are not learned."""
    rate = 1e-2 if optimizer == "adafactor" else 1e-3
    config = {"optimizer": optimizer, "learning_rate": rate}
    rows = {
        backend: np.array(train(small_learner(backend=backend, **config), range(20)))
        for backend in ("torch", "jax")
    }
    assert rows["torch"][0, 0] - rows["torch"][-1, 0] > 0.3, "it must learn, or nothing is compared"
    assert np.abs(rows["torch"] - rows["jax"])[:, 0].max() <= 5e-6


def test_the_comparison_sees_another_optimizer() -> None:
    rows = [
        np.array(train(small_learner(backend="jax", **change), range(20)))[:, 0]
        for change in ({}, {"beta2": 0.999})
    ]
    assert np.abs(rows[0] - rows[1]).max() > 10 * 5e-6


def test_bfloat16_is_near_float32() -> None:
    exact = train(small_learner(backend="jax"), range(6))
    rough = train(small_learner(backend="jax", dtype="bfloat16"), range(6))
    assert exact != rough
    assert np.abs(np.array(exact) - np.array(rough))[:, 0].max() < 2e-2


def test_a_resumed_learner_goes_on_bit_by_bit(tmp_path: Path) -> None:
    learner = small_learner(backend="jax", optimizer="muon")
    train(learner, range(3))
    learner.write(tmp_path)
    resumed = small_learner(seed=1, backend="jax", optimizer="muon")
    resumed.read(tmp_path)
    assert train(learner, range(3, 6)) == train(resumed, range(3, 6))
    ours, theirs = learner.tensors(), resumed.tensors()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


EIGHT: tuple[dict[str, Any], ...] = (
    {"backend": "jax", "PASSES": 1},
    {"backend": "jax", "PASSES": 1, "FSDP": 8},
    {"backend": "jax", "PASSES": 1, "FSDP": 4},
)
"""Eight copies; eight shares of one copy; two copies of four shares each."""


def test_eight_devices_learn_as_one_does_and_one_goes_on_from_them(
    tmp_path: Path, compiled_once: dict[str, str]
) -> None:
    flags = f"{compiled_once['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    run_launched([sys.executable], tmp_path, {**compiled_once, "XLA_FLAGS": flags}, EIGHT)
    for number, config in enumerate(EIGHT):
        check_like_one(tmp_path, number, 8, config)


def test_two_hosts_learn_as_one_device_does(tmp_path: Path, compiled_once: dict[str, str]) -> None:
    """A process a host, started by explicit arguments; each has one device, half of the weights,
    and a disk of its own: the first host's holds what both learned."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = {"backend": "jax", "PASSES": 1, "FSDP": 2}
    for rank in range(2):
        (tmp_path / str(rank)).mkdir()
    with concurrent.futures.ThreadPoolExecutor(2) as hosts:
        started = [
            hosts.submit(
                run_launched,
                [sys.executable],
                tmp_path / str(rank),
                {
                    **compiled_once,
                    "JAX_COORDINATOR_ADDRESS": address,
                    "JAX_NUM_PROCESSES": "2",
                    "JAX_PROCESS_ID": str(rank),
                },
                [config],
            )
            for rank in range(2)
        ]
        for host in started:
            host.result()
    check_like_one(tmp_path / "0", 0, 2, config)


def test_a_tpu_pod_needs_no_torch() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import components.training.run, components.training.jax_learner, components.model.splash\n"
        "import components.training.start, components.training.observation"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, cwd=Path(__file__).parents[1]
    )
    assert done.returncode == 0


def test_a_backend_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "components.training.jax_learner", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'codekiln\[jax\]'"):
        small_learner(backend="jax")


def test_devices_that_do_not_divide_are_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CODEKILN_FSDP", "3")
    with pytest.raises(ConfigError, match="CODEKILN_FSDP to divide the 1 devices, got 3"):
        small_learner(backend="jax")
