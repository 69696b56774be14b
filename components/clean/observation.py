"""What the clean step sees that decides what comes out: the parser of the Python that runs."""

import platform
import sys
from typing import Any

from components.artifacts.errors import ConfigError
from components.clean.config import CleanConfig


def observe(config: CleanConfig) -> dict[str, Any]:
    """The parser's implementation and version, where syntax is checked.

    Raises:
        ConfigError: the parser is older than the version that documents must parse as.
    """
    if not config.syntax_version:
        return {}
    minor = int(config.syntax_version.partition(".")[2])
    if minor > sys.version_info.minor:
        raise ConfigError(
            f"expected syntax_version at most 3.{sys.version_info.minor}, the Python that runs, "
            f"got {config.syntax_version!r} in CleanConfig: lower it or run with a newer Python"
        )
    return {"parser": f"{platform.python_implementation()} {platform.python_version()}"}
