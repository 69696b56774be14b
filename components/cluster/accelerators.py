"""Accelerators of Google Kubernetes Engine: what a pod asks for to get them.

Node labels and shapes as in GKE's documentation and xpk's `system_characteristics.py` (2026-06).
The product of a topology is the number of chips: a wrong sum leaves pods pending for ever.
"""

import math
from dataclasses import dataclass

from components.artifacts.errors import ConfigError

GPU_LABEL = "cloud.google.com/gke-accelerator"
TPU_LABEL = "cloud.google.com/gke-tpu-accelerator"
TOPOLOGY_LABEL = "cloud.google.com/gke-tpu-topology"
SPOT_LABEL = "cloud.google.com/gke-spot"

GPUS = {
    "l4": "nvidia-l4",
    "h100": "nvidia-h100-80gb",
    "h100-mega": "nvidia-h100-mega-80gb",
    "h200": "nvidia-h200-141gb",
    "b200": "nvidia-b200",
}
"""Name to node label."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TpuType:
    """A generation of TPUs."""

    label: str
    dimensions: int
    """Numbers of a topology: 2x4 has two, 2x2x4 three."""

    chips_per_machine: int = 4
    """Of a slice of several machines, and of each pod: a pod takes a whole machine."""


TPUS = {
    "v4": TpuType(label="tpu-v4-podslice", dimensions=3),
    "v5e": TpuType(label="tpu-v5-lite-podslice", dimensions=2),
    "v5p": TpuType(label="tpu-v5p-slice", dimensions=3),
    "v6e": TpuType(label="tpu-v6e-slice", dimensions=2),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Machines:
    """Equal machines that train together, one pod each."""

    num_pods: int
    accelerators_per_pod: int
    resource: str
    """What Kubernetes calls the accelerator: `nvidia.com/gpu`, `google.com/tpu`."""

    node_selector: dict[str, str]

    @property
    def num_accelerators(self) -> int:
        """Over all pods."""
        return self.num_pods * self.accelerators_per_pod


def gpu_machines(kind: str, num_pods: int, gpus_per_pod: int) -> Machines:
    """Machines with GPUs.

    Raises:
        ConfigError: the kind is not known.
    """
    if kind not in GPUS:
        raise ConfigError(f"expected a kind of GPU, got {kind!r}: one of {', '.join(GPUS)}")
    return Machines(
        num_pods=num_pods,
        accelerators_per_pod=gpus_per_pod,
        resource="nvidia.com/gpu",
        node_selector={GPU_LABEL: GPUS[kind]},
    )


def tpu_machines(kind: str, topology: str) -> Machines:
    """The machines of a TPU slice.

    Args:
        kind: generation: v4, v5e, v5p, v6e.
        topology: chips along each dimension: `4x4`, `2x2x4`.

    Raises:
        ConfigError: no such slice.
    """
    if kind not in TPUS:
        raise ConfigError(f"expected a kind of TPU, got {kind!r}: one of {', '.join(TPUS)}")
    tpu = TPUS[kind]
    parts = topology.split("x")
    sound = len(parts) == tpu.dimensions and all(part.isdigit() and int(part) for part in parts)
    chips = math.prod(int(part) for part in parts) if sound else 0
    if not chips or chips % tpu.chips_per_machine:
        raise ConfigError(
            f"expected a topology of {tpu.dimensions} numbers whose product is a multiple of "
            f"{tpu.chips_per_machine} for {kind}, got {topology!r}: for example "
            + "x".join(["2", "2", "4"][-tpu.dimensions :])
        )
    return Machines(
        num_pods=chips // tpu.chips_per_machine,
        accelerators_per_pod=tpu.chips_per_machine,
        resource="google.com/tpu",
        node_selector={TPU_LABEL: tpu.label, TOPOLOGY_LABEL: topology},
    )
