"""The models that write: the one that is given, and the same architecture before its training."""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from components.artifacts.artifact import Artifact
from components.artifacts.errors import ArtifactError
from components.generation.arithmetic import Arithmetic
from components.generation.sampling import SampledModel, open_model, sample_neo
from components.model.config import InitializationConfig
from components.model.folder import CONFIG_NAME, read_config
from components.model.initialization import initialize
from components.model.neo import GptNeo
from components.model.text import TextCodec

MODEL = "model"

MODEL_SUFFIXES = frozenset({".json", ".safetensors", ".model", ".txt"})
"""What of a folder can decide its samples."""


@dataclass(frozen=True)
class ModelSource:
    """Where a model lies, and what names its content. Picklable: worker processes open it."""

    folder: str
    digest: str
    artifact: Artifact | None = None
    """Checked file by file where there is one."""

    @classmethod
    def of_artifact(cls, artifact: Artifact) -> "ModelSource":
        """The model that training made."""
        path = _checked_path(artifact, CONFIG_NAME)
        return cls(str(path.parent), artifact.manifest.digest, artifact)

    @classmethod
    def of_folder(cls, folder: Path) -> "ModelSource":
        """Any model's folder; its digest covers the files that decide what the model writes."""
        total = hashlib.sha256()
        for path in sorted(folder.iterdir()):
            if path.suffix in MODEL_SUFFIXES and path.is_file():
                with path.open("rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
                total.update(f"{path.name}\0{content}\n".encode())
        return cls(str(folder), total.hexdigest())

    def __hash__(self) -> int:
        return hash((self.folder, self.digest))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModelSource) and (
            (self.folder, self.digest) == (other.folder, other.digest)
        )


def load_model(source: ModelSource, author: str, arithmetic: Arithmetic) -> SampledModel:
    """The model of an author; the last ones asked for are kept in this process.

    One thread each: batches run in processes, and a matrix product cut up for threads adds its
    numbers in another order, so the samples would depend on the number of threads.

    Args:
        source: the trained model.
        author: trained, or untrained: fresh weights of the training's own seed.
        arithmetic: where it computes.
    """
    torch.set_num_threads(1)
    return _load(source, author, arithmetic)


@functools.lru_cache(maxsize=2)
def _load(source: ModelSource, author: str, arithmetic: Arithmetic) -> SampledModel:
    if source.artifact is not None:
        for entry in source.artifact.part(MODEL):
            source.artifact.path(entry)
    if author == "untrained":
        return _untrained(source, arithmetic)
    return open_model(Path(source.folder), arithmetic)


def _untrained(source: ModelSource, arithmetic: Arithmetic) -> SampledModel:
    """Fresh weights, drawn as the training drew its own."""
    assert source.artifact is not None, "only a model of ours says how it began"
    training: dict[str, Any] = dict(source.artifact.manifest.config.get("config", {}))
    how = training.get("initialization")
    shape = read_config((Path(source.folder) / CONFIG_NAME).read_bytes(), source.folder)
    initialization = None if how is None else InitializationConfig.from_json(how)
    seed = int(training.get("seed", 0))
    codec = TextCodec.from_artifact(source.artifact)

    def draw() -> GptNeo:
        return initialize(shape, seed, initialization)

    return sample_neo(draw, shape, codec, source.folder, arithmetic)


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
