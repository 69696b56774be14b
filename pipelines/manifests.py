"""Write the generated parts of `k8s/`, or a copy of it with real image names, ready to apply.

    python -m pipelines.manifests              write them in place, with placeholders for tags
    python -m pipelines.manifests --check      say what is out of step, and fail
    python -m pipelines.manifests --out deploy a copy that names images by digest or content hash

Generated are the runtimes of TPU slices, from the table of accelerators, and the names of images,
from `images/locations.json`. The rest of `k8s/` is written by hand.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from components.artifacts.errors import ConfigError
from components.cluster.accelerators import TPU_TYPES, Slice, TpuType, slices_of
from components.stage.command import run_guarded, say
from components.stage.images import GOLDEN_VARIABLE, image_families, image_uri

ROOT = Path(__file__).resolve().parents[1] / "k8s"
GOLDEN_TAG = "golden"
COORDINATOR_PORT = 6666
"""Where process 0 of a JAX training listens: the port of the Trainer's own JAX runtime."""

MAX_RESTARTS = 20
EXIT_ABORTED, EXIT_STOPPED = 134, 143
"""A collective was aborted because a peer went; SIGTERM came and a checkpoint was written."""

UID = 65532


def generated_files() -> dict[str, str]:
    """Path below `k8s/` to text, for every generated file."""
    files = {f"components/{tpu.name}/runtimes.yaml": runtimes_text(tpu) for tpu in TPU_TYPES}
    return {**files, "images/kustomization.yaml": images_text()}


def runtimes_text(tpu: TpuType) -> str:
    """The runtimes of all slices of a type as YAML documents."""
    head = (
        "# Generated from components/cluster/accelerators.py by `make manifests`: a runtime a "
        "topology.\n"
    )
    documents = [slice_runtime(part) for part in slices_of(tpu)]
    return head + yaml.safe_dump_all(documents, sort_keys=False, width=100)


def images_text() -> str:
    """The component that puts names and tags, or digests, in the place of image families."""
    entries = []
    for family in image_families():
        name, at, digest = image_uri(family).partition("@")
        if at:
            entries.append({"name": family, "newName": name, "digest": digest})
        else:
            name, _, tag = name.rpartition(":")
            entries.append({"name": family, "newName": name, "newTag": tag})
    head = (
        "# Generated from images/locations.json by `make manifests`. The last component of all.\n"
    )
    value = {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "images": entries,
    }
    return head + yaml.safe_dump(value, sort_keys=False)


def slice_runtime(part: Slice) -> dict[str, Any]:
    """The ClusterTrainingRuntime of one slice: one JAX process a machine, started together."""
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "ClusterTrainingRuntime",
        "metadata": {
            "name": part.runtime,
            "labels": {
                "codekiln/accelerator": "tpu",
                "codekiln/tpu-topology": part.topology,
                "trainer.kubeflow.org/framework": "jax",
            },
        },
        "spec": {
            "mlPolicy": {"numNodes": part.pods},
            "template": {"spec": _job_set(part)},
        },
    }


def _job_set(part: Slice) -> dict[str, Any]:
    """The JobSet of a slice: interrupted it starts again as a whole, crashed it fails."""
    return {
        "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
        "coordinator": {"replicatedJob": "node", "jobIndex": 0, "podIndex": 0},
        "failurePolicy": {
            "maxRestarts": MAX_RESTARTS,
            "restartStrategy": "BlockingRecreate",
            "rules": [
                {
                    "name": "interrupted",
                    "action": "RestartJobSet",
                    "onJobFailureReasons": ["PodFailurePolicy"],
                },
                {"name": "crashed", "action": "FailJobSet"},
            ],
        },
        "replicatedJobs": [
            {
                "name": "node",
                "replicas": 1,
                "template": {
                    "metadata": {
                        "labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"},
                        "annotations": {
                            "alpha.jobset.sigs.k8s.io/exclusive-topology": (
                                "cloud.google.com/gke-nodepool"
                            )
                        },
                    },
                    "spec": _job(part),
                },
            }
        ],
    }


