"""Random weights in numpy, the same on every machine and in every framework."""

import zlib

import numpy as np
import numpy.typing as npt

from components.model.config import InitializationConfig, ModelConfig
from components.model.names import (
    OUTPUT_PROJECTIONS,
    QUERY,
    is_decayed,
    is_layer_norm_weight,
    tensor_shapes,
)

Array = npt.NDArray[np.float32]
Tensors = dict[str, Array]
"""Weights by their name in transformers, float32."""


def initial_tensors(
    config: ModelConfig, seed: int, initialization: InitializationConfig | None = None
) -> Tensors:
    """Draw the weights of a model.

    Each tensor has a random stream of its own, named by the seed and the tensor's name: a model
    with a layer more starts with the same weights in the layers that it shares.

    Args:
        config: the shape; `vocabulary_size` is set.
        seed: any integer from 0.
        initialization: how the weights are drawn; by default as GPT-Neo's are.
    """
    how = initialization or InitializationConfig()
    return {
        name: _initial(name, shape, config, seed, how)
        for name, shape in tensor_shapes(config).items()
    }


def _initial(
    name: str,
    shape: tuple[int, ...],
    config: ModelConfig,
    seed: int,
    how: InitializationConfig,
) -> Array:
    if not is_decayed(name):
        return np.full(shape, 1.0 if is_layer_norm_weight(name) else 0.0, dtype=np.float32)
    deviation = how.standard_deviation
    if name.endswith(OUTPUT_PROJECTIONS):
        factors = {"normal": 1.0, "scaled": (2 * config.num_layers) ** -0.5, "zero": 0.0}
        deviation *= factors[how.output_projections]
    if name.endswith(QUERY) and how.scale_queries:
        deviation *= config.head_size**-0.5
    stream = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(name.encode())]))
    return stream.standard_normal(shape, dtype=np.float32) * np.float32(deviation)
