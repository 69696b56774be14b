"""What a training run holds on each device, and a mesh that fits: worked out, not measured.

Shapes: B blocks of a device in one pass, T tokens, D hidden size, V vocabulary, L layers.
"""

from dataclasses import dataclass

from components.artifacts.errors import ConfigError
from components.model.config import ModelConfig
from components.model.names import count_parameters, is_block_matrix, tensor_shapes
from components.training.config import TrainingConfig

FLOAT32 = 4
LOGITS_BYTES = 3 * 2**29
"""A chunk of the loss on a GPU: logits, probabilities and their narrow copy, 2**27 numbers each."""

RESERVED_SHARE = 0.1
"""Of a device: kernels, workspaces, what the allocator loses."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Bytes on one device."""

    weights: int
    """float32."""

    gradients: int
    optimizer: int
    activations: int
    """Kept for the backward pass of one pass, and the loss."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations


def state_bytes(shape: ModelConfig, optimizer: str) -> tuple[int, int]:
    """Bytes of the weights, and of the optimizer's state, over all devices.

    AdamW keeps two numbers a weight, Muon one for matrices of blocks, Adafactor a row and a column.
    """
    weights = count_parameters(shape) * FLOAT32
    held = 0
    for name, size in tensor_shapes(shape).items():
        numbers = 1
        for length in size:
            numbers *= length
        if optimizer == "adafactor":
            held += sum(size) if len(size) == 2 else numbers
        elif optimizer == "muon" and is_block_matrix(name):
            held += numbers
        else:
            held += 2 * numbers
    return weights, held * FLOAT32


def activation_bytes(shape: ModelConfig, blocks: int, tokens: int, dtype: str) -> int:
    """What one pass of a device keeps: fused attention, no recomputation.

    A layer keeps, in numbers a token: the residual twice (float32), two normed inputs, queries,
    keys, values, the mixed heads (D each), and the feed-forward before and after GELU (4 D each).
    """
    narrow = 2 if dtype == "bfloat16" else FLOAT32
    layer = 2 * FLOAT32 + (2 + 4 + 8) * narrow
    return blocks * tokens * shape.hidden_size * (shape.num_layers * layer + 2 * FLOAT32)


def device_memory(
    config: TrainingConfig, shape: ModelConfig, num_devices: int, fsdp: int
) -> Memory:
    """What each of some devices holds, where `fsdp` of them share one copy of the weights.

    Args:
        config: batch, optimizer and dtype.
        shape: of the model, with its vocabulary.
        num_devices: over all machines.
        fsdp: devices that share one copy.
    """
    weights, optimizer = state_bytes(shape, config.optimizer)
    blocks = -(-config.batch_size // num_devices)
    kept = activation_bytes(shape, blocks, config.model.context_length, config.dtype)
    largest = weights // max(1, shape.num_layers) if fsdp > 1 else 0  # a gathered block
    return Memory(
        weights=weights // fsdp + largest,
        gradients=weights // fsdp,
        optimizer=optimizer // fsdp,
        activations=kept + LOGITS_BYTES,
    )


def smallest_mesh(
    config: TrainingConfig, shape: ModelConfig, num_devices: int, device_bytes: int
) -> tuple[int, int] | None:
    """(copies, devices a copy): the fewest devices that must share the weights; None for no fit.

    Args:
        config: batch, optimizer and dtype.
        shape: of the model, with its vocabulary.
        num_devices: over all machines.
        device_bytes: memory of each.
    """
    for fsdp in range(1, num_devices + 1):
        if num_devices % fsdp == 0:
            needed = device_memory(config, shape, num_devices, fsdp).total
            if needed <= device_bytes * (1 - RESERVED_SHARE):
                return num_devices // fsdp, fsdp
    return None


def check_memory(
    config: TrainingConfig, shape: ModelConfig, num_devices: int, fsdp: int, device_bytes: int
) -> None:
    """Refuse weights, gradients and optimizer that cannot fit, before anything is placed.

    Activations are left to the first pass: they depend on what the compiler keeps.

    Raises:
        ConfigError: they do not fit; the mesh that does is named.
    """
    held = device_memory(config, shape, num_devices, fsdp)
    state = held.weights + held.gradients + held.optimizer
    if state <= device_bytes * (1 - RESERVED_SHARE):
        return
    mesh = smallest_mesh(config, shape, num_devices, device_bytes)
    hint = f"set CODEKILN_FSDP to {mesh[1]}" if mesh else "take more or larger devices"
    raise ConfigError(
        f"expected weights, gradients and optimizer to fit {device_bytes / 1e9:.0f} GB a device, "
        f"got {state / 1e9:.0f} GB with CODEKILN_FSDP {fsdp} on {num_devices}: {hint}, or take "
        "adafactor"
    )
