"""A worker's own user, mount, pid, net, ipc and uts namespaces, and the small root in it."""

import os
import signal
from collections.abc import Iterable

from components.sandbox.worker.system import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    MS_BIND,
    MS_NODEV,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    PR_SET_PDEATHSIG,
    checked,
    make_read_only,
    mount,
    pivot_root_here,
    process_control,
)

SCRATCH = "/scratch"
"""Where a program's folder lies in the small root. There is no /tmp, as below this level a program
may not write there."""

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo")
SCRATCH_INODES = 4096
NAMESPACES = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS


def enter_namespaces(ready: int, mapped: int) -> None:
    """Leave this machine's namespaces; a process outside may then say who is who.

    Args:
        ready: a descriptor to write a byte to once the namespaces are there.
        mapped: a descriptor to read a byte from once the users are mapped: `y`, or `n` where this
            process has to map itself.
    """
    user, group = os.geteuid(), os.getegid()
    checked("unshare", NAMESPACES)
    process_control(PR_SET_PDEATHSIG, signal.SIGKILL)  # the change of credentials cleared it
    os.write(ready, b".")
    if os.read(mapped, 1) != b"y":
        write_maps("self", ((0, user),), ((0, group),), may_set_groups=False)


def write_maps(
    process: int | str,
    users: Iterable[tuple[int, int]],
    groups: Iterable[tuple[int, int]],
    may_set_groups: bool,
) -> None:
    """Map users and groups of a user namespace to those outside: pairs of (inside, outside)."""
    if not may_set_groups:
        _write(f"/proc/{process}/setgroups", "deny")
    for name, pairs in (("gid_map", groups), ("uid_map", users)):
        _write(f"/proc/{process}/{name}", "".join(f"{a} {b} 1\n" for a, b in pairs))


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def enter_small_root(base: str, readable: Iterable[str], scratch_bytes: int) -> None:
    """Make a root that holds the interpreter, its libraries, a few devices and a scratch folder.

    Args:
        base: a folder to mount it on.
        readable: what may be read, beside the libraries.
        scratch_bytes: size of the scratch folder, which lies in memory.

    Raises:
        OSError: the system does not allow it.
    """
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    mount("root", base, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,nr_inodes=1k,mode=755")
    for path in _outermost([*readable, *LIBRARIES]):
        _show(base, path)
    for path in DEVICES:
        _show_file(base, path)
    folder = base + SCRATCH
    os.mkdir(folder)
    options = f"size={scratch_bytes},nr_inodes={SCRATCH_INODES},mode=1777"
    mount("scratch", folder, "tmpfs", MS_NOSUID | MS_NODEV, options)
    os.chdir(base)
    pivot_root_here()
    mount("root", "/", "", MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_BIND)


def _outermost(paths: Iterable[str]) -> list[str]:
    """Existing paths, those below another one left out."""
    found: list[str] = []
    for path in sorted({path for path in paths if os.path.exists(path)}):
        if not any(path.startswith(other + "/") for other in found):
            found.append(path)
    return found


def _show(base: str, path: str) -> None:
    """Show a folder, read-only, at the same place; a link is made again, its target shown."""
    target = base + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path):
        if not os.path.lexists(target):
            os.symlink(os.readlink(path), target)
        path = os.path.realpath(path)
        target = base + path
    if os.path.isdir(target):
        return
    os.makedirs(target)
    mount(path, target, "", MS_BIND | MS_REC)
    make_read_only(target)


def _show_file(base: str, path: str) -> None:
    target = base + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
    mount(path, target, "", MS_BIND)
