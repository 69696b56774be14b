"""The processes of a launch in torch: how they find each other, and who holds which weights."""

import atexit
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from components.artifacts.errors import ConfigError
from components.model.neo import GptNeo
from components.training.launch import Launch

GPU_DEVICE = Path("/dev/nvidiactl")
"""What a machine, or a pod that was given a GPU, has of NVIDIA's kernel driver."""


class TorchGroup:
    """The processes that `torchrun` started; they are joined when this is made."""

    def __init__(self, launch: Launch, device: torch.device) -> None:
        self.rank = launch.rank
        self.local_rank = launch.local_rank
        self.size = launch.size
        if not dist.is_initialized():
            if device.type == "cuda":
                torch.cuda.set_device(device)
            dist.init_process_group(
                "nccl" if device.type == "cuda" else "gloo",
                init_method=f"tcp://{launch.coordinator}",
                rank=launch.rank,
                world_size=launch.size,
            )
            # Gloo's threads abort a process that ends with them: now and then, with SIGABRT.
            atexit.register(_leave)

    def gather(self, value: Any) -> list[Any]:
        """The JSON values of all processes, in the order of their ranks."""
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values


def _leave() -> None:
    """End the connections to the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def training_device(launch: Launch) -> torch.device:
    """The GPU of this process, or the processor where there is none.

    Raises:
        ConfigError: there is a GPU, and torch, built for it, does not find its driver.
    """
    if not torch.cuda.is_available():
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
        if torch.version.cuda and GPU_DEVICE.exists() and not hidden:
            raise ConfigError(
                f"expected torch to find the GPU of this machine ({GPU_DEVICE}), got none: see "
                f"that its driver serves CUDA {torch.version.cuda} and that LD_LIBRARY_PATH names "
                "its folder; with CUDA_VISIBLE_DEVICES empty the processor trains"
            )
        return torch.device("cpu")
    # cuBLAS gives equal sums in every run only with workspaces of a fixed size.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return torch.device("cuda", launch.local_rank)


def spread(module: nn.Module, model: GptNeo, launch: Launch, device: torch.device) -> nn.Module:
    """Put a module on the devices of a launch: copies of it (DDP), or shares of it (FSDP2).

    Args:
        module: holds the model, and is what the caller calls.
        model: the model inside.
        launch: where this process is.
        device: of this process.

    Raises:
        ConfigError: the devices do not divide.
    """
    copies, shares = launch.mesh(launch.size)
    if launch.size == 1:
        return module
    if shares == 1:
        places = [device.index] if device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=places)
    mesh = _mesh(device, copies, shares)
    for block in model.transformer.h:
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)
    return module


def _mesh(device: torch.device, copies: int, shares: int) -> DeviceMesh:
    if copies == 1:
        return init_device_mesh(device.type, (shares,), mesh_dim_names=("fsdp",))
    return init_device_mesh(device.type, (copies, shares), mesh_dim_names=("data", "fsdp"))


@contextlib.contextmanager
def gradients_shared(module: nn.Module, *, share: bool) -> Iterator[None]:
    """Whether the backward pass inside sums the gradients over the processes."""
    if isinstance(module, DistributedDataParallel) and not share:
        with module.no_sync():
            yield
        return
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(share)
    yield
