"""Models in torch around random weights or given ones."""

from collections.abc import Mapping

import torch
from torch import Tensor

from components.model.config import InitializationConfig, ModelConfig
from components.model.neo import GptNeo
from components.model.tensors import Tensors, initial_tensors


def initialize(
    config: ModelConfig, seed: int, initialization: InitializationConfig | None = None
) -> GptNeo:
    """Make a model with random weights, those of `initial_tensors`.

    Args:
        config: the shape; `vocabulary_size` is set.
        seed: any integer from 0.
        initialization: how the weights are drawn; by default as GPT-Neo's are.
    """
    return model_of_arrays(config, initial_tensors(config, seed, initialization))


def model_of_arrays(config: ModelConfig, tensors: Tensors) -> GptNeo:
    """A model around numpy arrays by name; no weights are drawn or copied."""
    return model_of(config, {name: torch.from_numpy(array) for name, array in tensors.items()})


def model_of(config: ModelConfig, state: Mapping[str, Tensor]) -> GptNeo:
    """A model around tensors by name; no weights are drawn or copied."""
    with torch.device("meta"):
        model = GptNeo(config)
    model.load_state_dict(state, strict=True, assign=True)
    return model
