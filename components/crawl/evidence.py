"""The licence of every file of a repository, and where it was read; the nearest evidence wins.

Nearest first: a tag in the file's own first comments; the licence file of its folder, or of the
next one above it; for the root, what the API read there, then the file itself, then the metadata
of `pyproject.toml`. Texts are recognised by `licenseclassifier`, which says nothing rather than
something wrong; a file with several texts needs all of them (`A AND B`).
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from components.artifacts.canonical import sha256_hex
from components.artifacts.license_tags import LICENSE_SOURCE, read_license_tags
from components.crawl.licenses import declared_license
from components.crawl.source import UNKNOWN

API = "api"
NO_ASSERTION = frozenset({"", "NOASSERTION", "NONE", "OTHER", UNKNOWN})
"""What GitHub says where it found a licence file and did not recognise it, or found none."""

MAX_LICENSE_BYTES = 200_000
"""Longer files of such a name hold notices of a whole distribution; scanning them takes seconds."""

MAX_RECOGNISED = 10_000
_RECOGNISED: dict[str, str] = {}
"""What texts were recognised as, by sha256: most repositories hold one of a few."""

PROJECT_FILE = "pyproject.toml"

_LICENSE_NAME = re.compile(
    r"(?:un)?licen[cs]e(?:[.\-_][\w.\-]*)?|copying(?:[.\-_][\w.\-]*)?", re.IGNORECASE
)
_CODE_ENDINGS = (".py", ".c", ".h", ".js", ".ts", ".go", ".java", ".rb", ".rs", ".cs", ".php")


def is_license_name(path: str) -> bool:
    """Whether a file is called as licence texts are: LICENSE, COPYING, UNLICENSE and kin."""
    name = path.rpartition("/")[2]
    return bool(_LICENSE_NAME.fullmatch(name)) and not name.lower().endswith(_CODE_ENDINGS)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A licence and where it was read."""

    license: str
    """SPDX expression, or `unknown`."""

    source: str
    """`api`, `file:<path>`, `pyproject.toml`, `SPDX-License-Identifier`, or `unknown`."""


@dataclass(frozen=True)
class Evidence:
    """What one repository says of its licences."""

    root: Verdict
    folders: Mapping[str, Verdict]
    """Licence files below the root, by folder, recognised ones and others."""

    texts: Mapping[str, str]
    """sha256 of every licence file, by path."""

    def of_file(self, path: str, data: bytes) -> Verdict:
        """The licence of a file."""
        if tag := read_license_tags(data):
            return Verdict(tag, LICENSE_SOURCE)
        folder = path.rpartition("/")[0]
        while folder:
            if verdict := self.folders.get(folder):
                return verdict
            folder = folder.rpartition("/")[0]
        return self.root


def gather_evidence(files: Iterable[tuple[str, bytes]], api_license: str) -> Evidence:
    """Read a repository's licence files.

    Args:
        files: paths and bytes of licence files and of the root's pyproject.toml.
        api_license: what the API says of the root; empty or NOASSERTION where it says nothing.
    """
    by_folder: dict[str, list[tuple[str, bytes]]] = {}
    project = UNKNOWN
    for path, data in sorted(files):
        if path == PROJECT_FILE:
            project = _project_license(data)
        else:
            by_folder.setdefault(path.rpartition("/")[0], []).append((path, data))
    texts = {path: sha256_hex(data) for held in by_folder.values() for path, data in held}
    folders = {folder: _verdict(held) for folder, held in by_folder.items()}
    root = folders.pop("", None)
    if api_license not in NO_ASSERTION:
        root = Verdict(api_license, API)
    elif root is None or root.license == UNKNOWN:
        if project != UNKNOWN:
            root = Verdict(project, PROJECT_FILE)
        root = root or Verdict(UNKNOWN, UNKNOWN)
    return Evidence(root, folders, texts)


def _verdict(held: list[tuple[str, bytes]]) -> Verdict:
    """The licence of a folder with licence files: each of them that is recognised.

    LICENSE-MIT beside LICENSE-APACHE is a choice, as Rust's projects spell it; a text without such
    a name applies as well.
    """
    found = {path: _recognise(data) for path, data in held}
    known = {path: name for path, name in found.items() if name != UNKNOWN}
    if not known:
        return Verdict(UNKNOWN, f"file:{held[0][0]}")
    choices = [p for p in known if re.search(r"licen[cs]e-[\w.]+$", p, re.IGNORECASE)]
    joint = " OR " if len(choices) == len(known) > 1 else " AND "
    names = sorted(set(known.values()))
    spelt = [f"({one})" if " " in one and len(names) > 1 else one for one in names]
    return Verdict(joint.join(spelt), f"file:{next(iter(known))}")


def _recognise(data: bytes) -> str:
    if len(data) > MAX_LICENSE_BYTES:
        return UNKNOWN
    digest = sha256_hex(data)
    if digest not in _RECOGNISED:
        if len(_RECOGNISED) >= MAX_RECOGNISED:
            _RECOGNISED.clear()
        _RECOGNISED[digest] = _recognise_text(data.decode("utf-8", "replace"))
    return _RECOGNISED[digest]


def _recognise_text(text: str) -> str:
    from licenseclassifier import identify_license

    return " AND ".join(sorted({one.id for one in identify_license(text)})) or UNKNOWN


def _project_license(data: bytes) -> str:
    """The licence of a pyproject.toml's `project` table (PEP 621, PEP 639)."""
    try:
        project = tomllib.loads(data.decode()).get("project", {})
        declared, classifiers = project.get("license"), project.get("classifiers") or []
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError, RecursionError):
        return UNKNOWN
    expression = declared if isinstance(declared, str) else None
    text = declared.get("text") if isinstance(declared, dict) else None
    field = text if isinstance(text, str) else None
    names = [one for one in classifiers if isinstance(one, str)]
    return declared_license(expression, field, names)[0]
