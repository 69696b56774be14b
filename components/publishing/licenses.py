"""Which licences the training data carries, and whether a list allows them."""

import re
from collections.abc import Mapping, Sequence

from components.artifacts.errors import ConfigError
from components.artifacts.tally import Amount
from components.publishing.quantities import spell_bytes, spell_files

UNKNOWN = "unknown"
NUM_NAMED = 3

MAX_TOKENS = 200
"""A longer expression is none that a person wrote; it also bounds how deep parentheses go."""

_COPYLEFT = re.compile(
    r"\b(AGPL|LGPL|GPL|MPL|EPL|EUPL|CDDL|OSL|CECILL|CC-BY-SA|CPL|MS-RL)", re.IGNORECASE
)
_TOKEN = re.compile(r"[()]|[^\s()]+")


def is_copyleft(expression: str) -> bool:
    """Whether an SPDX expression names a licence that asks the same of what is derived from it."""
    return _COPYLEFT.search(expression) is not None


def is_allowed(expression: str, allowed: Sequence[str]) -> bool:
    """Whether an SPDX expression can be kept by licences of a list.

    `A OR B` is the receiver's choice and needs one of them, `A AND B` needs both, and an exception
    after WITH only adds permissions. What is no expression must stand in the list as it is.
    """
    names = {name.lower() for name in allowed}
    if expression.lower() in names:
        return True
    tokens = _TOKEN.findall(expression)
    if len(tokens) > MAX_TOKENS:
        return False
    allows, rest = _read_or(tokens, names)
    return allows and not rest


def _read_or(tokens: list[str], names: set[str]) -> tuple[bool, list[str]]:
    allows, rest = _read_and(tokens, names)
    while rest and rest[0].upper() == "OR":
        other, rest = _read_and(rest[1:], names)
        allows = allows or other
    return allows, rest


def _read_and(tokens: list[str], names: set[str]) -> tuple[bool, list[str]]:
    allows, rest = _read_name(tokens, names)
    while rest and rest[0].upper() == "AND":
        other, rest = _read_name(rest[1:], names)
        allows = allows and other
    return allows, rest


def _read_name(tokens: list[str], names: set[str]) -> tuple[bool, list[str]]:
    """A licence with its exception, or an expression in parentheses; and what follows."""
    if not tokens:
        return False, []
    first, *rest = tokens
    if first == "(":
        allows, rest = _read_or(rest, names)
        return (allows, rest[1:]) if rest[:1] == [")"] else (False, rest)
    if len(rest) > 1 and rest[0].upper() == "WITH":
        rest = rest[2:]
    return first.lower() in names, rest


def refuse_licenses(
    licenses: Mapping[str, Amount], allowed: Sequence[str], artifact_uri: str
) -> None:
    """Refuse to publish a model that read files under a licence outside the list.

    Args:
        licenses: files and bytes by SPDX expression.
        allowed: the list; empty allows all.
        artifact_uri: where the licences were read, for the message.

    Raises:
        ConfigError: names the licences with the most bytes.
    """
    offenders = sorted(
        (amount[1], amount[0], name)
        for name, amount in licenses.items()
        if allowed and not is_allowed(name, allowed)
    )[::-1]
    if not offenders:
        return
    named = ", ".join(
        f"{name[:80]!r} ({spell_files(files)}, {spell_bytes(size)})"
        for size, files, name in offenders[:NUM_NAMED]
    )
    more = f" and {len(offenders) - NUM_NAMED} more" if len(offenders) > NUM_NAMED else ""
    raise ConfigError(
        f"expected only licences of allowed_licenses in the training data, got {named}{more} in "
        f"{artifact_uri}: add them to publishing.allowed_licenses, or drop them in clean"
    )
