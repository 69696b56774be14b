"""SPDX licence expressions, as document rows carry them: whether an allow-list admits one."""

import re
from collections.abc import Collection, Set

_TOKEN = re.compile(r"\(|\)|[^\s()]+")
MAX_TOKENS = 200
"""A longer expression is none that a person wrote; it also bounds how deep parentheses go."""


def is_allowed(expression: str, allowed: Collection[str]) -> bool:
    """Whether an SPDX expression can be met with allowed licences alone.

    `OR` needs one side, `AND` both, and binds tighter; an exception (`WITH`) only grants more, so
    its licence decides. What is no expression must stand in the list as it is.
    """
    names = {one.casefold() for one in allowed}
    if expression.casefold() in names:
        return True
    tokens = _TOKEN.findall(expression)
    if not tokens or len(tokens) > MAX_TOKENS:
        return False
    try:
        verdict, rest = _either(tokens, names)
    except (IndexError, ValueError):
        return False
    return verdict and not rest


def _either(tokens: list[str], allowed: Set[str]) -> tuple[bool, list[str]]:
    verdict, tokens = _both(tokens, allowed)
    while tokens and tokens[0].upper() == "OR":
        right, tokens = _both(tokens[1:], allowed)
        verdict = verdict or right
    return verdict, tokens


def _both(tokens: list[str], allowed: Set[str]) -> tuple[bool, list[str]]:
    verdict, tokens = _single(tokens, allowed)
    while tokens and tokens[0].upper() == "AND":
        right, tokens = _single(tokens[1:], allowed)
        verdict = verdict and right
    return verdict, tokens


def _single(tokens: list[str], allowed: Set[str]) -> tuple[bool, list[str]]:
    """One licence, with its exception, or an expression in parentheses."""
    if tokens[0] == "(":
        verdict, rest = _either(tokens[1:], allowed)
        if rest[0] != ")":
            raise ValueError(f"expected a closing parenthesis, got {rest[0]!r}")
        return verdict, rest[1:]
    verdict, rest = tokens[0].casefold() in allowed, tokens[1:]
    if rest and rest[0].upper() == "WITH":
        rest = rest[2:]
    return verdict, rest
