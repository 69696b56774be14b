"""Two processes learn as one does, and one goes on where two were; a launch is read and refused."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.artifacts.errors import ConfigError
from components.stage.execution import Outcome
from components.training.launch import Launch, check_batch
from tests.launched_learner import check_like_one, run_launched, small_learner
from tests.test_training_step import SMALL, Inputs, inputs, weights

__all__ = ["inputs"]

MakeStep = Callable[..., Outcome]
TWO: tuple[dict[str, Any], ...] = (
    {},
    {"optimizer": "muon"},
    {"FSDP": 2},
    {"FSDP": 2, "optimizer": "muon"},
)


def torchrun() -> list[str]:
    """The command that starts two processes, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    return [*launcher, f"--master-port={port}"]


def test_two_processes_learn_as_one_does_and_one_goes_on_from_them(tmp_path: Path) -> None:
    """Copies (DDP) and shares (FSDP2) of the weights, by gloo: loss and norm to 5e-6."""
    run_launched(torchrun(), tmp_path, {}, TWO)
    for number, config in enumerate(TWO):
        check_like_one(tmp_path, number, 2, config)


def test_the_step_under_torchrun_publishes_once_and_is_found_by_one_process(
    make_step: MakeStep, inputs: Inputs, tmp_path: Path
) -> None:
    """Rank 0 alone takes the lease and publishes; both end well; the digest's key is the same."""
    config = {**SMALL, "max_steps": 12}
    (tmp_path / "config.json").write_text(json.dumps(config))
    arguments = [f"--{name}={artifact.storage.uri}" for name, artifact in inputs.items()]
    arguments += [f"--output={tmp_path / 'out'}", f"--data-root={tmp_path / 'two'}"]
    command = [*torchrun(), "-m", "pipelines.cli", "training", *arguments, "--threads=1"]
    done = subprocess.run(
        [*command, f"--config={tmp_path / 'config.json'}"],
        check=False,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    two = make_step("training", inputs, data_root=str(tmp_path / "two"), **config)
    assert two.reused
    one = make_step("training", inputs, **config)
    bits = [made.artifact.manifest.measures["bits_per_byte"] for made in (one, two)]
    assert bits[0] == pytest.approx(bits[1], abs=1e-4)
    assert len(weights(one)) == len(weights(two))
    assert not list((tmp_path / "two").rglob("checkpoint.json")), "the scratch folder is gone"


TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "a",
    "MASTER_PORT": "9",
}
JAX = {"JAX_PROCESS_ID": "1", "JAX_NUM_PROCESSES": "2", "JAX_COORDINATOR_ADDRESS": "b:8476"}


def test_a_process_finds_its_place_in_the_variables_of_its_launcher() -> None:
    launch = Launch.read("torch", {**TORCHRUN, "CODEKILN_FSDP": "2"})
    assert launch == Launch(rank=3, size=4, local_rank=1, coordinator="a:9", fsdp=2)
    assert launch.mesh(4) == (2, 2)
    assert Launch.read("jax", JAX) == Launch(rank=1, size=2, coordinator="b:8476")
    assert Launch.read("torch", {}) == Launch.read("jax", {}) == Launch()


@pytest.mark.parametrize(
    ("backend", "variables", "message"),
    [
        ("torch", {**TORCHRUN, "RANK": "4"}, "expected RANK below WORLD_SIZE, got 4 and 4"),
        ("torch", {**TORCHRUN, "RANK": "x"}, "whole number in the variable RANK, got 'x'"),
        ("torch", {"RANK": "0", "WORLD_SIZE": "2"}, "host:port of the first process"),
        ("jax", {**JAX, "JAX_COORDINATOR_ADDRESS": ""}, "host:port .* got ''"),
    ],
)
def test_a_launch_that_cannot_work_is_refused_in_one_line(
    backend: Any, variables: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Launch.read(backend, variables)
    assert "\n" not in str(caught.value)


def test_a_mesh_and_a_batch_that_do_not_divide_are_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ConfigError, match="CODEKILN_FSDP to divide the 8 devices, got 3"):
        Launch(size=8, fsdp=3).mesh(8)
    with pytest.raises(ConfigError, match="batch_size to be a multiple of the 3 devices, got 16"):
        check_batch(16, 3)
    monkeypatch.setenv("CODEKILN_FSDP", "2")
    with pytest.raises(ConfigError, match="for adafactor in torch"):
        small_learner(optimizer="adafactor")


def test_a_pod_with_another_config_than_its_launcher_is_refused(
    make_step: MakeStep, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_step("training", inputs, **{**SMALL, "max_steps": 1})
    monkeypatch.setenv("CODEKILN_KEY", made.artifact.manifest.key)
    assert make_step("training", inputs, **{**SMALL, "max_steps": 1}).reused
    with pytest.raises(ConfigError, match="CODEKILN_KEY names"):
        make_step("training", inputs, **{**SMALL, "max_steps": 2})
