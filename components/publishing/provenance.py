"""The chain of identities: every artifact behind the model, by what went in and what came out."""

import json
from collections.abc import Mapping
from typing import Any

from components.artifacts.artifact import Draft
from components.artifacts.manifest import Manifest
from components.publishing.facts import Facts, cut_paths
from components.stage.step import STEP_ORDER

SCHEMA = 1


def write_provenance(facts: Facts, training_files: Draft, code_version: str) -> str:
    """Spell provenance.json: indented JSON with sorted keys, no times, hosts or folders.

    Args:
        facts: the run's artifacts.
        training_files: the list of files, named by its digest.
        code_version: of the codekiln that publishes.
    """
    manifests = sorted(
        (facts.manifest(name) for name in facts.inputs),
        key=lambda manifest: (_place(manifest.step), manifest.step),
    )
    value = {
        "schema": SCHEMA,
        "title": facts.config.title,
        "recipe": facts.config.recipe,
        "code_version": code_version,
        "steps": [_describe(manifest) for manifest in manifests],
        "training_files": {
            "name": (training_files.name or "").rpartition("/")[2],
            "rows": training_files.rows,
            "sha256_of_lines": training_files.digest,
        },
        "model_files": {
            entry.name.rpartition("/")[2]: {"bytes": entry.bytes, "sha256": entry.sha256}
            for entry in facts.manifest("model").part("model")
        },
    }
    return json.dumps(value, sort_keys=True, indent=1) + "\n"


def _place(step: str) -> int:
    return STEP_ORDER.index(step) if step in STEP_ORDER else len(STEP_ORDER)


def _describe(manifest: Manifest) -> Mapping[str, Any]:
    """All of a manifest but its list of files."""
    return {
        "step": manifest.step,
        "version": manifest.version,
        "kind": manifest.kind,
        "key": manifest.key,
        "digest": manifest.digest,
        "identity": cut_paths(manifest.config),
        "parents": {name: parent.to_json() for name, parent in manifest.parents.items()},
        "tally": manifest.tally.to_json(),
        "measures": dict(manifest.measures),
        "code_version": manifest.code_version,
    }
