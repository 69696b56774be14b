"""Read a repository through git, without a checkout: `ls-tree` and `cat-file` on bare objects.

A remote is fetched at depth 1 without file contents (`--filter=blob:none`), then the contents that
are wanted in one batch: a third of the bytes of an archive where most of a repository is no
source. Nothing of a repository is executed: no hooks, no checkout, no filters, no protocol but the
one that was asked for, no configuration but ours.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from components.artifacts.errors import CodekilnError, MissingExtraError
from components.crawl.budgets import Backoff
from components.crawl.harvest import Refusals, Rules, is_evidence
from components.crawl.tarball import (
    LINK,
    NAME_NOT_UTF8,
    SPECIAL,
    TOO_LARGE,
    TOO_MANY,
    UNSAFE_NAME,
    Member,
)

Done = TypeVar("Done")

MAX_ENTRIES = 200_000
"""Files of a tree that is read."""

MISSING = ("not found", "does not appear to be a git repository", "could not read Username")
REFUSED = ("authentication failed", "error: 401", "error: 403")

RATE_LIMITED, CLONE_FAILED, TIMEOUT = "rate_limited", "clone_failed", "timeout"
TRANSIENT = frozenset({RATE_LIMITED, CLONE_FAILED, TIMEOUT})
"""Classes that another attempt may not meet."""

_HARDENED = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.symlinks": "false",
    "credential.helper": "",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "protocol.allow": "never",
    "safe.directory": "*",
    "transfer.fsckObjects": "false",
    "fetch.negotiationAlgorithm": "noop",
}


class CloneFailedError(CodekilnError):
    """Git could not read a repository; `reason` is the class of the dead letter."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Remote:
    """Where to fetch from. The authorization goes by environment: in no URL and no argument."""

    url: str
    authorization: str = ""
    user_agent: str = ""
    """Empty: git's own."""

    def __repr__(self) -> str:
        return f"Remote({self.url!r})"


