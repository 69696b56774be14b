"""The plan of a crawl: which candidates are taken, and in which shard each goes.

Made from recorded sizes alone, before any file is read, so it is the same whoever reads.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from components.artifacts.tally import Amount, Tally
from components.crawl.source import Candidate, Repository

TOO_LARGE = "too_large"
OVER_DISTRIBUTION_CAP = "over_distribution_cap"
OVER_TOTAL_CAP = "over_total_cap"


@dataclass(frozen=True, kw_only=True, slots=True)
class Caps:
    """How much is taken, in bytes; 0 is no cap."""

    file: int
    distribution: int
    total: int
    uncapped: frozenset[str] = frozenset()
    """Ids of repositories that the cap of a distribution does not hold for."""


@dataclass
class Selection:
    """What is taken so far."""

    taken: list[Candidate] = field(default_factory=list)
    by_repository: dict[Repository, Amount] = field(default_factory=dict)
    """Files and bytes taken, by repository, in the order of precedence."""


def select(candidates: Iterable[Candidate], caps: Caps, tally: Tally) -> Selection:
    """Take candidates up to the caps; count the others.

    Each cap takes a prefix of the order: after the first file that does not fit none is taken, so
    what is in does not depend on which later file happens to be small.

    Args:
        candidates: in order of precedence, the files of a repository together.
        caps: in bytes.
        tally: gets the drops.
    """
    selection = Selection()
    closed: set[Repository] = set()
    total, total_closed = 0, False
    for candidate in candidates:
        repository, size = candidate.repository, candidate.size
        files, held = selection.by_repository.get(repository, (0, 0))
        if caps.file and size > caps.file:
            reason = TOO_LARGE
        elif repository in closed or _overflows(caps, repository, held + size):
            closed.add(repository)
            reason = OVER_DISTRIBUTION_CAP
        elif total_closed or (caps.total and total + size > caps.total):
            total_closed = True
            reason = OVER_TOTAL_CAP
        else:
            selection.taken.append(candidate)
            selection.by_repository[repository] = (files + 1, held + size)
            total += size
            continue
        tally.take_in(size)
        tally.drop(reason, size)
    return selection


def cut_shards(taken: Iterable[Candidate], shard_bytes: int) -> Iterator[tuple[Candidate, ...]]:
    """Cut candidates into shards of about as many bytes, in the order of repository and path."""
    shard: list[Candidate] = []
    held = 0
    for candidate in sorted(taken, key=lambda one: (one.repository.repo_id, one.path)):
        if shard and held + candidate.size > shard_bytes:
            yield tuple(shard)
            shard, held = [], 0
        shard.append(candidate)
        held += candidate.size
    if shard:
        yield tuple(shard)


def _overflows(caps: Caps, repository: Repository, held: int) -> bool:
    return bool(
        caps.distribution and held > caps.distribution and repository.repo_id not in caps.uncapped
    )
