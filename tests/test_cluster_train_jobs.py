"""TrainJobs for torch and for JAX on TPUs are the golden ones, and Trainer's schema takes them."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob

from components.artifacts.errors import ConfigError
from components.cluster.accelerators import TPUS, Machines, gpu_machines, tpu_machines
from components.cluster.train_jobs import Placement, Training, config_map, train_job
from components.training.config import TrainingConfig
from pipelines.recipes import find_recipe

GOLDEN = Path(__file__).parent / "golden" / "train_jobs.json"
KEY = "0123456789abcdef" * 2


def training(backend: Any, fsdp: int = 1, recipe: str = "gpt_cc_125m_corrected") -> Training:
    config = find_recipe(recipe).with_text("training.backend", backend).training  # type: ignore[attr-defined]
    return Training(
        key=KEY,
        backend=backend,
        config=config.to_json(),
        inputs={"tokens": "/data/packing/a", "tokenizer": "/data/tokenizer/b"},
        data_root="/data",
        fsdp=fsdp,
    )


def placement(machines: Machines, **changes: Any) -> Placement:
    image = "registry.invalid/codekiln/train:golden"
    return Placement(
        namespace="training",
        image=image,
        machines=machines,
        deadline_s=86_400,
        data_claim="data",
        **changes,
    )


def objects() -> list[dict[str, Any]]:
    gpus = placement(gpu_machines("h100", num_pods=2, gpus_per_pod=8), queue="gpus", spot=True)
    tpus = placement(tpu_machines("v5e", "4x4"), service_account="tpu")
    return [
        config_map(training("torch"), gpus),
        train_job(training("torch", fsdp=8), gpus),
        train_job(training("jax", fsdp=4), tpus),
    ]


def test_the_objects_are_the_golden_ones() -> None:
    """When this fails for a good reason: CODEKILN_WRITE_GOLDEN=1, then read the diff."""
    spelt = json.dumps(objects(), indent=1) + "\n"
    if os.environ.get("CODEKILN_WRITE_GOLDEN"):
        GOLDEN.write_text(spelt)
    assert spelt == GOLDEN.read_text()


@pytest.mark.parametrize("place", [1, 2])
def test_trainers_schema_takes_every_field(place: int) -> None:
    """Its models drop unknown fields in silence: nothing may be missing after a round trip."""
    job = objects()[place]
    read = TrainerV1alpha1TrainJob.from_dict(job)
    assert read is not None
    assert read.to_dict() == job
    job["spec"]["trainer"]["numNode"] = 2
    again = TrainerV1alpha1TrainJob.from_dict(job)
    assert again is not None
    assert again.to_dict() != job


def test_the_config_arrives_as_it_was_given() -> None:
    held = objects()[0]
    config = TrainingConfig.from_json(held["data"]["config.json"])
    assert config == find_recipe("gpt_cc_125m_corrected").training
    assert held["immutable"]


def test_pods_ask_for_what_their_machines_have() -> None:
    for kind, tpu in TPUS.items():
        topology = "x".join(["2", "4", "4"][-tpu.dimensions :])
        machines = tpu_machines(kind, topology)
        assert machines.num_accelerators == eval_product(topology)
    job = objects()[2]["spec"]["trainer"]
    assert (job["numNodes"], job["resourcesPerNode"]["limits"]["google.com/tpu"]) == (4, "4")
    torch = objects()[1]["spec"]["trainer"]
    assert (torch["numNodes"], torch["numProcPerNode"]) == (2, 8)


def eval_product(topology: str) -> int:
    product = 1
    for part in topology.split("x"):
        product *= int(part)
    return product


def test_machines_that_do_not_exist_or_divide_are_refused_in_one_line() -> None:
    for kind, topology in (("v5e", "2x2x2"), ("v4", "1x1x1"), ("v6e", "4xx"), ("v5e", "0x4")):
        with pytest.raises(ConfigError, match=r"topology of \d numbers"):
            tpu_machines(kind, topology)
    with pytest.raises(ConfigError, match="one of v4, v5e"):
        tpu_machines("v9", "2x2")
    with pytest.raises(ConfigError, match="got 'k80'"):
        gpu_machines("k80", 1, 1)
    with pytest.raises(ConfigError, match="divide the 16 accelerators, got 3"):
        train_job(training("jax", fsdp=3), placement(tpu_machines("v5e", "4x4")))
