"""What a backend does for the loop: updates, predictions, its state. Two keep it, torch and JAX."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from components.artifacts.errors import MissingExtraError, StepFailedError
from components.model.config import ModelConfig
from components.model.tensors import Tensors
from components.training.blocks import Batch, Tokens
from components.training.config import TrainingConfig
from components.training.launch import Group

Nats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Update:
    """What one update tells."""

    loss: float
    """Mean nats of the learned tokens, over all processes, before the update."""

    gradient_norm: float | None
    """Euclidean norm of all gradients, before clipping; None where it was not asked for."""


class Learner(Protocol):
    """A model, its optimizer, and the devices they are on."""

    @property
    def group(self) -> Group:
        """The processes that train together."""

    @property
    def device_name(self) -> str:
        """What kind of device computes, as its maker calls it."""

    @property
    def num_devices(self) -> int:
        """How many devices compute, over all processes."""

    def gradients(self, passes: Sequence[Batch]) -> float:
        """Average the gradients of an update's passes, over all processes; the mean loss."""

    def update(self, factor: float, *, measure: bool) -> float | None:
        """Apply the gradients and forget them.

        Args:
            factor: of the learning rates.
            measure: whether to say the gradients' norm, before clipping.
        """

    def predict(self, inputs: Tokens, targets: Tokens) -> Nats:
        """The nats of each target, [R * T] for [R, T], in float32 and without gradients."""

    def is_finite(self) -> bool:
        """Whether all weights are numbers."""

    def write(self, folder: Path) -> None:
        """Write this process' part of weights and optimizer."""

    def read(self, folder: Path) -> None:
        """Go on from what was written, by any number of processes."""

    def tensors(self) -> Tensors:
        """The whole weights by name; every process gets them."""

    def peak_memory_bytes(self) -> int:
        """The most memory that was held on a device of this process."""


def make_learner(config: TrainingConfig, shape: ModelConfig, tensors: Tensors) -> Learner:
    """The learner of a config's backend.

    Args:
        config: says the backend and the optimizer.
        shape: of the model.
        tensors: the weights to start from.

    Raises:
        MissingExtraError: the backend is not installed.
    """
    try:
        if config.backend == "jax":
            from components.training.jax_learner import JaxLearner

            return JaxLearner(config, shape, tensors)
        from components.training.torch_learner import TorchLearner

        return TorchLearner(config, shape, tensors)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"training on {config.backend} needs the package {error.name!r}, which is not "
            f"installed: pip install 'codekiln[{config.backend}]'"
        ) from error


def out_of_memory(config: TrainingConfig, error: Exception) -> StepFailedError:
    """The error for a device whose memory is too small."""
    what = str(error).strip().splitlines()[0][:160] if str(error) else type(error).__name__
    return StepFailedError(
        f"expected a batch_size of {config.batch_size} blocks to fit the memory of the devices, it "
        f"does not ({what}): halve batch_size and double gradient_accumulation, or share the "
        "weights over more devices"
    )
