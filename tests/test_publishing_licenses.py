"""Licence expressions: a choice needs one allowed licence, a conjunction all of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.artifacts.licenses import is_allowed
from components.publishing.licenses import is_copyleft

ALLOWED = ("MIT", "Apache-2.0", "BSD-3-Clause")
NAMES = st.sampled_from([*ALLOWED, "GPL-3.0-only", "unknown"])


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("mit", True),
        ("GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only AND MIT", False),
        ("MIT AND (GPL-3.0-only OR Apache-2.0)", True),
        ("MIT OR GPL-3.0-only AND unknown", True),  # AND binds tighter
        ("(MIT OR GPL-3.0-only) AND unknown", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("MIT MIT", False),
        ("MIT OR", False),
        ("MIT AND", False),
        ("(MIT", False),
        ("", False),
        ("(" * 100_000, False),
    ],
)
def test_an_expression_is_allowed_as_spdx_reads_it(expression: str, allowed: bool):
    assert is_allowed(expression, ALLOWED) is allowed


@given(NAMES, NAMES)
def test_or_is_either_and_and_is_both(one: str, other: str):
    either = one in ALLOWED or other in ALLOWED
    both = one in ALLOWED and other in ALLOWED
    assert is_allowed(f"{one} OR {other}", ALLOWED) is either
    assert is_allowed(f"{one} AND {other}", ALLOWED) is both


@given(st.text(alphabet="MIT ()ANDORWH-", max_size=300))
def test_no_expression_crashes_the_reader(expression: str):
    assert is_allowed(expression, ALLOWED) in (True, False)


def test_copyleft_is_told_from_permissive():
    assert all(map(is_copyleft, ["GPL-3.0-only", "LGPL-2.1-or-later", "MIT AND MPL-2.0"]))
    assert not any(map(is_copyleft, ["MIT", "Apache-2.0", "BSD-3-Clause", "unknown", "PSF-2.0"]))
