"""Accelerators on Google Kubernetes Engine: what a node is called there, and how slices are cut.

The sums that keep a job from waiting forever: chips = product of the topology = pods x chips of a
machine. From GKE's pages on TPUs and GPUs, and xpk's system_characteristics.py (2026-06).
"""

from dataclasses import dataclass
from math import prod


@dataclass(frozen=True, kw_only=True, slots=True)
class TpuType:
    """A generation of TPU, in machines of four chips."""

    name: str
    selector: str
    """Value of the node label `cloud.google.com/gke-tpu-accelerator`."""

    machine: str
    chips_per_machine: int
    cpu: int
    """Cores that a pod asks for; below a machine's, whose system pods need some."""

    memory_gib: int
    topologies: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """Chips that one job gets together: one slice. Several slices in a job are not supported."""

    tpu: TpuType
    topology: str

    @property
    def chips(self) -> int:
        """All chips: the product of the topology."""
        return prod(int(side) for side in self.topology.split("x"))

    @property
    def pods(self) -> int:
        """Pods of the job: one a machine.

        Raises:
            ValueError: the machines' chips do not make up the topology.
        """
        pods, rest = divmod(self.chips, self.tpu.chips_per_machine)
        if rest or not pods:
            raise ValueError(
                f"expected a topology of whole machines of {self.tpu.chips_per_machine} chips, got "
                f"{self.topology!r} of {self.chips} for {self.tpu.name}"
            )
        return pods

    @property
    def runtime(self) -> str:
        """The name of its ClusterTrainingRuntime."""
        return f"codekiln-jax-{self.tpu.name}-{self.topology}"


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuType:
    """A type of GPU, and how many of it a machine may have."""

    name: str
    selector: str
    """Value of the node label `cloud.google.com/gke-accelerator`."""

    machines: tuple[tuple[str, int], ...]
    """Machine types with their numbers of GPUs."""


SQUARES = ("2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")

TPU_TYPES = (
    TpuType(
        name="tpu-v5e",
        selector="tpu-v5-lite-podslice",
        machine="ct5lp-hightpu-4t",
        chips_per_machine=4,
        cpu=32,
        memory_gib=100,
        topologies=SQUARES,
    ),
    TpuType(
        name="tpu-v6e",
        selector="tpu-v6e-slice",
        machine="ct6e-standard-4t",
        chips_per_machine=4,
        cpu=32,
        memory_gib=100,
        topologies=SQUARES,
    ),
)

GPU_TYPES = (
    GpuType(
        name="gpu-l4",
        selector="nvidia-l4",
        machines=(
            ("g2-standard-8", 1),
            ("g2-standard-24", 2),
            ("g2-standard-48", 4),
            ("g2-standard-96", 8),
        ),
    ),
    GpuType(name="gpu-h100", selector="nvidia-h100-80gb", machines=(("a3-highgpu-8g", 8),)),
    GpuType(name="gpu-h200", selector="nvidia-h200-141gb", machines=(("a3-ultragpu-8g", 8),)),
)


def slices_of(tpu: TpuType) -> tuple[Slice, ...]:
    """Every slice that a type is sold in, the smallest first."""
    return tuple(Slice(tpu=tpu, topology=topology) for topology in tpu.topologies)
