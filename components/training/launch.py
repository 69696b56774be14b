"""The launch contract: what a training process is told of its place among others.

    torchrun     RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT
    JAX          JAX_PROCESS_ID, JAX_NUM_PROCESSES, JAX_COORDINATOR_ADDRESS (host:port)
    codekiln     CODEKILN_FSDP   devices that share one copy of the weights
                 CODEKILN_KEY    the key that the launcher expects: another config is refused
                 CODEKILN_TENSORBOARD, CODEKILN_WANDB_PROJECT   where records go besides

Data root, config and inputs come by the command, the same in every process. What a launch leaves:
the artifact under its key in the data root, its manifest written last by rank 0; the exit code 0,
or 143 after SIGTERM with a checkpoint to go on from, or 1 or 2 with the error in one line.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from components.artifacts.errors import ConfigError

Value = TypeVar("Value")

PLACES = {
    "torch": ("RANK", "WORLD_SIZE"),
    "jax": ("JAX_PROCESS_ID", "JAX_NUM_PROCESSES"),
}
FSDP_VARIABLE = "CODEKILN_FSDP"
COORDINATOR_VARIABLE = "JAX_COORDINATOR_ADDRESS"


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """The place of one process."""

    rank: int = 0
    size: int = 1
    """Processes that train together."""

    local_rank: int = 0
    """Among the processes of one machine: the number of its GPU."""

    coordinator: str = ""
    """host:port of the process that the others find each other at; empty for a single process."""

    fsdp: int = 1
    """Devices that share one copy of weights and optimizer; the batch is split over all devices."""

    @classmethod
    def read(
        cls, backend: Literal["torch", "jax"], variables: Mapping[str, str] | None = None
    ) -> "Launch":
        """Read the environment.

        Raises:
            ConfigError: a variable is no number, or they do not go together.
        """
        held = os.environ if variables is None else variables
        rank_name, size_name = PLACES[backend]
        rank, size = _number(held, rank_name, 0), _number(held, size_name, 1)
        if not 0 <= rank < size:
            raise ConfigError(
                f"expected {rank_name} below {size_name}, got {rank} and {size}: start the "
                "processes with torchrun, or as a TrainJob"
            )
        coordinator = held.get(COORDINATOR_VARIABLE, "")
        if backend == "torch":
            coordinator = f"{held.get('MASTER_ADDR', '')}:{held.get('MASTER_PORT', '')}"
        if size > 1 and len(coordinator.strip(":").split(":")) < 2:
            raise ConfigError(
                f"expected host:port of the first process in {size} processes, got "
                f"{coordinator!r}: set {COORDINATOR_VARIABLE}, or MASTER_ADDR and MASTER_PORT"
            )
        fsdp = _number(held, FSDP_VARIABLE, 1)
        local = _number(held, "LOCAL_RANK", 0)
        return cls(
            rank=rank,
            size=size,
            local_rank=local,
            coordinator=coordinator if size > 1 else "",
            fsdp=fsdp,
        )

    def mesh(self, num_devices: int) -> tuple[int, int]:
        """Copies of the weights, and devices that share each copy.

        Raises:
            ConfigError: the devices do not divide.
        """
        if self.fsdp < 1 or num_devices % self.fsdp:
            raise ConfigError(
                f"expected {FSDP_VARIABLE} to divide the {num_devices} devices, got {self.fsdp}: "
                "take a divisor, or other machines"
            )
        return num_devices // self.fsdp, self.fsdp


def check_batch(batch_size: int, num_devices: int) -> None:
    """Refuse a batch that devices cannot share evenly.

    Raises:
        ConfigError: it does not divide.
    """
    if batch_size % num_devices:
        raise ConfigError(
            f"expected batch_size to be a multiple of the {num_devices} devices, got {batch_size} "
            "in TrainingConfig: change it and gradient_accumulation, or take other machines"
        )


class Group(Protocol):
    """The processes that train together."""

    @property
    def rank(self) -> int:
        """Of this process, from 0."""

    @property
    def local_rank(self) -> int:
        """Of this process among those of its machine."""

    @property
    def size(self) -> int:
        """How many there are."""

    def gather(self, value: Any) -> list[Any]:
        """The JSON values of all processes, by rank; all wait for each other."""


class Alone:
    """A single process."""

    rank = local_rank = 0
    size = 1

    def gather(self, value: Value) -> list[Value]:
        """The own value."""
        return [value]


def _number(variables: Mapping[str, str], name: str, default: int) -> int:
    text = variables.get(name) or str(default)
    try:
        return int(text)
    except ValueError:
        raise ConfigError(
            f"expected a whole number in the variable {name}, got {text!r}: unset it, or start "
            "the processes with torchrun or as a TrainJob"
        ) from None
