"""The models that write: the trained one, and the same architecture as it was before training."""

import functools
from pathlib import Path

import torch

from components.artifacts.artifact import Artifact
from components.artifacts.errors import ArtifactError
from components.model.config import InitializationConfig, ModelConfig
from components.model.folder import CONFIG_NAME, WEIGHTS_NAME, read_config, read_folder
from components.model.initialization import initialize
from components.model.neo import GptNeo
from components.model.text import TextCodec

MODEL = "model"


def model_config(artifact: Artifact) -> ModelConfig:
    """The shape of an artifact's model; its weights are not read."""
    path = _checked_path(artifact, CONFIG_NAME)
    return read_config(path.read_bytes(), artifact.storage.uri)


def load_codec(artifact: Artifact) -> TextCodec:
    """The tokenizer that lies in a model's folder."""
    return TextCodec.from_artifact(artifact)


def load_model(artifact: Artifact, author: str) -> GptNeo:
    """The model of an author; the last ones asked for are kept in this process.

    One thread each: batches run in processes, and a matrix product cut up for threads adds its
    numbers in another order, so the samples would depend on the number of threads.

    Args:
        artifact: the trained model.
        author: trained, or untrained: fresh weights of the training's own seed.
    """
    torch.set_num_threads(1)
    return _load(_Source(artifact, artifact.storage.uri, artifact.manifest.digest), author)


class _Source:
    """An artifact that hashes by where and what it is."""

    def __init__(self, artifact: Artifact, uri: str, digest: str) -> None:
        self.artifact = artifact
        self.name = (uri, digest)

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Source) and self.name == other.name


@functools.lru_cache(maxsize=2)
def _load(source: _Source, author: str) -> GptNeo:
    artifact = source.artifact
    if author == "untrained":
        return _untrained(artifact)
    _checked_path(artifact, CONFIG_NAME)
    return read_folder(_checked_path(artifact, WEIGHTS_NAME).parent).eval()


def _untrained(artifact: Artifact) -> GptNeo:
    """Fresh weights, drawn as the training drew its own."""
    training = artifact.manifest.config.get("config", {})
    how = training.get("initialization")
    return initialize(
        model_config(artifact),
        int(training.get("seed", 0)),
        None if how is None else InitializationConfig.from_json(how),
    ).eval()


def _checked_path(artifact: Artifact, name: str) -> Path:
    """A path to one file of the model, checked against the manifest.

    Raises:
        ArtifactError: the artifact holds no such file.
    """
    for entry in artifact.part(MODEL):
        if entry.name.rsplit("/", 1)[-1] == name:
            return artifact.path(entry)
    raise ArtifactError(
        f"expected a file {name!r} in the model of {artifact.storage.uri}, got none: "
        "give the output of training"
    )
