"""Rows of small artifacts (samples, verdicts, spans) as canonical JSON lines."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from components.artifacts.artifact import Artifact, Draft
from components.artifacts.canonical import canonical_json, sha256_hex


def draft_rows(part: str, rows: Iterable[Mapping[str, Any]], name: str | None = None) -> Draft:
    """Spell rows as a JSON-lines file; its row digest is the hash of the canonical lines."""
    lines = [canonical_json(row) + "\n" for row in rows]
    data = "".join(lines).encode()
    return Draft(
        part=part, suffix=".jsonl", data=data, rows=len(lines), digest=sha256_hex(data), name=name
    )


def draft_text(part: str, suffix: str, text: str, name: str | None = None) -> Draft:
    """A file of text for people or for other programs; one row."""
    data = text.encode()
    return Draft(part=part, suffix=suffix, data=data, rows=1, digest=sha256_hex(data), name=name)


def read_rows(artifact: Artifact, part: str) -> list[dict[str, Any]]:
    """All rows of a part, in order."""
    rows: list[dict[str, Any]] = []
    for entry in artifact.part(part):
        rows += [json.loads(line) for line in artifact.read(entry).splitlines()]
    return rows
