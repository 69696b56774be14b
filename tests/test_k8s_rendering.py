"""Overlays render offline to their goldens, and schemas and models take every field of them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubeflow_trainer_api.models import (
    IoK8sApiBatchV1JobSpec,
    JobsetV1alpha2JobSet,
    TrainerV1alpha1ClusterTrainingRuntime,
)

from components.cluster.accelerators import GPU_TYPES, TPU_TYPES, Slice, slices_of
from pipelines.manifests import generated_files
from tests.k8s_objects import (
    GOLDENS,
    K8S,
    OVERLAYS,
    VARIANTS,
    Object,
    job_specs,
    named,
    objects_of,
    of_kind,
    render,
    render_text,
    title,
)

VERSION = "1.37.0"
ROOT = K8S.parent
CUSTOM_GROUPS = (
    "trainer.kubeflow.org",
    "kueue.x-k8s.io",
    "extensions.agents.x-k8s.io",
    "pipelines.kubeflow.org",
)
"""Kinds whose schemas no package carries, but the Trainer's."""


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_renders_offline_to_its_golden(name: str) -> None:
    """When this fails for a good reason: CODEKILN_WRITE_GOLDEN=1, then read the diff."""
    text, golden = render_text(K8S / "overlays" / name), GOLDENS / f"{name}.yaml"
    if os.environ.get("CODEKILN_WRITE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_goldens_are_of_overlays() -> None:
    assert {path.stem for path in GOLDENS.iterdir()} == set(OVERLAYS)
    assert {path.name for path in (K8S / "overlays").iterdir()} >= set(OVERLAYS)


def test_remote_addresses_stand_in_install_alone() -> None:
    for path in sorted(K8S.rglob("kustomization.yaml")):
        remote = [r for r in yaml.safe_load(path.read_text()).get("resources", []) if "://" in r]
        assert not remote or "install" in path.relative_to(K8S).parts, path


def test_there_is_no_python_in_k8s_and_images() -> None:
    assert not [*K8S.rglob("*.py"), *(ROOT / "images").rglob("*.py")]


def test_generated_files_are_in_step_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEKILN_IMAGE_TAG", "golden")
    for name, text in generated_files().items():
        assert (K8S / name).read_text() == text, f"{name}: run `make manifests`"


@pytest.mark.parametrize("name", [*OVERLAYS, *VARIANTS])
def test_core_objects_keep_the_schemas_of_kubernetes(name: str) -> None:
    checked = 0
    for item in objects_of(name):
        if item["apiVersion"].partition("/")[0] not in CUSTOM_GROUPS:
            kubernetes_validate.validate(item, VERSION, strict=True)
            checked += 1
    assert checked >= 25


@pytest.mark.parametrize("name", [*OVERLAYS, *VARIANTS])
def test_embedded_jobs_keep_the_schema_of_a_job(name: str) -> None:
    objects = [i for i in objects_of(name) if i["kind"] == "ClusterTrainingRuntime"]
    specs = list(job_specs(objects))
    assert len(specs) == len(objects) >= 2
    for item, spec in specs:
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": item["metadata"]["name"]},
            "spec": spec,
        }
        kubernetes_validate.validate(job, VERSION, strict=True)


def test_the_schemas_find_a_field_that_is_none() -> None:
    objects = objects_of("gke-tpu")
    (_, spec) = next(job_specs([named(objects, "CronJob")]))
    spec["template"]["spec"]["restartPolcy"] = "Never"
    with pytest.raises(kubernetes_validate.ValidationError, match="restartPolcy"):
        kubernetes_validate.validate(named(objects, "CronJob"), VERSION, strict=True)


def lost(model: Any, value: Object) -> str:
    """What a model drops of a value: it takes unknown fields in silence."""
    kept = json.dumps(model.from_dict(value).to_dict(), sort_keys=True, default=str)
    spelt = json.dumps(value, sort_keys=True, default=str)
    return "" if kept == spelt else f"{spelt}\n{kept}"


