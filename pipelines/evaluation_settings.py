"""What an evaluation was made with: for `settings.json`, and for the end of its report."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from components.artifacts.artifact import Artifact
from components.scoring.page import html_table

END = "\n</body></html>"

ABOUT_CONTINUATIONS = (
    "num_continuations",
    "prefix_tokens",
    "continuation_tokens",
    "continuation_temperature",
)
"""Fields of generation that do nothing here: no held-out code is continued."""

Settings = Mapping[str, Any]


def read_settings(source: str, samples: Artifact, verdicts: Artifact, scores: Artifact) -> Settings:
    """The settings of an evaluation, from the artifacts that it made.

    Args:
        source: the model or samples file, as it was given.
        samples: of generation, or imported from a file; of the latter nothing is known of how they
            were drawn, and `generation` is missing.
        verdicts: of the sandbox.
        scores: of scoring.
    """
    settings: dict[str, Any] = {
        "codekiln": version("codekiln"),
        "source": source,
        "isolation_level": int(verdicts.manifest.measures["isolation_level"]),
        "benchmark_sha256": verdicts.manifest.config["observed"]["benchmarks"],
        "digests": {
            "samples": samples.manifest.digest,
            "verdicts": verdicts.manifest.digest,
            "scores": scores.manifest.digest,
        },
        "sandbox": verdicts.manifest.config["config"],
        "scoring": scores.manifest.config["config"],
    }
    manifest = samples.manifest
    if manifest.step == "generation":
        generation = {
            name: value
            for name, value in manifest.config["config"].items()
            if name not in ABOUT_CONTINUATIONS
        }
        settings["generation"] = {
            **generation,
            **manifest.config["observed"]["arithmetic"],
            "largest_max_new_tokens": int(manifest.measures.get("max_new_tokens", 0)),
        }
        settings["digests"]["model"] = manifest.parents["model"].digest
    return settings


def add_settings(page: str, settings: Settings) -> str:
    """The page of the scores with a table of the settings at its end."""
    assert page.count(END) == 1
    table = html_table(("setting", "value"), rows_of(settings))
    return page.replace(END, f'\n<h2>Settings</h2>\n<div class="settings">{table}</div>{END}')


def rows_of(settings: Settings, prefix: str = "") -> list[tuple[str, str]]:
    """A row for each value, named `generation.seed`."""
    rows: list[tuple[str, str]] = []
    for name, value in sorted(settings.items()):
        if isinstance(value, Mapping):
            rows += rows_of(value, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, value if isinstance(value, str) else json.dumps(value)))
    return rows
