"""The model before the first step: random, or imported; with rows for every token there is."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from components.artifacts.artifact import Artifact
from components.artifacts.errors import ArtifactError, ConfigError
from components.artifacts.tokens import MAX_VOCABULARY
from components.model.config import ModelConfig
from components.model.exchange import read_tensors
from components.model.extension import Extension, grow_vocabulary
from components.model.tensors import Tensors, initial_tensors
from components.training.config import TrainingConfig

EXTENSION_NAME = "tokenizer/extension.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """What training knows of the tokens' vocabulary."""

    size: int
    """Ids that occur, or may."""

    eos_id: int
    extension: Extension | None


def read_vocabulary(tokens: Artifact, tokenizer: Artifact) -> Vocabulary:
    """The vocabulary of token shards.

    Raises:
        ArtifactError: the shards were made with another tokenizer.
    """
    entries = tokens.part("training_index")
    if not entries:
        raise ArtifactError(
            f"expected training tokens in {tokens.storage.uri}, got none: crawl more"
        )
    index = json.loads(tokens.read(entries[0]))
    if index["tokenizer_digest"] != tokenizer.manifest.digest:
        raise ArtifactError(
            f"expected tokens of the tokenizer {tokenizer.manifest.digest[:16]} in "
            f"{tokenizer.storage.uri}, got tokens of {index['tokenizer_digest'][:16]!r} in "
            f"{tokens.storage.uri}: give the tokenizer that the tokens were packed with"
        )
    if index["vocabulary_size"] > MAX_VOCABULARY:
        raise ArtifactError(
            f"expected a vocabulary of at most {MAX_VOCABULARY}, got {index['vocabulary_size']} in "
            f"{tokens.storage.uri}: ids over 65,535 do not fit token shards, take a smaller one"
        )
    names = {entry.name: entry for entry in tokenizer.part("tokenizer")}
    extension = None
    if EXTENSION_NAME in names:
        data = tokenizer.read(names[EXTENSION_NAME])
        extension = Extension.from_bytes(data, tokenizer.storage.uri)
    return Vocabulary(size=index["vocabulary_size"], eos_id=index["eos_id"], extension=extension)


def starting_weights(config: TrainingConfig, vocabulary: Vocabulary) -> tuple[ModelConfig, Tensors]:
    """Shape and weights before the first step.

    Raises:
        ConfigError: the vocabulary is larger than the embedding, or the pretrained model has
            another shape.
    """
    wanted = config.model.vocabulary_size or vocabulary.size
    if vocabulary.size > wanted:
        raise ConfigError(
            f"expected model.vocabulary_size of at least {vocabulary.size}, the tokenizer's, got "
            f"{wanted} in TrainingConfig: raise it, or give 0 to take the tokenizer's"
        )
    if config.pretrained_folder:
        shape, tensors = _pretrained(config, vocabulary, wanted)
    else:
        shape = dataclasses.replace(config.model, vocabulary_size=wanted)
        tensors = initial_tensors(shape, config.seed, config.initialization)
    if vocabulary.extension and vocabulary.extension.new_token_ids:
        shape, tensors = grow_vocabulary(shape, tensors, wanted, vocabulary.extension)
    return shape, tensors


def _pretrained(
    config: TrainingConfig, vocabulary: Vocabulary, wanted: int
) -> tuple[ModelConfig, Tensors]:
    """The model of the folder, if it fits."""
    found, tensors = read_weights(config, Path(config.pretrained_folder))
    held, shape = found.to_json(), config.model.to_json()
    extension = vocabulary.extension
    grows = extension is not None and len(extension.new_token_ids) > 0
    rows = extension.base_vocabulary_size if extension and grows else wanted
    shape["vocabulary_size"] = rows
    if held["vocabulary_size"] == wanted:
        shape["vocabulary_size"] = wanted
    for name, value in shape.items():
        if held[name] != value:
            raise ConfigError(
                f"expected model.{name} {held[name]}, as in pretrained_folder "
                f"{config.pretrained_folder!r}, got {value} in TrainingConfig: set it so, or give "
                "another folder"
            )
    return found, tensors


def read_weights(config: TrainingConfig, folder: Path) -> tuple[ModelConfig, Tensors]:
    """Shape and weights of a folder; torch reads bfloat16 too, which numpy does not know."""
    if config.backend == "jax":
        return read_tensors(folder)
    from components.model.folder import arrays_of, read_folder

    model = read_folder(folder)
    return model.config, arrays_of(model)
