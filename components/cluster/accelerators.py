"""The table of hardware that training runs on, by the names of `Execution.accelerator`.

What a node is called on Google Kubernetes Engine, how machines and slices are cut, what a pod asks
for. The sums that keep a job from waiting forever: chips = product of the topology = pods x chips
of a machine. From GKE's pages on TPUs and GPUs, and xpk's `system_characteristics.py` (2026-06);
peaks from the makers' data sheets. Prices are in `pipelines/prices.json`, by the same names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Literal

from components.artifacts.errors import ConfigError

GPU_LABEL = "cloud.google.com/gke-accelerator"
TPU_LABEL = "cloud.google.com/gke-tpu-accelerator"
TOPOLOGY_LABEL = "cloud.google.com/gke-tpu-topology"
GPU_RESOURCE, TPU_RESOURCE = "nvidia.com/gpu", "google.com/tpu"
"""What Kubernetes calls an accelerator; GKE taints its nodes by the same name."""

Backend = Literal["torch", "jax"]

CPU = "cpu"
"""The name of no accelerator in tables; `Execution.accelerator` leaves it empty."""

CPU_CORES, CPU_MEMORY_GIB = 4, 16
"""Of a pod that trains without accelerator, where no number of threads is given."""

CPU_PEAK_FLOPS = 1e11
"""Of a core in float32: two 8-wide fused multiply-adds a cycle at 3 GHz."""


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
    peak_flops: float
    """Of a chip, dense bfloat16."""


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
    """Machine types with their numbers of GPUs, the smallest first."""

    cpu_per_gpu: int
    """Cores that a pod asks for with each GPU; below the machine's share."""

    memory_gib_per_gpu: int
    peak_flops: float
    """Of a GPU, dense bfloat16."""


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
        peak_flops=1.97e14,
    ),
    TpuType(
        name="tpu-v6e",
        selector="tpu-v6e-slice",
        machine="ct6e-standard-4t",
        chips_per_machine=4,
        cpu=32,
        memory_gib=100,
        topologies=SQUARES,
        peak_flops=9.18e14,
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
        cpu_per_gpu=6,
        memory_gib_per_gpu=24,
        peak_flops=1.21e14,
    ),
    GpuType(
        name="gpu-h100",
        selector="nvidia-h100-80gb",
        machines=(("a3-highgpu-8g", 8),),
        cpu_per_gpu=24,
        memory_gib_per_gpu=200,
        peak_flops=9.89e14,
    ),
    GpuType(
        name="gpu-h200",
        selector="nvidia-h200-141gb",
        machines=(("a3-ultragpu-8g", 8),),
        cpu_per_gpu=24,
        memory_gib_per_gpu=200,
        peak_flops=9.89e14,
    ),
)


def slices_of(tpu: TpuType) -> tuple[Slice, ...]:
    """Every slice that a type is sold in, the smallest first."""
    return tuple(Slice(tpu=tpu, topology=topology) for topology in tpu.topologies)


def accelerator_names() -> tuple[str, ...]:
    """Every accelerator of the table."""
    return tuple(one.name for one in (*GPU_TYPES, *TPU_TYPES))


@dataclass(frozen=True, kw_only=True, slots=True)
class Machines:
    """Equal machines that train together, one pod each, and what each pod asks for."""

    num_pods: int = 1
    accelerators_per_pod: int = 0
    """0 on processors."""

    resource: str = ""
    """What Kubernetes calls the accelerator; empty on processors."""

    unit: str
    """What a device is called."""

    peak_flops: float
    """Of one device."""

    node_selector: Mapping[str, str] = field(default_factory=dict)
    cpu: int
    memory_gib: int
    runtime: str
    """The ClusterTrainingRuntime of `k8s/` for them."""

    image: str
    """The image family that trains on them."""

    backend: Backend
    """What that image computes with."""

    @property
    def num_accelerators(self) -> int:
        """Over all pods."""
        return self.num_pods * self.accelerators_per_pod

    @property
    def num_devices(self) -> int:
        """Accelerators, or cores where there is none."""
        return self.num_accelerators or self.cpu


def machines_of(accelerator: str, count: int = 0, threads: int = 0) -> Machines:
    """The machines of a number of accelerators.

    Args:
        accelerator: a name of the table; empty for processors.
        count: GPUs or TPU chips in all; 0 takes one machine's, the smallest.
        threads: cores of the pod where there is no accelerator; 0 takes `CPU_CORES`.

    Raises:
        ConfigError: no machines have that number, or the name is not known.
    """
    for tpu in TPU_TYPES:
        if tpu.name == accelerator:
            return _tpu_machines(tpu, count)
    for gpu in GPU_TYPES:
        if gpu.name == accelerator:
            return _gpu_machines(gpu, count)
    if accelerator:
        raise ConfigError(
            f"expected accelerator to be one of {', '.join(accelerator_names())}, or empty for "
            f"processors, got {accelerator!r}"
        )
    if count:
        raise ConfigError(
            f"expected accelerators 0 where no accelerator is named, got {count}: name one of "
            f"{', '.join(accelerator_names())}"
        )
    return Machines(
        unit="core",
        peak_flops=CPU_PEAK_FLOPS,
        cpu=threads or CPU_CORES,
        memory_gib=CPU_MEMORY_GIB,
        runtime="codekiln-cpu",
        image="train-cpu",
        backend="torch",
    )


def _gpu_machines(gpu: GpuType, count: int) -> Machines:
    wanted = count or gpu.machines[0][1]
    largest = gpu.machines[-1][1]
    per_pod = min(wanted, largest)
    if wanted % per_pod:
        raise ConfigError(
            f"expected at most {largest} GPUs or a multiple of {largest} for {gpu.name}, got "
            f"{count}: pods that train together have equally many"
        )
    return Machines(
        num_pods=wanted // per_pod,
        accelerators_per_pod=per_pod,
        resource=GPU_RESOURCE,
        unit="GPU",
        peak_flops=gpu.peak_flops,
        node_selector={GPU_LABEL: gpu.selector},
        cpu=per_pod * gpu.cpu_per_gpu,
        memory_gib=per_pod * gpu.memory_gib_per_gpu,
        runtime="codekiln-torch-gpu",
        image="train-gpu",
        backend="torch",
    )


def _tpu_machines(tpu: TpuType, count: int) -> Machines:
    slices = {part.chips: part for part in slices_of(tpu)}
    part = slices.get(count or tpu.chips_per_machine)
    if part is None:
        raise ConfigError(
            f"expected the chips of a slice of {tpu.name}, one of {', '.join(map(str, slices))}, "
            f"got {count}"
        )
    return Machines(
        num_pods=part.pods,
        accelerators_per_pod=tpu.chips_per_machine,
        resource=TPU_RESOURCE,
        unit="chip",
        peak_flops=tpu.peak_flops,
        node_selector={TPU_LABEL: tpu.selector, TOPOLOGY_LABEL: part.topology},
        cpu=tpu.cpu,
        memory_gib=tpu.memory_gib,
        runtime=part.runtime,
        image="train-tpu",
        backend="jax",
    )
