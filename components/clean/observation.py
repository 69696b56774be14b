"""What the clean step sees that decides what comes out: ruff's parser, and Unicode's tables."""

import subprocess
import unicodedata
from typing import Any

from components.artifacts.errors import ConfigError
from components.clean.config import CleanConfig


def observe(config: CleanConfig) -> dict[str, Any]:
    """Ruff's version where syntax is checked, Unicode's where letters of any script are counted.

    Raises:
        ConfigError: ruff does not know the version that documents must parse as.
    """
    seen: dict[str, Any] = {}
    if config.min_alphanumeric_share:
        seen["unicode"] = unicodedata.unidata_version
    if config.syntax_version:
        seen["parser"] = _parser(config.syntax_version)
    return seen


def _parser(version: str) -> str:
    """Ruff's name and version, as its program says them."""
    from components.clean.syntax import ruff_command

    command = ruff_command(version)
    said = subprocess.run([command[0], "--version"], capture_output=True, text=True, check=True)
    parser = said.stdout.strip()
    trial = subprocess.run([*command, "-"], input="", capture_output=True, text=True, check=False)
    if trial.returncode != 0:
        raise ConfigError(
            f"expected a syntax_version that {parser} knows, got {version!r} in CleanConfig: "
            "lower it, or install a newer ruff"
        )
    return parser