@dataclass(frozen=True)
class Git:
    """Git on one bare repository."""

    folder: Path
    timeout_s: float
    remote: Remote | None = None

    def run(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Run a command; what it printed.

        Raises:
            CloneFailedError: it failed or took too long.
        """
        if shutil.which("git") is None:
            raise MissingExtraError(
                "expected the program git, found none: install git 2.39 or later"
            )
        process = subprocess.Popen(
            [*_lifeline(), "git", "--git-dir", str(self.folder), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment(),
            start_new_session=True,
        )
        try:
            out, error = process.communicate(stdin, self.timeout_s)
        except subprocess.TimeoutExpired:
            raise CloneFailedError(TIMEOUT, f"git took more than {self.timeout_s:g} s") from None
        finally:
            _end(process)
        if process.returncode:
            raise _failure(error.decode(errors="replace"))
        return out

    def _environment(self) -> dict[str, str]:
        """No configuration of the user or the machine; settings by environment, secrets too.

        A repository on this machine brings a configuration of its own, and whoever owns it is
        trusted here (`safe.directory`), so what could start a program is closed where that
        configuration cannot open it again: a promised object would be fetched by any protocol
        that `protocol.NAME.allow` names in it, `ext` and `file` run commands, and the list in
        GIT_ALLOW_PROTOCOL stands above every configuration.
        """
        settings = dict(_HARDENED)
        protocol = "none"
        if self.remote:
            protocol = self.remote.url.partition("://")[0]
            settings[f"protocol.{protocol}.allow"] = "always"
            if self.remote.user_agent:
                settings["http.userAgent"] = self.remote.user_agent
            if self.remote.authorization:
                settings["http.extraHeader"] = f"Authorization: {self.remote.authorization}"
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ALLOW_PROTOCOL": protocol,
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "GIT_CONFIG_COUNT": str(len(settings)),
        }
        for name in ("http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "GIT_SSL_CAINFO"):
            if name in os.environ:
                environment[name] = os.environ[name]
        for number, (name, value) in enumerate(settings.items()):
            environment[f"GIT_CONFIG_KEY_{number}"] = name
            environment[f"GIT_CONFIG_VALUE_{number}"] = value
        return environment


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often a remote is tried."""

    timeout_s: float
    """Of each git command."""

    max_attempts: int
    secondary_wait_s: float
    """After a limit, doubled every time: git does not pass on how long the server asked for."""


@dataclass(frozen=True)
class Clone:
    """What was read of a remote."""

    commit: str
    members: list[Member] = field(repr=False)
    refusals: Refusals = field(repr=False)


def clone_repository(remote: Remote, commit: str, rules: Rules, patience: Patience) -> Clone:
    """Fetch a remote into a temporary folder and read what is wanted; again after a fault.

    Args:
        remote: where from.
        commit: which; empty for its HEAD.
        rules: what is wanted.
        patience: how long and how often.

    Raises:
        CloneFailedError: with its class.
    """

    def attempt() -> Clone:
        refusals = Refusals(rules)
        found, members = _clone(remote, commit, rules, refusals, patience.timeout_s)
        return Clone(found, members, refusals)

    return _patiently(attempt, remote, patience)


def _patiently(attempt: Callable[[], Done], remote: Remote, patience: Patience) -> Done:
    """Do something with a remote, again after a fault or a limit."""
    backoff = Backoff(patience.secondary_wait_s, random.Random(remote.url))
    for _ in range(patience.max_attempts - 1):
        try:
            return attempt()
        except CloneFailedError as error:
            if error.reason not in TRANSIENT:
                raise
            limited = error.reason == RATE_LIMITED
        time.sleep(backoff.after_limit() if limited else backoff.after_fault())
    return attempt()


def _clone(
    remote: Remote, commit: str, rules: Rules, refusals: Refusals, timeout_s: float
) -> tuple[str, list[Member]]:
    with tempfile.TemporaryDirectory(prefix="codekiln-clone-", ignore_cleanup_errors=True) as path:
        git = Git(Path(path), timeout_s, remote)
        git.run("init", "--quiet", "--bare")
        for name, value in (
            ("url", remote.url),
            ("promisor", "true"),
            ("partialclonefilter", "blob:none"),
        ):
            git.run("config", f"remote.origin.{name}", value)
        fetch = ("fetch", "--quiet", "--no-tags", "--filter=blob:none", "--recurse-submodules=no")
        git.run(*fetch, "--depth=1", "origin", commit or "HEAD")
        found = git.run("rev-parse", "FETCH_HEAD^{commit}").decode().strip()
        entries = list_entries(git, found, rules, refusals)
        blobs = sorted({blob for _, blob in entries})
        if blobs:
            stdin = "\n".join(blobs).encode() + b"\n"
            git.run(*fetch, "--no-write-fetch-head", "--stdin", "origin", stdin=stdin)
        return found, [*read_entries(git, entries, rules, refusals)]


def list_remote_head(remote: Remote, patience: Patience) -> str:
    """The commit of a remote's HEAD; empty where it has none.

    Raises:
        CloneFailedError: with its class.
    """

    def attempt() -> str:
        with tempfile.TemporaryDirectory(prefix="codekiln-clone-") as path:
            git = Git(Path(path), patience.timeout_s, remote)
            out = git.run("ls-remote", "--quiet", remote.url, "HEAD")
        return out.decode().partition("\t")[0].strip()

    return _patiently(attempt, remote, patience)


def read_folder(
    folder: Path, commit: str, rules: Rules, refusals: Refusals, timeout_s: float
) -> list[Member]:
    """Read a commit of a repository on this machine."""
    git = Git(folder, timeout_s)
    return [*read_entries(git, list_entries(git, commit, rules, refusals), rules, refusals)]


def list_entries(git: Git, commit: str, rules: Rules, refusals: Refusals) -> list[tuple[str, str]]:
    """Path and blob id of every wanted file of a commit; links and submodules are counted."""
    lines = git.run("ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0")[:-1]
    if len(lines) > MAX_ENTRIES:
        raise CloneFailedError(TOO_MANY, f"more than {MAX_ENTRIES:,} files")
    entries = []
    for line in lines:
        head, _, name = line.partition(b"\t")
        mode, _, blob = head.decode().split(" ")
        try:
            path = name.decode()
        except UnicodeDecodeError:
            refusals.note(NAME_NOT_UTF8, "", 0)
            continue
        if mode == "160000":
            refusals.note(SPECIAL, path, 0)
        elif mode == "120000":
            refusals.note(LINK, path, 0)
        elif not path.isprintable() or "\\" in path or ".." in path.split("/"):
            refusals.note(UNSAFE_NAME, "", 0)
        elif rules.wants(path):
            entries.append((path, blob))
    return entries


def read_entries(
    git: Git, entries: Sequence[tuple[str, str]], rules: Rules, refusals: Refusals
) -> Iterator[Member]:
    """The files of entries; larger ones are counted and not read."""
    sizes = _sizes(git, [blob for _, blob in entries])
    wanted = []
    for path, blob in entries:
        if sizes[blob] <= rules.max_file_bytes:
            wanted.append((path, blob))
        elif not is_evidence(path):
            refusals.note(TOO_LARGE, path, sizes[blob])
    batch = 64_000_000
    held: list[tuple[str, str]] = []
    size = 0
    for entry in wanted:
        held.append(entry)
        size += sizes[entry[1]]
        if size >= batch:
            yield from _read_batch(git, held)
            held, size = [], 0
    yield from _read_batch(git, held)


def _sizes(git: Git, blobs: Sequence[str]) -> Mapping[str, int]:
    if not blobs:
        return {}
    stdin = "\n".join(blobs).encode() + b"\n"
    sizes = {}
    for line in git.run("cat-file", "--batch-check", stdin=stdin).splitlines():
        blob, kind, *rest = line.decode().split(" ")
        if kind != "blob" or not rest:
            raise CloneFailedError("corrupt_repository", f"expected a file, got {kind!r}")
        sizes[blob] = int(rest[0])
    return sizes


def _read_batch(git: Git, entries: Sequence[tuple[str, str]]) -> Iterator[Member]:
    if not entries:
        return
    stdin = "\n".join(blob for _, blob in entries).encode() + b"\n"
    out = git.run("cat-file", "--batch", stdin=stdin)
    at = 0
    for path, _ in entries:
        end = out.index(b"\n", at)
        size = int(out[at:end].rpartition(b" ")[2])
        yield Member(path, out[end + 1 : end + 1 + size])
        at = end + 1 + size + 1


def _failure(error: str) -> CloneFailedError:
    """The class of what git said, without its words: they can hold what a server sent."""
    words = error.casefold()
    if any(one.casefold() in words for one in MISSING):
        return CloneFailedError("not_found", "git found no such repository")
    if any(one in words for one in REFUSED):
        return CloneFailedError("forbidden", "git was refused")
    if "error: 429" in words:
        return CloneFailedError(RATE_LIMITED, "git was asked to slow down")
    if "couldn't find remote ref" in words or "not our ref" in words:
        return CloneFailedError("empty_repository", "git found no such commit")
    return CloneFailedError(CLONE_FAILED, "git failed")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End git and every process that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            pipe.close()


def _lifeline() -> list[str]:
    """What ties git to this process on Linux, where util-linux is there."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []
