"""Which repositories are held out: whole ones, by hash, within the limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.artifacts.errors import ConfigError
from components.packing.config import PackingConfig
from components.packing.holdout import add_up, hold_out

SIZES = st.dictionaries(st.text(min_size=1, max_size=8), st.integers(0, 10_000), min_size=1)
MANY = {f"project{number}": 1000 + 37 * number for number in range(60)}


@given(
    SIZES,
    st.floats(0, 0.5),
    st.integers(0, 30_000),
    st.integers(1, 5),
    st.integers(0, 9),
    st.randoms(),
)
def test_the_limits_hold_whatever_the_corpus(
    sizes: dict[str, int], fraction: float, limit: int, least: int, seed: int, random: object
) -> None:
    config = PackingConfig(
        validation_fraction=fraction,
        validation_max_bytes=limit,
        validation_min_repositories=least,
        seed=seed,
    )
    try:
        holdout = hold_out(sizes, config)
    except ConfigError:
        return
    budget = min(sum(sizes.values()) * fraction, limit)
    held = holdout.repositories
    assert held
    assert sum(held.values()) <= budget
    assert all(size <= budget / least for size in held.values())
    assert all(held[repo] == sizes[repo] for repo in held)
    assert holdout.training_repositories == len(sizes) - len(held) > 0
    assert holdout.training_bytes == sum(sizes.values()) - sum(held.values())


def test_the_order_of_the_corpus_does_not_matter() -> None:
    config = PackingConfig(validation_fraction=0.1)
    forwards = hold_out(MANY, config)
    backwards = hold_out(dict(reversed(MANY.items())), config)
    assert list(forwards.repositories.items()) == list(backwards.repositories.items())
    halves = [{repo: size // 2 for repo, size in MANY.items()} for _ in range(2)]
    halves.append({repo: size % 2 for repo, size in MANY.items()})
    assert hold_out(add_up(halves), config) == forwards


def test_the_holdout_fills_its_budget_with_several_repositories() -> None:
    total = sum(MANY.values())
    holdout = hold_out(MANY, PackingConfig(validation_fraction=0.1))
    assert len(holdout.repositories) >= 3
    assert sum(holdout.repositories.values()) > 0.08 * total


def test_another_seed_holds_out_others() -> None:
    configs = [PackingConfig(seed=seed, validation_fraction=0.1) for seed in range(5)]
    chosen = {tuple(hold_out(MANY, config).repositories) for config in configs}
    assert len(chosen) == 5


def test_the_lists_are_kept() -> None:
    first = tuple(hold_out(MANY, PackingConfig(validation_fraction=0.1)).repositories)
    config = PackingConfig(
        validation_fraction=0.1, always_training=first, always_validation=("project59", "absent")
    )
    holdout = hold_out(MANY, config)
    assert not {*first} & {*holdout.repositories}
    assert "project59" in holdout.repositories
    assert "absent" not in holdout.repositories


def test_a_list_alone_can_hold_out() -> None:
    config = PackingConfig(validation_fraction=0.0, always_validation=("project1",))
    assert {*hold_out(MANY, config).repositories} == {"project1"}


@pytest.mark.parametrize(
    ("sizes", "config", "text"),
    [
        ({"one": 100}, PackingConfig(), "the smallest has 100; raise validation_fraction"),
        ({"one": 9}, PackingConfig(always_training=("one",)), "all are in always_training"),
        ({"one": 9}, PackingConfig(always_validation=("one",)), "repositories to train on"),
        (MANY, PackingConfig(validation_fraction=0.0), "got none among 60"),
    ],
)
def test_a_corpus_that_cannot_be_split_says_what_to_do(
    sizes: dict[str, int], config: PackingConfig, text: str
) -> None:
    with pytest.raises(ConfigError, match=text) as caught:
        hold_out(sizes, config)
    assert "\n" not in str(caught.value)


def test_a_repository_on_both_lists_is_refused() -> None:
    with pytest.raises(ConfigError, match="got 'a' in always_training and in always_validation"):
        PackingConfig(always_training=("a",), always_validation=("a", "b"))
