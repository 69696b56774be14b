"""Where images live: `images/locations.json` says it, and nothing else does.

A tag is the version and a hash over the code that the image holds, so it never floats; once an
image is pushed, its digest stands in that file and wins.
"""

import functools
import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
"""The checkout, or the folder that the wheel was installed into."""

GOLDEN_VARIABLE = "CODEKILN_IMAGE_TAG"
"""Overrides the tag: golden files carry a placeholder."""

CONTENT_HASH_DIGITS = 12


def image_uri(family: str) -> str:
    """The full name of an image family, with digest or tag.

    Raises:
        KeyError: the file names no such family.
    """
    locations = _locations()
    entry = locations["families"][family]
    name = f"{locations['registry']}/{entry['name']}"
    if entry.get("digest"):
        return f"{name}@{entry['digest']}"
    return f"{name}:{os.environ.get(GOLDEN_VARIABLE) or image_tag()}"


@functools.cache
def image_tag() -> str:
    """Version and content hash: the same code has the same tag on every machine."""
    hasher = hashlib.sha256()
    for package in ("components", "pipelines"):
        for path in sorted((ROOT / package).rglob("*.py")):
            hasher.update(path.relative_to(ROOT).as_posix().encode() + b"\0")
            hasher.update(path.read_bytes() + b"\0")
    return f"{version('codekiln')}-{hasher.hexdigest()[:CONTENT_HASH_DIGITS]}"


def _locations() -> dict[str, Any]:
    value: dict[str, Any] = json.loads((ROOT / "images" / "locations.json").read_text())
    return value
