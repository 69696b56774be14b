"""A worker inside gVisor: a kernel of its own around it, where `runsc` is on the PATH.

The worker runs at L1 in a root that holds the interpreter's libraries and the worker's own files,
read-only, without network, as `nobody`; gVisor (gvisor.dev) answers its system calls. That makes
L4, on a person's machine as in a pod.
"""

import json
import os
import shutil
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.artifacts.errors import StepFailedError
from components.sandbox.worker.confinement import UNPRIVILEGED_ID
from components.sandbox.worker.namespaces import LIBRARIES

RUNSC = "runsc"
WORKER_ROOT = "/worker"
"""Where the worker's package lies in the sandbox."""

SCRATCH_BYTES = 2**28
"""Of the folder in memory that all programs of a worker share; it is emptied after each."""


def runsc_path() -> str | None:
    """The gVisor runtime on the PATH, or None."""
    return shutil.which(RUNSC)


def gvisor_command(worker: Sequence[str], package: Path, base: Path) -> list[str]:
    """Write a bundle for `runsc run` and say the command that starts it.

    Args:
        worker: the worker's arguments behind its interpreter.
        package: the folder that holds `components`.
        base: an empty folder of our own: bundle, root and gVisor's state.

    Raises:
        StepFailedError: no `runsc`.
    """
    runsc = runsc_path()
    if runsc is None:
        raise StepFailedError(
            "expected the gVisor runtime on the PATH for CODEKILN_ISOLATION=gvisor, got no "
            "'runsc': install it (gvisor.dev), or unset the variable"
        )
    bundle = base / "bundle"
    (bundle / "root").mkdir(parents=True)
    (bundle / "config.json").write_text(json.dumps(bundle_config(worker, package)))
    flags = ["--network=none", "--ignore-cgroups", f"--root={base / 'state'}"]
    flags += ["--rootless"] if os.geteuid() != 0 else []
    return [runsc, *flags, "run", f"--bundle={bundle}", f"codekiln-{uuid.uuid4().hex}"]


def bundle_config(worker: Sequence[str], package: Path) -> dict[str, Any]:
    """The bundle's configuration (OCI runtime specification 1.0)."""
    python = os.path.realpath(sys.executable)
    return {
        "ociVersion": "1.0.0",
        "hostname": "sandbox",
        "root": {"path": "root", "readonly": True},
        "process": {
            "args": [python, *worker],
            "cwd": "/",
            "env": [f"PYTHONPATH={WORKER_ROOT}", "PYTHONHASHSEED=0"],
            "user": {"uid": UNPRIVILEGED_ID, "gid": UNPRIVILEGED_ID},
            "noNewPrivileges": True,
            "capabilities": {},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            {
                "destination": "/tmp",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "nodev", "mode=1777", f"size={SCRATCH_BYTES}"],
            },
            *(_shown(path, path) for path in readable_paths(python)),
            *(_shown(str(package / part), f"{WORKER_ROOT}/{part}") for part in PACKAGE),
        ],
        "linux": {
            "namespaces": [{"type": name} for name in ("pid", "network", "ipc", "uts", "mount")]
        },
    }


PACKAGE = (
    "components/__init__.py",
    "components/sandbox/__init__.py",
    "components/sandbox/worker",
)
"""What a worker needs of this distribution."""


def readable_paths(python: str) -> list[str]:
    """The interpreter, its library and the system's, each once, none below another."""
    wanted = {python, os.path.realpath(os.path.dirname(os.__file__)), *LIBRARIES}
    wanted.add(os.path.join(os.path.realpath(sys.base_prefix), "lib"))
    found: list[str] = []
    for path in sorted(path for path in wanted if os.path.exists(path)):
        if not any(path.startswith(f"{other}/") for other in found):
            found.append(path)
    return found


def _shown(source: str, destination: str) -> dict[str, Any]:
    return {
        "destination": destination,
        "type": "bind",
        "source": os.path.realpath(source),
        "options": ["ro", "rbind"],
    }
