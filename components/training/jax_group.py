"""The processes of a launch in JAX, and how weights and batches lie on their devices."""

import json
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from components.model.tree import STACKED
from components.training.launch import Launch

AXES = ("data", "fsdp")
"""Copies of the weights, and devices that share each copy; a batch is split over both."""


class JaxGroup:
    """The processes of a multi-host launch; they are joined when this is made."""

    def __init__(self, launch: Launch) -> None:
        """Join, by explicit arguments: no metadata server is asked.

        Must come before anything that touches a device.
        """
        self.rank = launch.rank
        self.local_rank = launch.local_rank
        self.size = launch.size
        if not jax.distributed.is_initialized():
            jax.distributed.initialize(
                coordinator_address=launch.coordinator,
                num_processes=launch.size,
                process_id=launch.rank,
            )

    def gather(self, value: Any) -> list[Any]:
        """The JSON values of all processes, in the order of their ranks."""
        data = np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)
        lengths = multihost_utils.process_allgather(np.array([len(data)]))
        padded = np.zeros(int(lengths.max()), dtype=np.uint8)
        padded[: len(data)] = data
        rows = np.asarray(multihost_utils.process_allgather(padded))
        return [
            json.loads(bytes(row[: int(length)]))
            for row, length in zip(rows, lengths[:, 0], strict=True)
        ]


def training_mesh(launch: Launch) -> Mesh:
    """The devices of all processes.

    Raises:
        ConfigError: the devices do not divide.
    """
    devices = jax.devices()
    return Mesh(np.array(devices).reshape(launch.mesh(len(devices))), AXES)


def weight_sharding(mesh: Mesh, name: str, shape: tuple[int, ...]) -> NamedSharding:
    """How a tensor lies: its last dimension that the `fsdp` axis divides is cut, never L."""
    size = mesh.shape["fsdp"]
    first = 1 if name.startswith(STACKED) else 0
    for dimension in range(len(shape) - 1, first - 1, -1):
        if size > 1 and shape[dimension] % size == 0:
            places = (*(None for _ in range(dimension)), "fsdp")
            return NamedSharding(mesh, PartitionSpec(*places))
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """How a batch lies: its blocks are split over all devices."""
    return NamedSharding(mesh, PartitionSpec(AXES))


def whole_sharding(mesh: Mesh) -> NamedSharding:
    """How a value lies that every device has."""
    return NamedSharding(mesh, PartitionSpec())
