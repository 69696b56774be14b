"""Where images live: `images/locations.json` says it, and nothing else does.

A tag is the version and a hash over the code and the locks that the image holds, so it never
floats; once an image is pushed, its digest stands in that file and wins.

    python -m components.stage.images data                        the name to push a family under
    python -m components.stage.images data --digest sha256:...    what it was pushed as
"""

import functools
import hashlib
import json
import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
"""The checkout, or the folder that the wheel was installed into."""

LOCATIONS = Path("images", "locations.json")

GOLDEN_VARIABLE = "CODEKILN_IMAGE_TAG"
"""Overrides the tag: golden files carry a placeholder."""

CONTENT_HASH_DIGITS = 12

RECIPE_FILES = (
    *("Containerfile", "collect.sh", "install.sh", "compile_triton.sh", "triton_cc.sh"),
    "locks/*.txt",
)
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
    files = [
        path for package in ("components", "pipelines") for path in (ROOT / package).rglob("*.py")
    ]
    files += [path for pattern in RECIPE_FILES for path in (ROOT / "images").glob(pattern)]
    for path in sorted(files):
        hasher.update(path.relative_to(ROOT).as_posix().encode() + b"\0")
        hasher.update(path.read_bytes() + b"\0")
    return f"{version('codekiln')}-{hasher.hexdigest()[:CONTENT_HASH_DIGITS]}"


def _locations() -> dict[str, Any]:
    value: dict[str, Any] = json.loads((ROOT / LOCATIONS).read_text())
    return value


def record_digest(family: str, digest: str) -> None:
    """Write the digest of a pushed image into the file.

    Raises:
        ValueError: it is no digest.
        KeyError: the file names no such family.
    """
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise ValueError(f"expected sha256: and 64 hex digits, got {digest!r} for {family}")
    locations = _locations()
    locations["families"][family]["digest"] = digest
    entries = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(entry)}"
        for name, entry in locations["families"].items()
    )
    registry = json.dumps(locations["registry"])
    text = f'{{\n "registry": {registry},\n "families": {{\n{entries}\n }}\n}}\n'
    (ROOT / LOCATIONS).write_text(text)


def main(argv: Sequence[str]) -> None:
    """Say the name to build a family under, or record the digest that it was pushed with."""
    if argv[1:2] == ["--digest"]:
        record_digest(argv[0], argv[2])
        return
    for family in argv:
        sys.stdout.write(f"{image_name(family)}:{image_tag()}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
