import contextlib
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.artifacts.canonical import canonical_json
from components.artifacts.errors import ConfigError
from components.stage.config import Config, Within, fields_of
from components.stage.step import find_step, step_names


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner(Config):
    num_layers: Annotated[int, Within(1, 100)] = 4
    """Blocks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer(Config):
    threshold: Annotated[float, Within(0, 1)] = 0.7
    """A share."""

    mode: Literal["exact", "near"] = "near"
    """What is compared."""

    names: tuple[str, ...] = ()
    """Several."""

    limit: int = 0
    """0 is no limit."""

    on: bool = True
    """A switch."""

    inner: Inner = Inner()
    """Nested."""


def test_a_misspelt_key_names_the_nearest():
    with pytest.raises(ConfigError, match="unknown key 'treshold' in Outer: did you mean 'thre"):
        Outer.from_json({"treshold": 0.5})


def test_a_strange_key_lists_all():
    with pytest.raises(ConfigError, match="one of inner, limit, mode, names, on, threshold"):
        Outer.from_json({"zzzz": 0.5})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("threshold", 1.5),
        ("threshold", "0.5"),
        ("threshold", float("nan")),
        ("threshold", True),
        ("mode", "other"),
        ("names", "abc"),
        ("names", [1]),
        ("limit", 2.5),
        ("limit", 2**53),
        ("limit", None),
        ("on", 1),
        ("inner", {"num_layers": 0}),
        ("inner", 3),
    ],
)
def test_a_wrong_value_is_one_line_that_shows_it(key, value):
    with pytest.raises(ConfigError) as error:
        Outer.from_json({key: value})
    while isinstance(value, dict | list):
        (value,) = value.values() if isinstance(value, dict) else value
    assert repr(value) in str(error.value)
    assert "\n" not in str(error.value)


def test_kubeflow_sends_integers_as_doubles():
    config = Outer.from_json({"limit": 3.0, "inner": {"num_layers": 2.0}})
    assert (config.limit, config.inner.num_layers) == (3, 2)
    assert type(config.limit) is int


def test_a_config_survives_a_round_trip_and_spells_one_way():
    config = Outer.from_json({"names": ["b", "a"], "threshold": 1})
    assert Outer.from_json(config.to_json()) == config
    assert canonical_json(Outer(threshold=1.0).to_json()) == canonical_json(
        Outer.from_json({"threshold": 1}).to_json()
    )


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_any_json_is_read_or_refused_with_a_config_error(value):
    with contextlib.suppress(ConfigError):
        Outer.from_json(value)


@pytest.mark.parametrize(
    ("dotted", "text", "expected"),
    [
        ("threshold", "0.5", {"threshold": 0.5}),
        ("inner.num-layers", "7", {"inner": Inner(num_layers=7)}),
        ("names", "a, b", {"names": ("a", "b")}),
        ("names", '["a"]', {"names": ("a",)}),
        ("mode", "exact", {"mode": "exact"}),
        ("limit", "5", {"limit": 5}),
        ("on", "false", {"on": False}),
    ],
)
def test_a_flag_changes_one_field(dotted, text, expected):
    assert Outer().with_text(dotted, text) == Outer(**expected)


@pytest.mark.parametrize("dotted", ["tresh", "inner.layers", "inner", "threshold.x"])
def test_a_wrong_flag_is_refused(dotted):
    with pytest.raises(ConfigError):
        Outer().with_text(dotted, "1")


@pytest.mark.parametrize("name", step_names())
def test_every_field_of_every_step_is_documented(name):
    def undocumented(config):
        for field in fields_of(config):
            if isinstance(field.hint, type) and issubclass(field.hint, Config):
                yield from undocumented(field.hint)
            elif not field.doc:
                yield f"{config.__name__}.{field.name}"

    assert list(undocumented(find_step(name).config)) == []


def test_an_unknown_step_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'dedup'"):
        find_step("dedupe")
