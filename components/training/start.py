"""The model before the first step: random, or imported; with rows for every token there is."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from components.artifacts.artifact import Artifact
from components.artifacts.errors import ArtifactError, ConfigError
from components.model.extension import Extension, grow_vocabulary
from components.model.folder import read_folder
from components.model.initialization import initialize
from components.model.neo import GptNeo
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
    names = {entry.name: entry for entry in tokenizer.part("tokenizer")}
    extension = None
    if EXTENSION_NAME in names:
        data = tokenizer.read(names[EXTENSION_NAME])
        extension = Extension.from_bytes(data, tokenizer.storage.uri)
    return Vocabulary(size=index["vocabulary_size"], eos_id=index["eos_id"], extension=extension)


def starting_model(config: TrainingConfig, vocabulary: Vocabulary) -> GptNeo:
    """The model before the first step.

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
        model = _pretrained(config, vocabulary, wanted)
    else:
        shape = dataclasses.replace(config.model, vocabulary_size=wanted)
        model = initialize(shape, config.seed, config.initialization)
    if vocabulary.extension and vocabulary.extension.new_token_ids:
        model = grow_vocabulary(model, wanted, vocabulary.extension)
    return model


def _pretrained(config: TrainingConfig, vocabulary: Vocabulary, wanted: int) -> GptNeo:
    """The model of the folder, if it fits."""
    model = read_folder(Path(config.pretrained_folder))
    held, shape = model.config.to_json(), config.model.to_json()
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
    return model
