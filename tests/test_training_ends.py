"""How runs end: by SIGTERM, at the best look, on JAX, and on data that cannot be learned."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import transformers

from components.artifacts.errors import ConfigError
from components.artifacts.rows import read_rows
from components.training import torch_group
from components.training.config import TrainingConfig
from components.training.launch import Launch
from tests.test_training_step import (
    SMALL,
    Inputs,
    MakeStep,
    inputs,
    model_folder,
    tokens_of,
    weights,
)

__all__ = ["inputs"]

TERMINATED_RUN = """
import os, signal, sys
from components.stage.command import run_step_command
from components.stage.step import find_step
from components.training import trainer

gradients = trainer.Trainer._gradients

def asked(self):
    if self._step == 7:
        os.kill(os.getpid(), signal.SIGTERM)
    return gradients(self)

trainer.Trainer._gradients = asked
sys.exit(run_step_command(find_step("training"), sys.argv[1:]))
"""


def test_sigterm_saves_the_step_exits_143_and_the_next_run_ends_bit_by_bit_the_same(
    make_step: MakeStep, inputs: Inputs, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    arguments = [f"--{name}={artifact.storage.uri}" for name, artifact in inputs.items()]
    arguments += [f"--output={tmp_path / 'out'}", f"--data-root={tmp_path / 'spot'}"]
    arguments += [f"--config={tmp_path / 'config.json'}", "--threads=1"]
    ended = subprocess.run(
        [sys.executable, "-c", TERMINATED_RUN, *arguments],
        check=False,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 143, ended.stderr
    last = ended.stderr.strip().splitlines()[-1]
    assert last == "codekiln training: terminated after step 8 of 24: run again to go on"
    assert list((tmp_path / "spot").rglob("00000008/checkpoint.json")), "not a due checkpoint"
    assert not list((tmp_path / "spot").rglob("manifest.json"))
    resumed = make_step("training", inputs, data_root=str(tmp_path / "spot"), **SMALL)
    whole = make_step("training", inputs, data_root=str(tmp_path / "whole"), **SMALL)
    assert weights(resumed) == weights(whole)
    assert resumed.artifact.manifest.digest == whole.artifact.manifest.digest


def test_on_shuffled_targets_the_loss_on_held_out_documents_does_not_fall(
    make_step: MakeStep, inputs: Inputs, tmp_path: Path
) -> None:
    """The control: tokens without an order leave nothing to learn but how often each comes."""
    config = {**SMALL, "max_steps": 60, "optimizer": "adamw", "learning_rate": 3e-3}
    noise = tokens_of(tmp_path / "noise", inputs["tokenizer"], shuffled=True)
    losses = {}
    for name, tokens in (("order", inputs["tokens"]), ("noise", noise)):
        made = make_step("training", {**inputs, "tokens": tokens}, **config)
        losses[name] = made.artifact.manifest.measures["loss_validation"]
    floor = np.log(20)  # nats of a uniform guess among the 19 tokens and the EOS
    assert losses["order"] < floor - 1
    assert losses["noise"] > floor - 0.15


def test_the_best_looks_weights_are_published_where_they_are_asked_for(
    make_step: MakeStep, inputs: Inputs
) -> None:
    """A rate that rises until the end makes the last step worse than an earlier one."""
    config = {
        **SMALL,
        "optimizer": "adamw",
        "learning_rate": 0.5,
        "schedule": {"kind": "wsd", "warmup_steps": 24},
        "validate_every_steps": 5,
        "validation_tokens": 10_000,
    }
    made = {
        publish: make_step("training", inputs, **config, publish=publish).artifact
        for publish in ("last", "best")
    }
    looks = [row for row in read_rows(made["best"], "records") if "bits_per_byte" in row]
    best = min(row["bits_per_byte"] for row in looks[1:-1])
    assert made["best"].manifest.measures["bits_per_byte"] == pytest.approx(best, abs=1e-6)
    assert made["last"].manifest.measures["bits_per_byte"] > best + 0.1
    with pytest.raises(ConfigError, match="multiple of validate_every_steps for publish 'best'"):
        TrainingConfig(publish="best", validate_every_steps=30, checkpoint_every_steps=100)


def test_looks_without_a_limit_and_the_last_save_do_not_end_the_run_early(
    make_step: MakeStep, inputs: Inputs
) -> None:
    """Defect R3: GPT-CC's script died at its first evaluation, or else after its last step."""
    made = make_step(
        "training", inputs, **SMALL, validate_every_steps=1, validation_tokens=10**6
    ).artifact
    looks = [row["step"] for row in read_rows(made, "records") if "bits_per_byte" in row]
    assert looks == list(range(25))
    assert made.part("model")


@pytest.mark.usefixtures("compiled_once")
def test_the_step_on_jax_learns_as_on_torch_resumes_and_its_folder_loads(
    make_step: MakeStep, inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.training.trainer import Trainer

    config = {**SMALL, "max_steps": 12, "optimizer": "adamw", "learning_rate": 1e-3}
    torch_bits = make_step("training", inputs, **config).artifact.manifest.measures
    config["backend"] = "jax"
    outcome = make_step("training", inputs, data_root=str(tmp_path / "whole"), **config)
    measures = outcome.artifact.manifest.measures
    assert measures["bits_per_byte"] == pytest.approx(torch_bits["bits_per_byte"], abs=1e-4)
    assert measures["gradient_norm"] == pytest.approx(torch_bits["gradient_norm"], abs=1e-4)
    transformers.AutoModelForCausalLM.from_pretrained(model_folder(outcome))

    gradients = Trainer._gradients

    def killed(self: Trainer) -> float:
        if self._step == 8:
            raise KeyboardInterrupt
        return gradients(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_gradients", killed)
        with pytest.raises(KeyboardInterrupt):
            make_step("training", inputs, data_root=str(tmp_path / "cut"), **config)
    assert list((tmp_path / "cut").rglob("00000005/checkpoint.json"))
    resumed = make_step("training", inputs, data_root=str(tmp_path / "cut"), **config)
    assert weights(resumed) == weights(outcome)


def test_a_gpu_that_torch_cannot_use_is_not_passed_over(
    make_step: MakeStep, inputs: Inputs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A pod whose driver is not found would train on its few cores, for days."""
    device = tmp_path / "nvidiactl"
    device.touch()
    monkeypatch.setattr(torch_group, "GPU_DEVICE", device)
    monkeypatch.setattr(torch_group.torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch_group.torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(ConfigError, match=r"expected torch to find the GPU of this machine"):
        make_step("training", inputs, **SMALL)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert torch_group.training_device(Launch.read("torch")).type == "cpu"


def test_a_model_is_not_compiled_without_a_compiler(
    make_step: MakeStep, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match=r"expected a C\+\+ compiler .* no 'no-such-compiler'"):
        make_step("training", inputs, **SMALL, compile_model=True)
