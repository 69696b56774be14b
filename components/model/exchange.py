"""A model's folder in numpy alone: what transformers loads, written and read without torch.

`AutoModelForCausalLM.from_pretrained` reads what is written here; what transformers writes for a
GPT-Neo is read here. The bytes depend on the weights and ids alone. `folder.py` is the same for
models in torch.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from components.artifacts.errors import ArtifactError, CodekilnError
from components.model.config import ModelConfig
from components.model.names import IGNORED_SUFFIXES, attention_kinds, tensor_shapes
from components.model.tensors import Tensors

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
GENERATION_NAME = "generation_config.json"

ADVICE = "give a folder that transformers saved for a GPT-Neo with `safetensors` weights"


def spell_folder(
    config: ModelConfig, tensors: Tensors, *, bos_id: int, eos_id: int
) -> dict[str, bytes]:
    """Spell a model as the files of its folder, by name.

    Args:
        config: the model's shape.
        tensors: its weights, float32.
        bos_id: token that starts a document.
        eos_id: token that ends a document; also pads.
    """
    ids = {"bos_token_id": bos_id, "eos_token_id": eos_id, "pad_token_id": eos_id}
    return {
        CONFIG_NAME: _spell(_config_json(config) | ids),
        GENERATION_NAME: _spell(ids),
        WEIGHTS_NAME: safetensors.numpy.save(
            {name: np.ascontiguousarray(tensors[name]) for name in tensor_shapes(config)},
            metadata={"format": "pt"},
        ),
    }


def read_tensors(folder: Path) -> tuple[ModelConfig, Tensors]:
    """Read shape and weights of a GPT-Neo from its folder on this machine; float32.

    Raises:
        ArtifactError: a file is missing, or holds another model than codekiln's GPT-Neo.
    """
    config, path = read_shape(folder)
    try:
        held: Mapping[str, Any] = safetensors.numpy.load_file(path)
    except safetensors.SafetensorError as error:
        raise unreadable(path, error) from None
    except KeyError as error:
        raise ArtifactError(
            f"expected weights in float32 or float16, got {error} in {path}: save the model in "
            "float32, or train on torch, which reads bfloat16"
        ) from None
    check_shapes(config, {name: array.shape for name, array in held.items()}, path)
    return config, {name: held[name].astype(np.float32) for name in tensor_shapes(config)}


def read_shape(folder: Path) -> tuple[ModelConfig, Path]:
    """The shape of the model in a folder, and the path to its weights.

    Raises:
        ArtifactError: a file is missing, or describes another model than codekiln's GPT-Neo.
    """
    config_path, weights_path = folder / CONFIG_NAME, folder / WEIGHTS_NAME
    for path in (config_path, weights_path):
        if not path.is_file():
            raise ArtifactError(f"expected a file {path.name!r} in {folder}, got none: {ADVICE}")
    return read_config(config_path.read_bytes(), str(folder)), weights_path


def unreadable(path: Path, error: Exception) -> ArtifactError:
    """The error for weights that are no safetensors."""
    return ArtifactError(f"expected safetensors in {path}, got something else ({error}): {ADVICE}")


def check_shapes(config: ModelConfig, held: Mapping[str, Sequence[int]], path: Path) -> None:
    """Refuse weights that are not those which the config describes.

    Raises:
        ArtifactError: a tensor is missing, has another shape, or is not known.
    """
    shapes = tensor_shapes(config)
    wrong = [
        f"{name} {list(shape)}"
        for name, shape in shapes.items()
        if name not in held or tuple(held[name]) != shape
    ]
    wrong += [name for name in held if name not in shapes and not name.endswith(IGNORED_SUFFIXES)]
    if wrong:
        raise ArtifactError(
            f"expected the tensors that {CONFIG_NAME} describes, got others in {path}: "
            f"{len(wrong)} differ, the first is {wrong[0]}: {ADVICE}"
        )


def read_config(data: bytes, where: str) -> ModelConfig:
    """Read the shape of a model from its config.json.

    Args:
        data: the file's bytes.
        where: the folder, for error messages.

    Raises:
        ArtifactError: not a GPT-Neo, or one with features that are not built here.
    """
    try:
        value = json.loads(data)
        found = {
            "model_type": value["model_type"],
            "activation_function": value.get("activation_function", "gelu_new"),
            "intermediate_size": value.get("intermediate_size") or 4 * value["hidden_size"],
            "attention": _expand(value["attention_types"]),
        }
        wanted = {
            "model_type": "gpt_neo",
            "activation_function": "gelu_new",
            "intermediate_size": 4 * value["hidden_size"],
            "attention": list(attention_kinds(value["num_layers"])),
        }
        config = ModelConfig(
            vocabulary_size=value["vocab_size"],
            context_length=value["max_position_embeddings"],
            num_layers=value["num_layers"],
            num_heads=value["num_heads"],
            hidden_size=value["hidden_size"],
            window=value.get("window_size", 256),
            layer_norm_epsilon=value.get("layer_norm_epsilon", 1e-5),
        )
    except CodekilnError as error:
        raise ArtifactError(f"{error} ({CONFIG_NAME} of {where})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"expected a GPT-Neo's {CONFIG_NAME} in {where}, got something else ({error!r}): "
            f"{ADVICE}"
        ) from None
    for name, value in wanted.items():
        if found[name] != value:
            raise ArtifactError(
                f"expected {name} {value!r}, got {found[name]!r} in {CONFIG_NAME} of {where}: "
                f"{ADVICE}"
            )
    return config


def _config_json(config: ModelConfig) -> dict[str, Any]:
    return {
        "activation_function": "gelu_new",
        "architectures": ["GPTNeoForCausalLM"],
        "attention_dropout": 0.0,
        "attention_layers": list(attention_kinds(config.num_layers)),
        "attention_types": _attention_types(config.num_layers),
        "classifier_dropout": 0.0,
        "dtype": "float32",
        "embed_dropout": 0.0,
        "hidden_size": config.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": None,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "max_position_embeddings": config.context_length,
        "model_type": "gpt_neo",
        "num_heads": config.num_heads,
        "num_layers": config.num_layers,
        "resid_dropout": 0.0,
        "tie_word_embeddings": True,
        "use_cache": True,
        "vocab_size": config.vocabulary_size,
        "window_size": config.window,
    }


def _attention_types(num_layers: int) -> list[list[Any]]:
    """The alternation as transformers spells it: patterns and how often each comes."""
    pairs: list[list[Any]] = [[["global", "local"], num_layers // 2]] if num_layers > 1 else []
    return pairs + ([[["global"], 1]] if num_layers % 2 else [])


def _expand(attention_types: Sequence[Sequence[Any]]) -> list[str]:
    return [kind for pattern, times in attention_types for _ in range(times) for kind in pattern]


def _spell(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=2) + "\n").encode()
