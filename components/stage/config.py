"""Strict configs: frozen dataclasses that document, check, read and spell themselves.

A config class is a frozen, keyword-only, slotted dataclass derived from `Config`. The text under
each field is its documentation; `Within` and `Literal` say which values it takes. Fields are bool,
int, float, str, Literal, tuples of these, and other configs; never None, which a Kubeflow struct
cannot hold: a field that can be off names the value for it.

    @dataclass(frozen=True, kw_only=True, slots=True)
    class DedupConfig(Config):
        threshold: Annotated[float, Within(0.0, 1.0)] = 0.7
        '''Jaccard similarity from which two documents are near duplicates.'''

From this come the checks, the CLI's flags and help, and the parameter table of the room's README.
"""

import ast
import dataclasses
import difflib
import inspect
import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, get_args, get_origin, get_type_hints

from components.artifacts.errors import ConfigError

MAX_LISTED = 20
"""Known names that an error lists where none is near; more would be no line to read."""

MAX_INTEGER = 2**53
"""Kubeflow carries the numbers of a struct as doubles: integers from here on lose digits."""


@dataclass(frozen=True, slots=True)
class Within:
    """The closed range that a number must lie in; None leaves a side open."""

    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        low = "" if self.low is None else _spell_bound(self.low)
        high = "" if self.high is None else _spell_bound(self.high)
        if low and high:
            return f"{low} to {high}"
        return f"at least {low}" if low else f"at most {high}"

    def admits(self, value: float) -> bool:
        """Whether a number lies in the range."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


@dataclass(frozen=True, slots=True)
class ConfigField:
    """One field of a config, as people read it."""

    name: str
    hint: Any
    """The type, without its annotations."""

    default: Any
    doc: str
    within: Within | None

    @property
    def type_text(self) -> str:
        """The type and the range in a few words."""
        text = _type_text(self.hint)
        return f"{text}, {self.within}" if self.within else text


def _spell_bound(value: float) -> str:
    """Whole numbers to the last digit, others short."""
    return str(int(value)) if value == int(value) else f"{value:g}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Base of every config: checks itself when made; equal configs spell equal JSON."""

    def __post_init__(self) -> None:
        for field in fields_of(type(self)):
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, _cast(field.hint, value, field.name))
            if field.within and not _admits(field.within, value):
                raise ConfigError(
                    f"expected {field.name} {field.within}, got {value!r} in {type(self).__name__}"
                )
        self.check()

    def check(self) -> None:
        """Refuse values that do not go together. Raises ConfigError; by default takes all."""

    def to_json(self) -> dict[str, Any]:
        """The config as a JSON value."""
        return {field.name: _spell(getattr(self, field.name)) for field in fields_of(type(self))}

    def identity(self) -> dict[str, Any]:
        """The part of the config that decides what comes out, for the key; by default all of it."""
        return self.to_json()

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read a config strictly.

        Args:
            value: a JSON object, or its text. Whole floats are taken for integers, because
                Kubeflow sends the integers of a struct as doubles.

        Raises:
            ConfigError: no object, an unknown or missing key, a wrong type or value.
        """
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except json.JSONDecodeError as error:
                raise ConfigError(
                    f"expected {cls.__name__} as a JSON object, got {value[:80]!r} ({error})"
                ) from None
        if not isinstance(value, Mapping):
            raise ConfigError(f"expected {cls.__name__} as a JSON object, got {value!r}")
        names = {field.name for field in fields_of(cls)}
        for key in value:
            if key not in names:
                raise unknown_name("key", str(key), names, cls.__name__)
        try:
            return cls(**value)
        except TypeError as error:
            raise ConfigError(f"expected a whole {cls.__name__}: {error}") from None

    def with_text(self, dotted: str, text: str) -> Self:
        """Change one field by its dotted name and the value's text, as a command line gives it.

        Raises:
            ConfigError: no such field, or the text is no such value.
        """
        name, _, rest = dotted.replace("-", "_").partition(".")
        known = {field.name: field for field in fields_of(type(self))}
        if name not in known:
            raise unknown_name("key", name, known, type(self).__name__)
        current = getattr(self, name)
        if rest and not isinstance(current, Config):
            raise ConfigError(f"expected {name!r} without a dot, got {dotted!r}: it has no fields")
        if isinstance(current, Config):
            if not rest:
                raise ConfigError(
                    f"expected a field of {name!r} after a dot, got {dotted!r}: one of "
                    + ", ".join(field.name for field in fields_of(type(current)))
                )
            return dataclasses.replace(self, **{name: current.with_text(rest, text)})
        return dataclasses.replace(self, **{name: parse_text(known[name].hint, text, name)})


_FIELDS: dict[type, tuple[ConfigField, ...]] = {}


def fields_of(cls: type[Config]) -> tuple[ConfigField, ...]:
    """The fields of a config class with their documentation, in the order of the source."""
    if cls not in _FIELDS:
        _FIELDS[cls] = _read_fields(cls)
    return _FIELDS[cls]


def _read_fields(cls: type[Config]) -> tuple[ConfigField, ...]:
    hints = get_type_hints(cls, include_extras=True)
    docs = _docs(cls)
    found = []
    for field in dataclasses.fields(cls):
        hint, within = hints[field.name], None
        if get_origin(hint) is Annotated:
            hint, *extras = get_args(hint)
            within = next((extra for extra in extras if isinstance(extra, Within)), None)
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        found.append(ConfigField(field.name, hint, default, docs.get(field.name, ""), within))
    return tuple(found)


def parse_text(hint: Any, text: str, name: str) -> Any:
    """Read a value of a type from a command line: JSON, or plain text for a string or a list."""
    if hint is str:
        return text
    origin = get_origin(hint)
    if origin is Literal and text in get_args(hint):
        return text
    if hint is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if origin is tuple and not text.startswith("["):
        inner = get_args(hint)[0]
        return tuple(parse_text(inner, part.strip(), name) for part in text.split(",") if part)
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise ConfigError(f"expected {name} to be {_type_text(hint)}, got {text!r}") from None


def unknown_name(
    what: str, name: str, known: Mapping[str, Any] | set[str], where: str
) -> ConfigError:
    """The error for a misspelt name: it names the nearest, or all where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    listed = ", ".join(sorted(known)) if len(known) <= MAX_LISTED else "see its --help"
    hint = f"did you mean {near[0]!r}?" if near else f"one of {listed}"
    return ConfigError(f"unknown {what} {name!r} in {where}: {hint}")


