"""Who asked to be left out: by owner, repository, id, glob or content.

One entry a line; `#` begins a comment; names are compared without case, as GitHub does.

    octocat                     an owner
    octocat/hello-world         a repository
    id:github:1296269           a repository by the id that survives renames
    octocat/*/vendor/*          a glob over owner/name/path; `*` also matches `/`
    9f86d081...                 a file, by the sha256 of its bytes (64 hex digits)
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import translate

from components.artifacts.errors import ConfigError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[\w.\-]+(/[\w.\-]+)?")


@dataclass(frozen=True)
class OptOut:
    """Entries, ready to be asked. Picklable."""

    entries: tuple[str, ...] = ()
    """As they were given, sorted, each once."""

    _names: frozenset[str] = field(default=frozenset(), repr=False)
    _ids: frozenset[str] = field(default=frozenset(), repr=False)
    _hashes: frozenset[str] = field(default=frozenset(), repr=False)
    _globs: tuple[tuple[str, re.Pattern[str]], ...] = field(default=(), repr=False)

    @classmethod
    def read(cls, lines: Iterable[str], where: str = "opt_out") -> "OptOut":
        """Read entries.

        Raises:
            ConfigError: a line is none of the five kinds.
        """
        names, ids, hashes, globs, entries = set(), set(), set(), [], set()
        for number, line in enumerate(lines, start=1):
            entry = line.partition("#")[0].strip()
            if not entry:
                continue
            entries.add(entry)
            if entry.startswith("id:"):
                ids.add(entry.removeprefix("id:"))
            elif _SHA256.fullmatch(entry.lower()):
                hashes.add(entry.lower())
            elif set(entry) & set("*?["):
                globs.append((entry, re.compile(translate(entry.casefold()))))
            elif _NAME.fullmatch(entry):
                names.add(entry.casefold())
            else:
                raise ConfigError(
                    "expected owner, owner/name, id:ID, a glob or a sha256, got "
                    f"{entry[:80]!r} in line {number} of {where}: mend that line"
                )
        return cls(
            tuple(sorted(entries)),
            frozenset(names),
            frozenset(ids),
            frozenset(hashes),
            tuple(sorted(globs, key=lambda pair: pair[0])),
        )

    def of_repository(self, repo_id: str, repo: str) -> str:
        """The entry that leaves a repository out, empty where none does."""
        name = repo.casefold()
        if repo_id in self._ids:
            return f"id:{repo_id}"
        if name in self._names:
            return name
        owner = name.partition("/")[0]
        if owner in self._names:
            return owner
        return next((entry for entry, glob in self._globs if glob.match(name)), "")

    def of_file(self, repo: str, path: str, sha256: str) -> str:
        """The entry that leaves a file out, empty where none does; not asked for repositories."""
        if sha256 in self._hashes:
            return sha256
        if not self._globs:
            return ""
        whole = f"{repo}/{path}".casefold()
        return next((entry for entry, glob in self._globs if glob.match(whole)), "")
