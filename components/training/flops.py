"""How much of a device's arithmetic a run uses: model FLOPs per second over the device's peak.

Shapes: D hidden size, T tokens of a block, W window, V vocabulary.
"""

from components.model.config import ModelConfig
from components.model.names import attention_kinds

PEAK_FLOPS = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L4": 121e12,
    "L40": 181e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5p": 459e12,
    "TPU v5": 459e12,
    "TPU v6": 918e12,
}
"""Dense bfloat16 FLOP/s of a chip, from the makers' data sheets, by a part of its name."""


def flops_per_token(shape: ModelConfig, tokens: int) -> float:
    """FLOPs of forward and backward pass for one token of a block.

    Six for each weight that is multiplied with (blocks and output layer), and for attention twelve
    for each pair of query and key and each of D: a query of a global layer sees (T + 1) / 2 keys on
    average, of a local one at most W (Kaplan et al. 2020; PaLM's MFU counts T keys).
    """
    matrices = 12 * shape.num_layers * shape.hidden_size**2
    head = shape.vocabulary_size * shape.hidden_size
    pairs = sum(
        seen_keys(tokens, shape.window if kind == "local" else tokens)
        for kind in attention_kinds(shape.num_layers)
    )
    return 6.0 * (matrices + head) + 12.0 * shape.hidden_size * pairs


def seen_keys(tokens: int, window: int) -> float:
    """Keys that a query sees on average over a block, itself included."""
    near = min(window, tokens)
    return (near * (near + 1) / 2 + (tokens - near) * near) / tokens


def peak_flops(device_name: str) -> float | None:
    """The device's peak; None for processors and devices that are not in the table."""
    named = sorted(PEAK_FLOPS, key=len, reverse=True)
    return next((PEAK_FLOPS[name] for name in named if name in device_name), None)


def model_flops_utilisation(
    shape: ModelConfig, tokens: int, tokens_per_second: float, device_name: str, num_devices: int
) -> float | None:
    """MFU, 0 to 1, over all devices; None where the peak is not known."""
    peak = peak_flops(device_name)
    if peak is None:
        return None
    return flops_per_token(shape, tokens) * tokens_per_second / (peak * num_devices)
