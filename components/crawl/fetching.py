"""Fetch one repository of GitHub: its tarball as it streams by, or a partial clone."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import httpx2

from components.crawl.clone import CloneFailedError, Patience, Remote, clone_repository
from components.crawl.earlier import EarlierCrawls
from components.crawl.harvest import (
    EXPORT_ATTRIBUTES,
    OPTED_OUT,
    Harvest,
    Refusals,
    Rules,
    harvest_repository,
    has_export_attributes,
    unfetched,
)
from components.crawl.selection import GithubConfig
from components.crawl.source import RepositoryRef
from components.crawl.tarball import (
    ArchiveLimits,
    Member,
    RefusedArchiveError,
    TarReader,
    TruncatedArchiveError,
)
from components.crawl.tokens import Token
from components.crawl.transport import Ask, FetchFailedError, Transport, TryAgainError

NO_COMMIT = "commit_unknown"
OTHER_COMMIT = "commit_differs"


@dataclass
class Snapshot:
    """A repository at one commit, read."""

    commit: str
    members: list[Member] = field(repr=False)
    refusals: Refusals = field(repr=False)
    ledger: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fetcher:
    """Fetches repositories through one transport."""

    config: GithubConfig
    rules: Rules
    transport: Transport
    earlier: EarlierCrawls
    token: Token
    patience: Patience
    """With git's remotes."""

    async def fetch(self, ref: RepositoryRef) -> Harvest:
        """What became of a repository; a failure is a record as well, with its class."""
        started, began = time.monotonic(), datetime.now(UTC)
        harvest = await self._fetch(ref)
        harvest.ledger.update(
            fetched_at=began.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - started, 3),
            tally=harvest.tally.to_json(),
        )
        return harvest

    async def _fetch(self, ref: RepositoryRef) -> Harvest:
        if ref.problem:
            return unfetched(ref, ref.problem)
        if self.rules.opt_out.of_repository(ref.repo_id, ref.repo):
            return unfetched(ref, OPTED_OUT)
        if harvest := self.earlier.find(ref, self.rules):
            return harvest
        try:
            snapshot = await self._read(ref)
        except (FetchFailedError, RefusedArchiveError, CloneFailedError) as error:
            return unfetched(ref, error.reason)
        if snapshot is None:
            harvest = self.earlier.unchanged(ref, self.rules)
            assert harvest is not None, ref.repo
            return harvest
        if not snapshot.commit:
            return unfetched(ref, NO_COMMIT)
        if ref.commit and snapshot.commit != ref.commit:
            return unfetched(ref, OTHER_COMMIT)
        flags = [EXPORT_ATTRIBUTES] if snapshot.ledger.get(EXPORT_ATTRIBUTES) else []
        harvest = harvest_repository(
            ref,
            snapshot.commit,
            snapshot.members,
            snapshot.refusals.tally,
            self.rules,
            flags,
        )
        harvest.ledger.update(snapshot.ledger)
        return harvest

    async def _read(self, ref: RepositoryRef) -> Snapshot | None:
        """The repository; None where it did not change since an earlier crawl."""
        if ref.size_kb * 1024 >= self.config.clone_from_mb * 1_000_000:
            return await self._clone(ref)
        snapshot = await self._read_tarball(ref)
        if snapshot and has_export_attributes(snapshot.members):
            if self.config.export_attributes == "clone":
                return await self._clone(replace(ref, commit=snapshot.commit))
            snapshot.ledger[EXPORT_ATTRIBUTES] = True
        return snapshot

    async def _read_tarball(self, ref: RepositoryRef) -> Snapshot | None:
        url = f"{self.config.api_url.rstrip('/')}/repos/{ref.repo}/tarball/{ref.commit or 'HEAD'}"
        etag = self.earlier.etag(ref)
        onward: Mapping[str, str] = {"If-None-Match": etag} if etag else {}
        limits = ArchiveLimits(max_file_bytes=self.rules.max_file_bytes)

        async def read(response: httpx2.Response) -> Snapshot | None:
            if response.status_code == 304:
                return None
            refusals = Refusals(self.rules)
            reader = TarReader(limits, self.rules.wants, refusals.note)
            async for chunk in response.aiter_raw():
                reader.feed(chunk)
            try:
                reader.finish()
            except TruncatedArchiveError:
                raise TryAgainError("truncated") from None
            ledger = {
                "transport": "tarball",
                "received_bytes": reader.received_bytes,
                "inflated_bytes": reader.inflated_bytes,
                "etag": response.headers.get("etag", ""),
            }
            return Snapshot(reader.commit, reader.members, refusals, ledger)

        return await self.transport.ask(Ask(url=url, resource="core", onward_headers=onward), read)

    async def _clone(self, ref: RepositoryRef) -> Snapshot:
        url = f"{self.config.git_url.rstrip('/')}/{ref.repo}.git"
        remote = Remote(url, self.token.git_authorization(), self.transport.user_agent)
        async with self.transport.place(url):
            done = await asyncio.to_thread(
                clone_repository, remote, ref.commit, self.rules, self.patience
            )
        return Snapshot(done.commit, done.members, done.refusals, {"transport": "clone"})
