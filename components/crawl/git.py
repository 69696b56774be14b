"""The source `git`: repositories by URL, or those that lie in a folder."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from components.artifacts.artifact import ArtifactWriter
from components.artifacts.errors import ConfigError
from components.artifacts.tally import Tally
from components.crawl.budgets import Pace
from components.crawl.clone import (
    Clone,
    CloneFailedError,
    Git,
    Remote,
    clone_repository,
    list_remote_head,
    read_folder,
)
from components.crawl.config import CrawlConfig
from components.crawl.harvest import (
    OPTED_OUT,
    Harvest,
    Refusals,
    Rules,
    harvest_repository,
    unfetched,
)
from components.crawl.journal import Journal, name_of, pack_journal, sweep
from components.crawl.rules import observe_opt_out, patience_of, rules_of, user_agent
from components.crawl.selection import check_url
from components.crawl.source import Discovery, Packed, RepositoryRef

MAX_DEPTH = 2
"""Folders below one that was named in which repositories are found: owner, name."""

NO_HEAD = "empty_repository"


@dataclass(frozen=True, slots=True)
class Located:
    """A repository and where it is; the place enters no row."""

    ref: RepositoryRef
    place: str
    """A URL, or the folder of git's objects."""


@dataclass(frozen=True, slots=True)
class GitUnit:
    """The repositories of one shard."""

    index: int
    located: tuple[Located, ...]


@dataclass(frozen=True)
class GitSource:
    """Repositories whose heads were seen once, when the source was observed."""

    config: CrawlConfig
    rules: Rules

    def observe(self) -> dict[str, Any]:
        """The commit of every HEAD, and the opt-outs of a file."""
        heads = {one.ref.repo_id: one.ref.commit for one in self._located}
        return {"heads": heads, **observe_opt_out(self.config, self.rules.opt_out)}

    def discover(self, output: ArtifactWriter, tally: Tally) -> Discovery:  # noqa: ARG002
        """Cut the repositories into shards, in the order of their ids."""
        located, size = self._located, self.config.git.repositories_per_shard
        cuts = range(0, len(located), size)
        units = [GitUnit(n, tuple(located[at : at + size])) for n, at in enumerate(cuts)]
        return Discovery(units=units)

    def fetch(self, output: ArtifactWriter, num_sharing: int, unit: GitUnit) -> Packed:
        """Read the repositories of a shard that have no record yet, and pack them all."""
        journal = Journal.of_unit(output, unit.index)
        fetched = journal.fetched()
        missing = [one for one in unit.located if name_of(one.ref.repo_id) not in fetched]
        pace = Pace(self.config.max_requests_per_second / num_sharing)
        at_once = max(1, self.config.max_concurrency // num_sharing)

        def work(one: Located) -> None:
            if "://" in one.place:
                time.sleep(pace.reserve())
            journal.write(self._read(one))

        with ThreadPoolExecutor(at_once) as pool:
            for _ in pool.map(work, missing):
                pass
        return pack_journal(output, unit.index, [one.ref.repo_id for one in unit.located])

    def attest(self, output: ArtifactWriter, discovery: Discovery) -> None:
        """Take away the records of single repositories."""
        sweep(output, len(discovery.units))

    def _read(self, one: Located) -> Harvest:
        ref, began = one.ref, datetime.now(UTC)
        if ref.problem:
            return unfetched(ref, ref.problem)
        try:
            if "://" in one.place:
                remote = self._remote(one.place)
                done = clone_repository(remote, ref.commit, self.rules, patience_of(self.config))
            else:
                refusals = Refusals(self.rules)
                folder, timeout_s = Path(one.place), self.config.timeout_s
                members = read_folder(folder, ref.commit, self.rules, refusals, timeout_s)
                done = Clone(ref.commit, members, refusals)
        except CloneFailedError as error:
            return unfetched(ref, error.reason)
        tally = done.refusals.tally
        harvest = harvest_repository(ref, ref.commit, done.members, tally, self.rules)
        harvest.ledger.update(
            transport="clone" if "://" in one.place else "folder",
            fetched_at=began.isoformat(timespec="seconds"),
        )
        return harvest

    @cached_property
    def _located(self) -> Sequence[Located]:
        """All repositories with their heads, by id."""
        found: dict[str, str] = {}
        for repo_id, place in find_repositories(self.config):
            if found.setdefault(repo_id, place) != place:
                raise ConfigError(
                    f"expected repositories of different names, got two called {repo_id!r}: give "
                    "the folder that holds both, or leave one out"
                )
        look: Callable[[tuple[str, str]], Located] = self._look
        with ThreadPoolExecutor(self.config.max_concurrency) as pool:
            return [*pool.map(look, sorted(found.items()))]

    def _look(self, found: tuple[str, str]) -> Located:
        repo_id, place = found
        repo = repo_id.removeprefix("git:")
        if "://" in place:
            repo = "/".join(repo.split("/")[1:]) or repo
        ref = RepositoryRef(
            source="git", repo_id=repo_id, repo=repo, license=self.config.git.license
        )
        if self.rules.opt_out.of_repository(repo_id, repo):
            return Located(_with(ref, problem=OPTED_OUT), place)
        try:
            commit = self._head(place)
        except CloneFailedError as error:
            return Located(_with(ref, problem=error.reason), place)
        return Located(_with(ref, commit=commit, problem="" if commit else NO_HEAD), place)

    def _remote(self, url: str) -> Remote:
        return Remote(url, user_agent=user_agent(self.config))

    def _head(self, place: str) -> str:
        if "://" in place:
            return list_remote_head(self._remote(place), patience_of(self.config))
        git = Git(Path(place), self.config.timeout_s)
        return git.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}").decode().strip()


