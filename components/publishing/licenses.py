"""Which licences the training data carries, and whether a list allows them."""

import re
from collections.abc import Mapping, Sequence

from components.artifacts.errors import ConfigError
from components.artifacts.licenses import is_allowed
from components.artifacts.tally import Amount
from components.publishing.quantities import spell_bytes, spell_files

UNKNOWN = "unknown"
NUM_NAMED = 3

_COPYLEFT = re.compile(
    r"\b(AGPL|LGPL|GPL|MPL|EPL|EUPL|CDDL|OSL|CECILL|CC-BY-SA|CPL|MS-RL)", re.IGNORECASE
)


def is_copyleft(expression: str) -> bool:
    """Whether an SPDX expression names a licence that asks the same of what is derived from it."""
    return _COPYLEFT.search(expression) is not None


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
