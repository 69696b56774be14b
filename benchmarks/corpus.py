"""Real source code to measure on: what is installed beside the running interpreter.

The standard library and the installed packages, files of a few languages, in the order of their
paths, exact duplicates left in: it is what a crawl of this machine would meet.
"""

import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.artifacts.errors import ConfigError

SUFFIXES = {
    ".py": "Python",
    ".pyi": "Python",
    ".h": "C",
    ".hpp": "C++",
    ".cuh": "C++",
    ".c": "C",
    ".cpp": "C++",
    ".js": "JavaScript",
}
"""Languages by file name; headers make up what Python lacks to 300 MB."""

MAX_FILE_BYTES = 1_000_000


@dataclass(frozen=True)
class SourceFile:
    """One file of real code."""

    repo: str
    """The first folder below the root: a package, as a rule."""

    path: str
    language: str
    content: bytes
    """Valid UTF-8."""


def read_corpus(suffixes: Sequence[str] = tuple(SUFFIXES), max_bytes: int = 0) -> list[SourceFile]:
    """All installed source files of some suffixes.

    Args:
        suffixes: of the files wanted.
        max_bytes: where reading stops; 0 reads all.
    """
    files: list[SourceFile] = []
    size = 0
    for file in _walk(frozenset(suffixes)):
        files.append(file)
        size += len(file.content)
        if max_bytes and size >= max_bytes:
            break
    return files


def read_folders(roots: Sequence[Path]) -> list[SourceFile]:
    """All source files below some folders.

    Raises:
        ConfigError: there is none in one of them.
    """
    for root in roots:
        if next(_walk_below(root, frozenset(SUFFIXES)), None) is None:
            raise ConfigError(f"expected a folder with source files, got {str(root)!r}")
    return [file for root in roots for file in _walk_below(root, frozenset(SUFFIXES))]


def draw(files: Sequence[SourceFile], count: int, seed: int) -> list[SourceFile]:
    """`count` files without repeats, by seed, in their order."""
    chosen = np.random.default_rng(seed).choice(len(files), min(count, len(files)), replace=False)
    return [files[place] for place in sorted(chosen.tolist())]


def megabytes(files: Sequence[SourceFile]) -> float:
    """UTF-8 megabytes (10**6) of files."""
    return sum(len(file.content) for file in files) / 1e6


def _walk(suffixes: frozenset[str]) -> Iterator[SourceFile]:
    paths = sysconfig.get_paths()
    library, packages = Path(paths["stdlib"]), Path(paths["purelib"])
    yield from _walk_below(library, suffixes, without="site-packages")
    yield from _walk_below(packages, suffixes)


def _walk_below(root: Path, suffixes: frozenset[str], without: str = "") -> Iterator[SourceFile]:
    for path in sorted(root.rglob("*")):
        if path.suffix not in suffixes or without in path.parts or not path.is_file():
            continue
        data = path.read_bytes()
        if len(data) <= MAX_FILE_BYTES and _is_utf8(data):
            below = path.relative_to(root)
            yield SourceFile(below.parts[0], below.as_posix(), SUFFIXES[path.suffix], data)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
