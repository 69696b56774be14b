"""Repositories for the double: made of a few files, or of installed packages by git itself."""

import gzip
import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Mapping
from importlib.metadata import files as files_of
from pathlib import Path
from typing import Any

from tests.github_double import DoubleRepository

CONTACT = "crawler@example.org"


def tarball(files: Mapping[str, bytes], commit: str, root: str = "owner-name-0000000") -> bytes:
    """An archive as GitHub sends it: one folder, the commit in the pax global header."""
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": commit}
    ) as archive:
        folder = tarfile.TarInfo(f"{root}/")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for path, data in files.items():
            info = tarfile.TarInfo(f"{root}/{path}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(out.getvalue(), 1, mtime=0)


def repository(number: int, files: Mapping[str, bytes], **fields: Any) -> DoubleRepository:
    """A repository of a few files; its commit is a hash of them."""
    name = fields.pop("full_name", f"owner{number % 7}/name{number}")
    spelt = repr(sorted(files.items())).encode()
    commit = hashlib.sha1(spelt, usedforsecurity=False).hexdigest()
    fields.setdefault("created_at", f"2020-{number % 12 + 1:02d}-{number % 28 + 1:02d}T12:00:00Z")
    fields.setdefault("stars", number)
    fields.setdefault("tarball", tarball(files, commit))
    return DoubleRepository(id=1000 + number, full_name=name, commit=commit, **fields)


def small_files(number: int) -> dict[str, bytes]:
    """Three source files, a licence and a picture."""
    return {
        "LICENSE": MIT,
        "README.md": f"# number {number}\n".encode(),
        "src/main.py": f"value = {number}\n".encode() * (number % 5 + 1),
        "src/tool.c": f"int value = {number};\n".encode(),
        "picture.png": b"\x89PNG\0",
    }


MIT = b"""MIT License

Copyright (c) 2020 the authors

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def git(*arguments: str, folder: Path, stdin: bytes | None = None) -> bytes:
    """Run git without anybody's configuration, at a fixed time."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        **{f"GIT_{who}_NAME": "A" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_EMAIL": "a@example.org" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_DATE": "2020-01-01T00:00:00Z" for who in ("AUTHOR", "COMMITTER")},
    }
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env=environment,
        input=stdin,
        capture_output=True,
        check=True,
    )
    return done.stdout


def commit_files(files: Mapping[str, bytes], bare: Path) -> str:
    """A bare repository with one commit of some files, served by `git http-backend`; its id.

    The tree is made by `git fast-import`: no worktree, so names that no disk takes work as well.
    """
    bare.mkdir(parents=True)
    git("init", "--quiet", "--bare", "--initial-branch=main", ".", folder=bare)
    lines = [b"commit refs/heads/main\ncommitter A <a@example.org> 1577836800 +0000\ndata 1\nx\n"]
    for path, data in files.items():
        quoted = path.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(b'M 100644 inline "%b"\ndata %d\n%b\n' % (quoted.encode(), len(data), data))
    git("fast-import", "--quiet", folder=bare, stdin=b"".join(lines))
    for name in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        git("config", name, "true", folder=bare)
    return git("rev-parse", "main", folder=bare).decode().strip()


def package_files(distribution: str) -> dict[str, bytes]:
    """Files of an installed distribution, by path."""
    found = {}
    for file in files_of(distribution) or ():
        path = file.as_posix()
        if ".." in path or path.startswith("/") or "__pycache__" in path or ".dist-info" in path:
            continue
        located = Path(str(file.locate()))
        if located.is_file() and not located.is_symlink():
            found[path] = located.read_bytes()
    return found


def package_repository(
    number: int, distribution: str, git_root: Path, **fields: Any
) -> DoubleRepository:
    """An installed distribution as a repository: by git, with the archive that git makes of it."""
    full_name = f"packages/{distribution}"
    bare = git_root / f"{full_name}.git"
    commit = commit_files(package_files(distribution), bare)
    archive = git_root / f"{distribution}.tar.gz"
    prefix = f"packages-{distribution}-{commit[:7]}/"
    archive.write_bytes(
        git("archive", "--format=tar.gz", f"--prefix={prefix}", commit, folder=bare)
    )
    return DoubleRepository(
        id=5000 + number,
        full_name=full_name,
        created_at=f"2021-0{number % 9 + 1}-01T00:00:00Z",
        commit=commit,
        tarball=archive,
        size_kb=archive.stat().st_size // 1024,
        **fields,
    )
