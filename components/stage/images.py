"""Where images live: `images/locations.json` says it, and nothing else does.

A tag is the version and a hash over the code and the locks that the image holds, so it never
floats; once an image is pushed, its digest stands in that file and wins.

    python -m components.stage.images data        the name to build and push a family under
"""

import functools
import hashlib
import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
"""The checkout, or the folder that the wheel was installed into."""

GOLDEN_VARIABLE = "CODEKILN_IMAGE_TAG"
"""Overrides the tag: golden files carry a placeholder."""

CONTENT_HASH_DIGITS = 12

RECIPE_FILES = ("Containerfile", "*.sh", "locks/*.txt")
"""What an image is made by, beside the code; in the wheel too, so that a pod names the same tag."""


def image_families() -> tuple[str, ...]:
    """The image families: the targets of the Containerfile."""
    return tuple(_locations()["families"])


def image_name(family: str) -> str:
    """The name of an image family without digest or tag.

    Raises:
        KeyError: the file names no such family.
    """
    locations = _locations()
    return f"{locations['registry']}/{locations['families'][family]['name']}"


def image_uri(family: str) -> str:
    """The full name of an image family, with digest or tag.

    Raises:
        KeyError: the file names no such family.
    """
    name, digest = image_name(family), _locations()["families"][family].get("digest")
    if digest:
        return f"{name}@{digest}"
    return f"{name}:{os.environ.get(GOLDEN_VARIABLE) or image_tag()}"


@functools.cache
def image_tag() -> str:
    """Version and content hash: the same code has the same tag on every machine."""
    hasher = hashlib.sha256()
    files = [path for package in ("components", "pipelines") for path in (ROOT / package).rglob("*.py")]
    files += [path for pattern in RECIPE_FILES for path in (ROOT / "images").glob(pattern)]
    for path in sorted(files):
        hasher.update(path.relative_to(ROOT).as_posix().encode() + b"\0")
        hasher.update(path.read_bytes() + b"\0")
    return f"{version('codekiln')}-{hasher.hexdigest()[:CONTENT_HASH_DIGITS]}"


def _locations() -> dict[str, Any]:
    value: dict[str, Any] = json.loads((ROOT / "images" / "locations.json").read_text())
    return value


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        sys.stdout.write(f"{image_name(argument)}:{image_tag()}\n")