def git_source(config: CrawlConfig) -> GitSource:
    """The source of a config."""
    return GitSource(config, rules_of(config))


def _with(ref: RepositoryRef, commit: str = "", problem: str = "") -> RepositoryRef:
    return RepositoryRef(**{**ref.to_json(), "commit": commit, "problem": problem})


def find_repositories(config: CrawlConfig) -> Iterator[tuple[str, str]]:
    """Id and place of every repository that is named, or that lies in a named folder.

    A file:// URL is its folder: read like one, it starts no second git that knows nothing of our
    settings, and its id holds no path of this machine.

    Raises:
        ConfigError: an entry is neither, or holds no repository.
    """
    for one in [*config.git.repositories, *_listed(config.git.list_file)]:
        if "://" in one and not one.startswith("file:///"):
            check_url("git.repositories", one, ("https", "http"))
            parts = urlsplit(one)
            path = parts.path.strip("/").removesuffix(".git")
            yield f"git:{parts.netloc}/{path}" if parts.netloc else f"git:{path}", one
            continue
        root = Path(unquote(urlsplit(one).path) if "://" in one else one)
        if not root.is_dir():
            raise ConfigError(
                f"expected a URL or a folder in git.repositories, got {one!r}: give one that is "
                "there"
            )
        try:
            found = [*_find_below(root)]
        except PermissionError as error:
            raise ConfigError(
                f"expected folders that can be read below {one!r} in git.repositories, got "
                f"{error.filename!r}: name the repositories themselves"
            ) from None
        if not found:
            raise ConfigError(
                f"expected a git repository in git.repositories, got {one!r}, which is none and "
                f"holds none within {MAX_DEPTH} folders: give the repository, or the folder that "
                "holds NAME.git or OWNER/NAME.git"
            )
        yield from found


def _find_below(root: Path) -> Iterator[tuple[str, str]]:
    if objects := _objects_of(root):
        yield f"git:{root.name.removesuffix('.git')}", str(objects)
        return
    level = [root]
    for _ in range(MAX_DEPTH):
        deeper: list[Path] = []
        for folder in level:
            for child in sorted(folder.iterdir()):
                if child.is_symlink() or not child.is_dir():
                    continue
                if objects := _objects_of(child):
                    name = child.relative_to(root).as_posix().removesuffix(".git")
                    yield f"git:{name}", str(objects)
                else:
                    deeper.append(child)
        level = deeper


def _objects_of(folder: Path) -> Path | None:
    """Git's own folder of a repository, bare or with a worktree; None where it is none."""
    for one in (folder / ".git", folder):
        if (one / "HEAD").is_file() and (one / "objects").is_dir():
            return one
    return None


def _listed(path: str) -> list[str]:
    if not path:
        return []
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"expected a file of URLs in git.list_file, got {path!r} ({type(error).__name__}): "
            "give one that exists and can be read"
        ) from None
    listed = [one for line in lines if (one := line.partition("#")[0].strip())]
    if not listed:
        raise ConfigError(
            f"expected URLs or folders in git.list_file, got none in {path!r}: write one a line"
        )
    return listed
