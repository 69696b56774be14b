"""The licence that a distribution declares, as an SPDX expression with its evidence."""

import re
from collections.abc import Sequence

from components.crawl.source import UNKNOWN

LICENSE_EXPRESSION = "License-Expression"
LICENSE_FIELD = "License"
CLASSIFIER = "Classifier"
"""Where a licence was read: the fields of the core metadata, the strongest first."""

_NAMES = {
    "Apache-2.0": (
        "apache",
        "apache 2",
        "apache 2.0",
        "apache 2.0 license",
        "apache license 2.0",
        "apache license version 2.0",
        "apache license, version 2.0",
        "apache software license",
        "apache software license 2.0",
    ),
    "BSD-2-Clause": ("bsd 2-clause", "bsd 2-clause license", "simplified bsd license"),
    "BSD-3-Clause": (
        "3-clause bsd",
        "3-clause bsd license",
        "bsd 3-clause",
        "bsd 3-clause license",
        "modified bsd license",
        "new bsd license",
    ),
    "0BSD": ("zero-clause bsd (0bsd)",),
    "CC0-1.0": ("cc0 1.0 universal (cc0 1.0) public domain dedication",),
    "GPL-2.0-only": ("gplv2", "gnu general public license v2 (gplv2)"),
    "GPL-2.0-or-later": ("gnu general public license v2 or later (gplv2+)",),
    "GPL-3.0-only": ("gplv3", "gnu general public license v3 (gplv3)"),
    "GPL-3.0-or-later": ("gplv3+", "gnu general public license v3 or later (gplv3+)"),
    "HPND": ("historical permission notice and disclaimer (hpnd)",),
    "ISC": ("isc license", "isc license (iscl)"),
    "LGPL-2.1-or-later": ("gnu lesser general public license v2 or later (lgplv2+)",),
    "LGPL-3.0-only": ("lgplv3", "gnu lesser general public license v3 (lgplv3)"),
    "LGPL-3.0-or-later": ("gnu lesser general public license v3 or later (lgplv3+)",),
    # "BSD" alone does not say how many clauses: a reference of our own, not a guess.
    "LicenseRef-BSD": ("bsd", "bsd license", "bsd-like"),
    "MIT": ("mit license", "the mit license", "the mit license (mit)"),
    "MIT-0": ("mit no attribution license (mit-0)",),
    "MPL-2.0": ("mpl 2.0", "mozilla public license 2.0 (mpl 2.0)"),
    "PSF-2.0": ("psf", "psf license", "python software foundation license"),
    "Unlicense": ("the unlicense", "the unlicense (unlicense)"),
    "Zlib": ("zlib/libpng license",),
    "ZPL-2.1": ("zpl 2.1",),
}
_BY_NAME = {name: spdx for spdx, names in _NAMES.items() for name in (spdx.casefold(), *names)}
_OPERATOR = re.compile(r"\s+(AND|OR)\s+")


def declared_license(
    expression: str | None, field: str | None, classifiers: Sequence[str]
) -> tuple[str, str]:
    """The licence that core metadata declare, and which field says so.

    The `License` field counts where it is a name or an expression that the table knows; classifiers
    where those that it knows agree: two that differ may mean `and` or `or`.

    Args:
        expression: the `License-Expression` field, SPDX by its definition (PEP 639).
        field: the free `License` field.
        classifiers: all classifiers.

    Returns:
        SPDX expression and its source; `unknown` for both where nothing is known.
    """
    if expression and expression.strip():
        return " ".join(expression.split()), LICENSE_EXPRESSION
    if field and (spdx := _read_field(field)):
        return spdx, LICENSE_FIELD
    named = {_BY_NAME.get(text.rpartition("::")[2].strip().casefold()) for text in classifiers}
    known = sorted(spdx for spdx in named if spdx)
    if len(known) == 1:
        return known[0], CLASSIFIER
    return UNKNOWN, UNKNOWN


def _read_field(field: str) -> str | None:
    """A free field as SPDX, None where the table does not know each name in it."""
    text = " ".join(field.split())
    if spdx := _BY_NAME.get(text.casefold()):
        return spdx
    parts = _OPERATOR.split(text)
    if len(parts) == 1:
        return None
    names = [_BY_NAME.get(part.casefold()) for part in parts[::2]]
    if None in names:
        return None
    parts[::2] = [name for name in names if name]
    return " ".join(parts)
