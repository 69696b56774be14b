"""TrainJobs for torch and for JAX on TPUs are the golden ones, and Trainer's schema takes them."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml
from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob

from components.artifacts.errors import ConfigError
from components.cluster.accelerators import (
    CPU,
    TPU_TYPES,
    Machines,
    accelerator_names,
    machines_of,
    slices_of,
)
from components.cluster.place import Place
from components.cluster.train_jobs import Placement, Training, config_map, train_job
from components.stage.execution import Execution
from components.stage.images import image_families
from components.training.config import TrainingConfig
from components.training.flops import peak_flops
from pipelines.estimating import read_prices
from pipelines.recipes import find_recipe

GOLDEN = Path(__file__).parent / "golden" / "train_jobs.json"
KEY = "0123456789abcdef" * 2


def training(backend: Any, fsdp: int = 1, recipe: str = "gpt_cc_125m_corrected") -> Training:
    config = find_recipe(recipe).with_text("training.backend", backend).training  # type: ignore[attr-defined]
    return Training(
        key=KEY,
        config=config.to_json(),
        inputs={"tokens": "/data/packing/a", "tokenizer": "/data/tokenizer/b"},
        data_root="/data",
        fsdp=fsdp,
    )


def placement(machines: Machines, data_root: str = "/data", **options: Any) -> Placement:
    image = "registry.invalid/codekiln/train:golden"
    place = Place.of(Execution(data_root=data_root, **options), "codekiln", image)
    return Placement(
        place=replace(
            place, service_account="codekiln-training", environment={}, data_claim="data"
        ),
        machines=machines,
    )


def objects() -> list[dict[str, Any]]:
    gpus = placement(machines_of("gpu-h100", 16), queue="gpu-h100", spot=True)
    tpus = placement(machines_of("tpu-v5e", 16))
    return [
        config_map(training("torch"), gpus),
        train_job(training("torch", fsdp=8), gpus),
        train_job(training("jax", fsdp=4), tpus),
        train_job(training("torch"), placement(machines_of("", threads=2), node_selector="a=b")),
    ]


def test_the_objects_are_the_golden_ones() -> None:
    """When this fails for a good reason: CODEKILN_WRITE_GOLDEN=1, then read the diff."""
    spelt = json.dumps(objects(), indent=1) + "\n"
    if os.environ.get("CODEKILN_WRITE_GOLDEN"):
        GOLDEN.write_text(spelt)
    assert spelt == GOLDEN.read_text()


@pytest.mark.parametrize("place", [1, 2, 3])
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
    for tpu in TPU_TYPES:
        for part in slices_of(tpu):
            machines = machines_of(tpu.name, part.chips)
            assert (machines.num_pods, machines.num_accelerators) == (part.pods, part.chips)
            assert machines.runtime == part.runtime
    job = objects()[2]["spec"]["trainer"]
    assert (job["numNodes"], job["resourcesPerNode"]["limits"]["google.com/tpu"]) == (4, "4")
    torch = objects()[1]["spec"]["trainer"]
    assert (torch["numNodes"], torch["numProcPerNode"]) == (2, 8)
    cpu = objects()[3]["spec"]["trainer"]
    assert (cpu["numNodes"], cpu["resourcesPerNode"]["limits"]["cpu"]) == (1, "2")
    assert "--threads=2" in cpu["args"], "as many as the pod has cores, not the machine"
    assert machines_of("gpu-l4").num_accelerators == 1
    assert machines_of("gpu-l4", 16).num_pods == 2


def test_every_runtime_and_image_of_the_table_is_there() -> None:
    k8s = Path(__file__).parents[1] / "k8s"
    made = {
        item["metadata"]["name"]
        for path in [*k8s.glob("runtimes/*.yaml"), *k8s.glob("components/*/runtimes.yaml")]
        for item in yaml.safe_load_all(path.read_text())
        if item["kind"] == "ClusterTrainingRuntime"
    }
    machines = [machines_of(name) for name in ("", *accelerator_names())]
    assert {one.runtime for one in machines} <= made
    assert {one.image for one in machines} <= {*image_families()}


def test_one_table_has_all_hardware() -> None:
    """What can be asked for, its prices and the peaks that training reckons MFU with."""
    named = {name for name in get_args(get_type_hints(Execution)["accelerator"]) if name}
    assert named == {*accelerator_names()}
    assert read_prices()["usd_per_hour"].keys() == {CPU, *named}
    devices = {
        "gpu-l4": "NVIDIA L4",
        "gpu-h100": "NVIDIA H100 80GB HBM3",
        "gpu-h200": "NVIDIA H200",
        "tpu-v5e": "TPU v5 lite",
        "tpu-v6e": "TPU v6 lite",
    }
    assert devices.keys() == named
    for name, device in devices.items():
        assert machines_of(name).peak_flops == peak_flops(device)


def test_a_price_table_that_does_not_fit_the_hardware_is_one_line(tmp_path: Path) -> None:
    for change, text in (({"gpu-l5": 1.0}, "got 'gpu-l5' too"), ({"gpu-l4": None}, "'gpu-l4'")):
        prices = read_prices()
        held = {**prices["usd_per_hour"], **change}
        prices["usd_per_hour"] = {name: usd for name, usd in held.items() if usd is not None}
        (tmp_path / "prices.json").write_text(json.dumps(prices))
        with pytest.raises(ConfigError, match=text):
            read_prices(tmp_path / "prices.json")


def test_a_bucket_needs_no_claim_and_a_folder_is_refused_without_one() -> None:
    machines = machines_of("gpu-h100", 16)
    bucket = replace(training("torch"), data_root="gs://b/root")
    assert "persistentVolumeClaim" not in json.dumps(
        train_job(bucket, placement(machines, data_root="gs://b/root"))
    )
    held = placement(machines)
    with pytest.raises(ConfigError, match="claim that is mounted there in CODEKILN_DATA"):
        train_job(training("torch"), replace(held, place=replace(held.place, data_claim="")))


def test_machines_that_do_not_exist_or_divide_are_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="got 'gpu-k80'"):
        machines_of("gpu-k80", 1)
    with pytest.raises(ConfigError, match="divide the 16 accelerators, got 3"):
        train_job(training("jax", fsdp=3), placement(machines_of("tpu-v5e", 16)))
