"""Random weights, the same on every machine for a seed and a shape."""

import zlib

import numpy as np
import torch
from torch import Tensor

from components.model.config import InitializationConfig, ModelConfig
from components.model.names import (
    OUTPUT_PROJECTIONS,
    QUERY,
    is_decayed,
    is_layer_norm_weight,
    tensor_shapes,
)
from components.model.neo import GptNeo


def initialize(
    config: ModelConfig, seed: int, initialization: InitializationConfig | None = None
) -> GptNeo:
    """Make a model with random weights.

    Each tensor has a random stream of its own, named by the seed and the tensor's name: a model
    with a layer more starts with the same weights in the layers that it shares.

    Args:
        config: the shape; `vocabulary_size` is set.
        seed: any integer from 0.
        initialization: how the weights are drawn; by default as GPT-Neo's are.
    """
    how = initialization or InitializationConfig()
    state = {
        name: _initial(name, shape, config, seed, how)
        for name, shape in tensor_shapes(config).items()
    }
    return model_of(config, state)


def model_of(config: ModelConfig, state: dict[str, Tensor]) -> GptNeo:
    """A model around tensors by name; no weights are drawn or copied."""
    with torch.device("meta"):
        model = GptNeo(config)
    model.load_state_dict(state, strict=True, assign=True)
    return model


def _initial(
    name: str,
    shape: tuple[int, ...],
    config: ModelConfig,
    seed: int,
    how: InitializationConfig,
) -> Tensor:
    if not is_decayed(name):
        return torch.full(shape, 1.0 if is_layer_norm_weight(name) else 0.0)
    deviation = how.standard_deviation
    if name.endswith(OUTPUT_PROJECTIONS):
        factors = {"normal": 1.0, "scaled": (2 * config.num_layers) ** -0.5, "zero": 0.0}
        deviation *= factors[how.output_projections]
    if name.endswith(QUERY) and how.scale_queries:
        deviation *= config.head_size**-0.5
    stream = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(name.encode())]))
    values = stream.standard_normal(shape, dtype=np.float32) * np.float32(deviation)
    return torch.from_numpy(values)
