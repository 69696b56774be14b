"""Which repositories are held out: whole ones, in the order of a hash, up to a size."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from components.artifacts.errors import ConfigError
from components.packing.config import PackingConfig


@dataclass(frozen=True, slots=True)
class Holdout:
    """The repositories of the validation split, and their UTF-8 bytes."""

    repositories: Mapping[str, int]
    training_repositories: int
    training_bytes: int


def add_up(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Bytes by repository, of every shard together."""
    whole: dict[str, int] = {}
    for part in parts:
        for repo, size in part.items():
            whole[repo] = whole.get(repo, 0) + size
    return whole


def hold_out(sizes: Mapping[str, int], config: PackingConfig) -> Holdout:
    """Choose the repositories of the validation split.

    After `always_validation`, repositories are taken in the order of their hash as long as they
    fit; one that does not fit, or would fill too large a part alone, is passed over. The choice
    depends on the sizes alone: not on shards or on the order of documents.

    Args:
        sizes: UTF-8 bytes by repository, of the whole corpus.
        config: the limits, the lists and the seed.

    Raises:
        ConfigError: nothing is held out, or nothing is left to train on.
    """
    total = sum(sizes.values())
    budget = min(int(total * config.validation_fraction), config.validation_max_bytes)
    largest = budget // config.validation_min_repositories
    taken = {repo: sizes[repo] for repo in config.always_validation if repo in sizes}
    held = sum(taken.values())
    kept_back = {*config.always_training, *taken}
    for repo in sorted(sizes.keys() - kept_back, key=lambda repo: _rank(repo, config.seed)):
        if sizes[repo] <= largest and held + sizes[repo] <= budget:
            taken[repo] = sizes[repo]
            held += sizes[repo]
    left = len(sizes) - len(taken)
    if not taken:
        raise _nothing_held_out(sizes, budget, largest, config)
    if not left:
        raise ConfigError(
            f"expected repositories to train on, got all {len(taken)} of the corpus in "
            "always_validation of PackingConfig: take some off the list, or crawl more"
        )
    return Holdout(dict(sorted(taken.items())), left, total - held)


def _rank(repo: str, seed: int) -> bytes:
    return sha256(f"{seed}\0{repo}".encode()).digest()


def _nothing_held_out(
    sizes: Mapping[str, int], budget: int, largest: int, config: PackingConfig
) -> ConfigError:
    free = [size for repo, size in sizes.items() if repo not in config.always_training]
    smallest = f"the smallest has {min(free):,}" if free else "all are in always_training"
    return ConfigError(
        f"expected repositories of at most {largest:,} bytes to hold out (a part in "
        f"{config.validation_min_repositories} of {budget:,}), got none among {len(sizes)}: "
        f"{smallest}; raise validation_fraction, lower validation_min_repositories, or name some "
        "in always_validation"
    )
