"""Images built once and run as a pod is: restricted, read-only, without a network.

A tag holds the hash of all that goes in, so an image that is there is the right one. What a machine
cannot do is skipped, with the reason; `make try-images` names targets to prove, and there it fails.
"""

import fcntl
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from components.artifacts.manifest import MANIFEST_NAME
from components.stage.images import image_name, image_tag

ROOT = Path(__file__).resolve().parents[1]
BUILD_LIMIT_S = 1500
UNREACHABLE = (
    "Could not find a version that satisfies",
    "Temporary failure in name resolution",
    "Network is unreachable",
    "Connection refused",
    "Failed to establish a new connection",
)
"""What pip and mmdebstrap say where no package registry answers."""

LIMITS = {"nofile": "1024:1024", "nproc": "4096:4096"}
"""Lower than podman's defaults, which a root without CAP_SYS_RESOURCE may not set."""

USER = "65532:65532"

ASKED = os.environ.get("CODEKILN_TRY_IMAGES", "").split()
"""The targets that `make try-images` wants proved."""

SEPARATE = ("train-cpu", "train-gpu", "train-tpu")
"""Proved by `make try-images` alone: gigabytes to fetch, and half a minute after each change."""


def image(target: str) -> str:
    """The name of a target's image, built unless it is there."""
    if not ASKED and target in SEPARATE:
        pytest.skip(f"`make try-images TARGETS={target}` builds and proves it")
    if ASKED and target not in ASKED:
        pytest.skip(f"{target} is not among the targets that were asked for")
    for tool in ("buildah", "podman"):
        if shutil.which(tool) is None:
            cannot(f"{tool} is not installed")
    if os.geteuid() != 0:
        cannot("images are built and run by root alone here")
    if not os.environ.get("BASE_IMAGE") and shutil.which("mmdebstrap") is None:
        cannot("no BASE_IMAGE, and mmdebstrap is not installed")
    return _built(target)


def cannot(reason: str) -> NoReturn:
    """Skip, or fail where the proof was asked for."""
    if ASKED:
        pytest.fail(f"expected to prove {' '.join(ASKED)}, but {reason}")
    pytest.skip(reason)


@functools.cache
def _built(target: str) -> str:
    name = f"{image_name(target)}:{image_tag()}"
    with (Path(tempfile.gettempdir()) / "codekiln-image-builds.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test processes must not build the same
        there = ["buildah", "inspect", "--type", "image", name]
        if subprocess.run(there, capture_output=True, check=False).returncode == 0:
            return name
        done = subprocess.run(
            ["sh", "images/build.sh", target],
            cwd=ROOT,
            env={**os.environ, "PYTHON": sys.executable},
            capture_output=True,
            text=True,
            timeout=BUILD_LIMIT_S,
            check=False,
        )
    said = done.stdout + done.stderr
    if done.returncode and any(text in said for text in UNREACHABLE):
        cannot(f"no package registry can be reached: {said[-300:]}")
    assert done.returncode == 0, said[-3000:]
    return name


def runtime_flags(runtime: str) -> list[str]:
    """How podman is told of a runtime."""
    if runtime == "runsc":
        path = shutil.which("runsc")
        if path is None:
            pytest.skip("runsc (gVisor) is not installed")
        flags = ("network=none", "platform=ptrace")
        return ["--runtime", path, *(part for flag in flags for part in ("--runtime-flag", flag))]
    found = shutil.which("runc") or shutil.which("crun")
    if found is None:
        cannot("neither runc nor crun is installed")
    return ["--runtime", found]


def run(
    name: str,
    command: Sequence[str],
    *,
    runtime: str = "runc",
    memory: str = "2g",
    pids: int = 512,
    options: Sequence[str] = (),
    given: bytes = b"",
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in an image as Pod Security `restricted` and a denied network would have it."""
    limits = [] if runtime == "runsc" else [f"--ulimit={n}={v}" for n, v in LIMITS.items()]
    # The monitor of a container leaves a file `oom` where it was started.
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(
            [
                *("podman", "--cgroup-manager", "cgroupfs", *runtime_flags(runtime)),
                *("run", "--rm", "-i", "--pull", "never", "--network", "none", "--read-only"),
                *("--cap-drop=ALL", "--security-opt", "no-new-privileges"),
                *("--memory", memory, "--memory-swap", memory, "--pids-limit", str(pids)),
                *("--tmpfs", "/tmp:size=512m,mode=1777", *limits, *options, name, *command),
            ],
            input=given,
            capture_output=True,
            timeout=600,
            check=False,
            cwd=folder,
        )


@functools.cache
def runs(runtime: str, name: str) -> None:
    """Skip where this machine starts no container with a runtime."""
    done = run(name, ["sh", "-c", "exit 7"], runtime=runtime)
    if done.returncode != 7:
        (pytest.skip if runtime == "runsc" else cannot)(
            f"{runtime} starts no container here: {done.stderr[-300:]!r}"
        )


def size_bytes(name: str) -> int:
    """Bytes of an image's layers."""
    done = subprocess.run(
        ["podman", "image", "inspect", "--format", "{{.Size}}", name],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def shared(path: Path) -> Path:
    """A folder that the container's user may write to."""
    path.mkdir(parents=True, exist_ok=True)
    os.chown(path, *map(int, USER.split(":")))
    return path


def volumes(**folders: Path) -> list[str]:
    """Options that mount folders below `/`, by name; only `out` can be written to."""
    options = []
    for place, folder in folders.items():
        mode = "rw" if place == "out" else "ro"
        options += ["--volume", f"{folder}:/{place}:{mode}"]
    return options


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest that a step wrote into a folder."""
    value: dict[str, Any] = json.loads((folder / MANIFEST_NAME).read_text())
    return value
