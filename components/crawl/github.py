"""The source `github`: every public repository of a search, each once, by its numeric id."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.artifacts.artifact import ArtifactWriter
from components.artifacts.errors import ConfigError, StepFailedError
from components.artifacts.tally import Tally
from components.crawl.budgets import Pauses
from components.crawl.config import CrawlConfig
from components.crawl.discovery import discover, read_whole, read_window, rules_digest
from components.crawl.earlier import EarlierCrawls
from components.crawl.fetching import Fetcher
from components.crawl.harvest import FETCHED, Harvest, Rules
from components.crawl.journal import Journal, name_of, pack_journal, sweep
from components.crawl.rules import observe_opt_out, patience_of, rules_of, user_agent
from components.crawl.source import Discovery, Packed, RepositoryRef
from components.crawl.tokens import (
    ANONYMOUS,
    TOKENS_FILE_VARIABLE,
    TOKENS_VARIABLE,
    Token,
    read_tokens,
)
from components.crawl.transport import Allowance, Settings, Transport

PLAN = "plan"
PAUSES = "pauses"
"""Folders of a crawl beside its records: windows, and limits that were answered."""

PASSING = frozenset({"server_error", "truncated", "timeout", "network", "rate_limited"})
"""Classes of failures that are the server's or the line's rather than the repository's."""

MAX_FAILURES_IN_A_ROW = 20

logger = logging.getLogger("codekiln")

_ALLOWANCES: dict[Settings, Allowance] = {}
"""By settings: what this process has used, over all of its windows."""

_EARLIER: dict[str, EarlierCrawls] = {}
"""By folder: opening them takes a listing."""


class Breaker:
    """Stops a crawl whose server or line is down, before every repository is a dead letter.

    Failures that time may mend are held back until something succeeds behind them.
    """

    def __init__(self) -> None:
        self.held: list[Harvest] = []

    def admit(self, harvest: Harvest) -> Sequence[Harvest]:
        """What may be recorded now.

        Raises:
            StepFailedError: too many failures in a row.
        """
        if harvest.outcome in PASSING:
            self.held.append(harvest)
            if len(self.held) < MAX_FAILURES_IN_A_ROW:
                return ()
            raise StepFailedError(
                f"expected answers, got {len(self.held)} failures in a row, the last "
                f"{harvest.outcome!r} of {harvest.record['repo']!r}: look whether the server and "
                "the network are up, and run again to go on"
            )
        if harvest.outcome != FETCHED:
            return (harvest,)
        admitted = [*self.held, harvest]
        self.held.clear()
        return admitted


@dataclass(frozen=True)
class GithubSource:
    """GitHub, or a server that speaks as it does. Holds no token: each process reads its own."""

    config: CrawlConfig
    rules: Rules

    def observe(self) -> dict[str, Any]:
        """The opt-outs of a file; what the network holds is seen later, and changes."""
        return observe_opt_out(self.config, self.rules.opt_out)

    def discover(self, output: ArtifactWriter, tally: Tally) -> Discovery:  # noqa: ARG002
        """Find the windows, or go on finding them; a finished plan is read."""
        plan = output.storage.child(PLAN)
        whole = read_whole(plan) or asyncio.run(self._discover(output))
        counts = {name: int(whole[name]) for name in ("repositories", "requests", "missed")}
        counts["windows"] = len(whole["windows"])
        logger.info(
            "plan: %d repositories in %d windows, %d to fetch: %.1f GB by GitHub's count, at least "
            "%.1f h at this pace",
            counts["repositories"],
            counts["windows"],
            whole["to_fetch"],
            whole["kilobytes"] * 1024 / 1e9,
            2 * whole["to_fetch"] / self.config.max_requests_per_second / 3600,
        )
        return Discovery(units=range(len(whole["windows"])), counts=counts)

    def fetch(self, output: ArtifactWriter, num_sharing: int, unit: int) -> Packed:
        """Fetch the repositories of a window that have no record yet, and pack them all."""
        refs = read_window(output.storage.child(PLAN), unit).refs
        journal = Journal.of_unit(output, unit)
        fetched = journal.fetched()
        missing = [ref for ref in refs if name_of(ref.repo_id) not in fetched]
        if missing:
            asyncio.run(self._fetch(output, num_sharing, journal, missing))
        return pack_journal(output, unit, [ref.repo_id for ref in refs])

    def attest(self, output: ArtifactWriter, discovery: Discovery) -> None:
        """Take away what the crawl needed only while it ran."""
        sweep(output, len(discovery.units))
        for name in (pauses := output.storage.child(PAUSES)).names():
            pauses.remove(name)

    def _transport(
        self, output: ArtifactWriter, num_sharing: int, tokens: tuple[Token, ...]
    ) -> Transport:
        settings = Settings.of(self.config, user_agent(self.config), num_sharing)
        allowance = _ALLOWANCES.setdefault(settings, Allowance(settings))
        return Transport(settings, tokens, Pauses(output.storage.child(PAUSES)), allowance)

    async def _discover(self, output: ArtifactWriter) -> dict[str, Any]:
        tokens = read_tokens()
        if tokens == (ANONYMOUS,) and self.config.github.discovery == "graphql":
            raise ConfigError(
                f"expected a token in {TOKENS_VARIABLE} or {TOKENS_FILE_VARIABLE}, which GitHub's "
                "GraphQL asks for, got none: set one, or --github.discovery rest for a trial"
            )
        async with self._transport(output, 1, tokens) as transport:
            plan = output.storage.child(PLAN)
            return await discover(transport, self.config.github, self.rules, plan)

    async def _fetch(
        self,
        output: ArtifactWriter,
        num_sharing: int,
        journal: Journal,
        refs: Sequence[RepositoryRef],
    ) -> None:
        tokens = read_tokens()
        earlier = self._earlier(output)
        async with self._transport(output, num_sharing, tokens) as transport:
            fetcher = Fetcher(
                config=self.config.github,
                rules=self.rules,
                transport=transport,
                earlier=earlier,
                token=tokens[0],
                patience=patience_of(self.config),
            )
            todo, breaker = iter(refs), Breaker()

            async def work() -> None:
                for ref in todo:
                    for harvest in breaker.admit(await fetcher.fetch(ref)):
                        await asyncio.to_thread(journal.write, harvest)

            at_once = max(1, self.config.max_concurrency // num_sharing)
            await asyncio.gather(*(work() for _ in range(at_once)))
            for harvest in breaker.held:
                journal.write(harvest)

    def _earlier(self, output: ArtifactWriter) -> EarlierCrawls:
        uri = output.storage.uri
        if uri not in _EARLIER:
            digest = rules_digest(self.config.github, self.rules)
            _EARLIER[uri] = EarlierCrawls.beside(output, digest, self.rules)
        return _EARLIER[uri]


def github_source(config: CrawlConfig) -> GithubSource:
    """The source of a config."""
    return GithubSource(config, rules_of(config))