def _cast(hint: Any, value: Any, name: str) -> Any:
    """Take a value of a type, strictly; whole floats become integers, lists become tuples."""
    origin = get_origin(hint)
    if origin is Literal:
        if value in get_args(hint):
            return value
    elif origin is tuple:
        if isinstance(value, list | tuple):
            return tuple(_cast(get_args(hint)[0], item, f"{name}[]") for item in value)
    elif isinstance(hint, type) and issubclass(hint, Config):
        return value if isinstance(value, hint) else hint.from_json(value)
    elif hint is bool or hint is str:
        if type(value) is hint:
            return value
    elif hint is int:
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is int and abs(value) < MAX_INTEGER:
            return value
    elif hint is float and type(value) in (int, float) and value == value:
        return float(value)
    raise ConfigError(f"expected {name} to be {_type_text(hint)}, got {value!r}")


def _admits(within: Within, value: Any) -> bool:
    numbers = value if isinstance(value, list | tuple) else (value,)
    return all(within.admits(number) for number in numbers)


def _spell(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_json()
    if isinstance(value, tuple):
        return [_spell(item) for item in value]
    return value


def _type_text(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(str(arg) or "empty" for arg in args)
    if origin is tuple:
        return f"list of {_type_text(args[0])}"
    return str(getattr(hint, "__name__", hint))


def _docs(cls: type[Config]) -> dict[str, str]:
    """The string under each field, from the sources of the class and its bases."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base is Config or not dataclasses.is_dataclass(base):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                match text:
                    case ast.Expr(value=ast.Constant(value=str(doc))):
                        docs[field.target.id] = inspect.cleandoc(doc)
    return docs
