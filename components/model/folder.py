"""A model in torch as the folder that transformers loads, and back; see `exchange.py`."""

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from components.model.exchange import (
    CONFIG_NAME,
    GENERATION_NAME,
    WEIGHTS_NAME,
    check_shapes,
    read_config,
    read_shape,
    spell_folder,
    unreadable,
)
from components.model.initialization import model_of
from components.model.names import tensor_shapes
from components.model.neo import GptNeo
from components.model.tensors import Tensors

__all__ = [
    "CONFIG_NAME",
    "GENERATION_NAME",
    "WEIGHTS_NAME",
    "arrays_of",
    "export_model",
    "read_config",
    "read_folder",
]


def export_model(model: GptNeo, *, bos_id: int, eos_id: int) -> dict[str, bytes]:
    """Spell a model as the files of its folder, by name.

    Args:
        model: float32 weights.
        bos_id: token that starts a document.
        eos_id: token that ends a document; also pads.
    """
    return spell_folder(model.config, arrays_of(model), bos_id=bos_id, eos_id=eos_id)


def arrays_of(model: GptNeo) -> Tensors:
    """The weights as numpy arrays by name, float32."""
    return {
        name: tensor.detach().float().cpu().contiguous().numpy()
        for name, tensor in model.state_dict().items()
    }


def read_folder(folder: Path) -> GptNeo:
    """Read a GPT-Neo from its folder on this machine; float32.

    Raises:
        ArtifactError: a file is missing, or holds another model than codekiln's GPT-Neo.
    """
    config, path = read_shape(folder)
    try:
        held: Mapping[str, Tensor] = safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise unreadable(path, error) from None
    check_shapes(config, {name: tuple(tensor.shape) for name, tensor in held.items()}, path)
    state = {name: held[name].to(torch.float32) for name in tensor_shapes(config)}
    return model_of(config, state)
