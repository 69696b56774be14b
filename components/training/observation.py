"""What training sees of its surroundings that decides what comes out: the pretrained weights."""

import hashlib
from pathlib import Path
from typing import Any

from components.artifacts.errors import ConfigError
from components.training.config import TrainingConfig

PRETRAINED_FILES = ("config.json", "model.safetensors")


def observe(config: TrainingConfig) -> dict[str, Any]:
    """The hashes of the pretrained model's files; empty for random weights.

    Raises:
        ConfigError: a file is missing.
    """
    if not config.pretrained_folder:
        return {}
    return {name: _sha256(Path(config.pretrained_folder) / name) for name in PRETRAINED_FILES}


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(
            f"expected a Hugging Face folder with {path.name!r}, got pretrained_folder "
            f"{str(path.parent)!r} ({error.strerror}): give such a folder, or leave it empty to "
            "start from random weights"
        ) from None