@pytest.mark.parametrize("name", [*OVERLAYS, *VARIANTS])
def test_the_trainers_models_keep_every_field(name: str) -> None:
    for item in of_kind(objects_of(name), "ClusterTrainingRuntime"):
        assert not lost(TrainerV1alpha1ClusterTrainingRuntime, item), title(item)
        job_set = {
            "apiVersion": "jobset.x-k8s.io/v1alpha2",
            "kind": "JobSet",
            "metadata": {"name": item["metadata"]["name"]},
            "spec": item["spec"]["template"]["spec"],
        }
        assert not lost(JobsetV1alpha2JobSet, job_set), title(item)
        for _, spec in job_specs([item]):
            assert not lost(IoK8sApiBatchV1JobSpec, spec), title(item)


@pytest.mark.parametrize("path", ["mlPolicy", "template/spec", "template/spec/failurePolicy"])
def test_the_models_find_a_field_that_is_none(path: str) -> None:
    item = named(objects_of("gke-tpu"), "ClusterTrainingRuntime", "codekiln-cpu")
    place = item["spec"]
    for part in path.split("/"):
        place = place[part]
    place["numNode"] = 2
    assert lost(TrainerV1alpha1ClusterTrainingRuntime, item)


@pytest.mark.parametrize("tpu", TPU_TYPES, ids=lambda tpu: tpu.name)
def test_a_slice_is_of_whole_machines(tpu: Any) -> None:
    for part in slices_of(tpu):
        assert part.pods * tpu.chips_per_machine == part.chips
    with pytest.raises(ValueError, match="whole machines of 4 chips, got '3x3' of 9"):
        _ = Slice(tpu=tpu, topology="3x3").pods


def test_flavors_are_those_of_the_table_of_accelerators() -> None:
    wanted = {tpu.name: tpu.selector for tpu in TPU_TYPES}
    wanted |= {gpu.name: gpu.selector for gpu in GPU_TYPES}
    found = {}
    for name in ("gke-gpu", "gke-tpu"):
        for flavor in of_kind(objects_of(name), "ResourceFlavor"):
            for label, value in flavor.get("spec", {}).get("nodeLabels", {}).items():
                assert label.startswith("cloud.google.com/gke-")
                found[flavor["metadata"]["name"]] = value
    assert found == wanted


def test_a_launched_map_reaches_what_it_needs_by_the_names_of_the_image() -> None:
    """The image names namespace and account; the policy for storage lets maps out."""
    text = (ROOT / "images" / "Containerfile").read_text()
    objects = objects_of("local")
    assert "CODEKILN_NAMESPACE=codekiln " in text
    assert "CODEKILN_SERVICE_ACCOUNT=codekiln-map\n" in text
    assert named(objects, "ServiceAccount", "codekiln-map", "codekiln")
    kept_in = named(objects, "NetworkPolicy", "allow-storage")["spec"]["podSelector"]
    (expression,) = kept_in["matchExpressions"]
    assert (expression["operator"], expression["values"]) == ("NotIn", ["reaper"])


def test_pipelines_render_into_kubeflows_namespace() -> None:
    objects = render(K8S / "pipelines")
    assert {item["metadata"]["namespace"] for item in objects} == {"kubeflow"}
    pipelines = {item["metadata"]["name"] for item in of_kind(objects, "Pipeline")}
    versions = of_kind(objects, "PipelineVersion")
    assert {v["spec"]["pipelineName"] for v in versions} == pipelines
    listed = yaml.safe_load((K8S / "pipelines" / "kustomization.yaml").read_text())["resources"]
    assert set(listed) == {path.name for path in (K8S / "pipelines").glob("*.crd.yaml")}


def test_yaml_is_clean() -> None:
    tool = Path(sys.executable).parent / "yamllint"
    found = str(tool) if tool.exists() else shutil.which("yamllint")
    if found is None:
        pytest.skip("yamllint is not installed")
    done = subprocess.run(
        [found, "--strict", "k8s", ".github", ".yamllint.yaml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