def _job(part: Slice) -> dict[str, Any]:
    disruption = {"type": "DisruptionTarget", "status": "True"}
    exits = {
        "containerName": "node",
        "operator": "In",
        "values": [EXIT_ABORTED, EXIT_STOPPED],
    }
    return {
        "completionMode": "Indexed",
        "completions": part.pods,
        "parallelism": part.pods,
        "backoffLimit": 0,
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onPodConditions": [disruption]},
                {"action": "FailJob", "onExitCodes": exits},
            ]
        },
        "template": {
            "metadata": {"labels": {"app.kubernetes.io/component": "training"}},
            "spec": _pod(part),
        },
    }


def _pod(part: Slice) -> dict[str, Any]:
    return {
        "serviceAccountName": "codekiln-training",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 25,
        "nodeSelector": {
            "cloud.google.com/gke-tpu-accelerator": part.tpu.selector,
            "cloud.google.com/gke-tpu-topology": part.topology,
        },
        "tolerations": [{"key": "google.com/tpu", "operator": "Exists", "effect": "NoSchedule"}],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": UID,
            "fsGroup": UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(part)],
        "volumes": [
            {"name": "scratch", "emptyDir": {"sizeLimit": "50Gi"}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}},
        ],
    }


def _container(part: Slice) -> dict[str, Any]:
    amounts = {
        "cpu": str(part.tpu.cpu),
        "memory": f"{part.tpu.memory_gib}Gi",
        "ephemeral-storage": "60Gi",
        "google.com/tpu": str(part.tpu.chips_per_machine),
    }
    return {
        "name": "node",
        "image": "train-tpu",
        "command": ["codekiln", "training"],
        "env": _places(part),
        "ports": [{"containerPort": COORDINATOR_PORT, "name": "coordinator", "protocol": "TCP"}],
        "resources": {"requests": amounts, "limits": dict(amounts)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "scratch", "mountPath": "/tmp"},
            {"name": "shared-memory", "mountPath": "/dev/shm"},
        ],
    }


def _places(part: Slice) -> list[dict[str, Any]]:
    """Coordinator, world size and process id, as the training step reads them; none is guessed."""

    def field(path: str) -> dict[str, Any]:
        return {"fieldRef": {"fieldPath": path}}

    return [
        {"name": "CODEKILN_LOG", "value": "json"},
        {
            "name": "COORDINATOR_HOST",
            "valueFrom": field("metadata.annotations['jobset.sigs.k8s.io/coordinator']"),
        },
        {"name": "JAX_COORDINATOR_ADDRESS", "value": f"$(COORDINATOR_HOST):{COORDINATOR_PORT}"},
        {"name": "JAX_NUM_PROCESSES", "value": str(part.pods)},
        {
            "name": "JAX_PROCESS_ID",
            "valueFrom": field("metadata.labels['batch.kubernetes.io/job-completion-index']"),
        },
        {"name": "JAX_PLATFORMS", "value": "tpu,cpu"},
    ]


def write_in_place(*, check: bool) -> int:
    """Write what is out of step with placeholders for tags; with `check` only name it and fail."""
    os.environ[GOLDEN_VARIABLE] = GOLDEN_TAG
    stale = []
    for name, text in generated_files().items():
        path = ROOT / name
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if not check:
                path.write_text(text)
    if stale:
        say(f"manifests {'out of step, run `make manifests`' if check else 'written'}: {stale}")
    return 1 if stale and check else 0


def write_copy(folder: Path) -> int:
    """Write a copy of `k8s/` that can be applied: real names of images, the recipes compiled.

    Raises:
        ConfigError: the folder holds something else.
    """
    marker = folder / "images" / "kustomization.yaml"
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise ConfigError(f"expected an empty folder or an older copy of k8s/, got {str(folder)!r}")
    from components.stage.execution import Execution
    from pipelines.compiling import compile_crd
    from pipelines.recipes import find_recipe, recipe_names

    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns("goldens", "*.crd.yaml"))
    for name, text in generated_files().items():
        (folder / name).write_text(text)
    for name in recipe_names():
        compile_crd(find_recipe(name), Execution(), folder / "pipelines" / f"{name}.crd.yaml")
    say(f"manifests written to {folder}: kubectl apply --server-side -k {folder}/overlays/NAME")
    return 0


def main() -> int:
    """Run the command; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.manifests", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--check", action="store_true", help="only say what is out of step")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write a copy that can be applied")
    arguments = parser.parse_args()
    if arguments.out is not None:
        return run_guarded(lambda: write_copy(arguments.out), "manifests")
    return write_in_place(check=arguments.check)


if __name__ == "__main__":
    sys.exit(main())
